"""Starts the rate limiter: `python -m ratelimiter`."""

import sys

from ratelimiter.app import run
from ratelimiter.settings import Settings
from waypost.rpc.process import main

if __name__ == "__main__":
    sys.exit(main("ratelimiter", Settings, run))
