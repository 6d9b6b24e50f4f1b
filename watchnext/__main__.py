"""`python -m watchnext` is the command line."""

from watchnext.cli import main

main()
