"""Waiting for what announces itself in no other way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Asks again and again until the answer is yes. Raises `TimeoutError` after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.002)


async def turn() -> None:
    """Lets everything run that can, while no time passes."""
    for _ in range(10):
        await asyncio.sleep(0)
