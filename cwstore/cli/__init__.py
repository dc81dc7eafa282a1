"""The command line."""

from cwstore.cli.parser import main

__all__ = ["main"]
