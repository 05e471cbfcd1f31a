"""Starts the workers: `python -m workers`."""

import sys

from waypost.rpc.main import main
from workers.app import run
from workers.settings import Settings

if __name__ == "__main__":
    sys.exit(main("workers", Settings, run))
