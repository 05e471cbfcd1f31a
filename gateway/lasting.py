"""Work that goes on when its caller goes away: a commit in flight is not to be torn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from waypost.errors import WaypostError

T = TypeVar("T")


class Lasting:
    """Runs work to its end."""

    def __init__(self) -> None:
        # Kept so that those whose callers have gone are not collected before they are done.
        self._under_way: set[asyncio.Future[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns or raises; a caller that is cancelled meanwhile does not stop it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_look_at)
            raise


def _look_at(task: asyncio.Task[Any]) -> None:
    """Logs a defect that nobody waits to hear of; other errors concern only who has gone."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, WaypostError):
        structlog.get_logger().error("change failed after its caller had gone", exc_info=error)
