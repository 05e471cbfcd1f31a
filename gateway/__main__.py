"""Starts the gateway: `python -m gateway`."""

import sys

from gateway.app import run
from gateway.settings import Settings
from waypost.rpc.main import main

if __name__ == "__main__":
    sys.exit(main("gateway", Settings, run))
