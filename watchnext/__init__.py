"""The contracts all stages share, and the command line. Imports no stage."""

__version__ = "0.1.0"
