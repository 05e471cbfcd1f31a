"""Starts the rate limiter: `python -m ratelimiter`."""

import sys

from ratelimiter.settings import Settings
from waypost.rpc.main import main


async def run(settings: Settings) -> None:
    """Runs the rate limiter until it is told to stop."""
    # Only now: a bad setting is told before all that serving takes has been imported.
    from ratelimiter import app

    await app.run(settings)


if __name__ == "__main__":
    sys.exit(main("ratelimiter", Settings, run))
