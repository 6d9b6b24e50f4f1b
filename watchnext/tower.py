"""From histories and contexts to user vectors, in numpy, on the exported weights."""
