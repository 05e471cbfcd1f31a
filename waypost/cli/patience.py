"""Work that is larger than the server's limits for one caller: it waits its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from waypost.errors import RateLimited

T = TypeVar("T")

MAX_WAIT = 3600.0
MAX_WAITS = 10
"""For how many seconds, and how often for the same call, to wait until the server's limit admits it."""


async def patiently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Makes the call, again whenever the limit says that it will be admitted; `what` of it is over the limit."""
    for waits_left in reversed(range(MAX_WAITS + 1)):
        try:
            return await call()
        except RateLimited as error:
            if not waits_left or error.retry_after is None or not 0 < error.retry_after <= MAX_WAIT:
                raise
            if error.retry_after > 2:
                click.echo(f"waiting {error.retry_after:.0f} s: {what} are over the limit", err=True)
            await asyncio.sleep(error.retry_after)
    raise AssertionError("the last attempt returns or raises")
