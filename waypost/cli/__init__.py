"""The `waypost` command."""

from waypost.cli.root import main

__all__ = ["main"]
