"""The command line: parsing and printing only."""

from model.cli.app import app, main

__all__ = ["app", "main"]
