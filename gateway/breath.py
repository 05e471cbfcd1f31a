"""Pauses in long work, so that redirects need not wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_SECONDS = 0.003
"""How long work may hold the event loop."""


class Breath:
    """To be asked between the steps of long work: lets others run when its time is up."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since = monotonic()

    async def taken(self) -> None:
        """Goes on at once, or after everybody else who is ready."""
        if self._monotonic() - self._since >= _SECONDS:
            await asyncio.sleep(0)
            self._since = self._monotonic()
