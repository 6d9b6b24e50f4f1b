"""Comparisons measured side by side in one run. Each ends with one line of JSON; `--quick` takes under a minute."""
