"""The deadline of every call: whose word it is, and what stops the call when it has come.

Most calls of the limiter wait for nothing, and a timer costs as much as they do: so there is none before a call waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from typing import Any, cast

from waypost.errors import DeadlineExceeded
from waypost.rpc.chain import Handler
from waypost.rpc.context import EDGE_TIMEOUT, CallContext


class Deadline:
    """Every call has one: the caller's (gRPC, or what Envoy will wait), else the default; never above the most.

    Times in seconds. `caps`: the most of a method, by its full name, where that is less.
    """

    def __init__(self, default: float, maximum: float, caps: Mapping[str, float] | None = None) -> None:
        self._default = default
        self._maximum = maximum
        self._caps = caps or {}

    async def __call__(self, context: CallContext, request: bytes, call_next: Handler) -> bytes:
        """Runs the call; raises `DeadlineExceeded` when its time is up."""
        cap = min(self._maximum, self._caps.get(context.method, self._maximum))
        context.timeout = timeout = min(cap, self._asked(context))
        context.deadline = asyncio.get_running_loop().time() + timeout
        steps = call_next(context, request).__await__()
        try:
            waits = next(steps)
        except StopIteration as done:
            # It waited for nothing.
            return cast(bytes, done.value)
        scope = _Scope(context.deadline)
        try:
            return await _Rest(steps, waits)
        except asyncio.CancelledError:
            if scope.close():
                raise DeadlineExceeded(timeout) from None
            raise
        finally:
            scope.close()

    def _asked(self, context: CallContext) -> float:
        if context.client_timeout is not None:
            return max(0.0, context.client_timeout)
        edge = context.headers.get(EDGE_TIMEOUT, "")
        if edge.isascii() and edge.isdigit() and len(edge) < 10:
            return int(edge) / 1000 or self._default
        return self._default


class _Scope:
    """What `asyncio.timeout_at` does for the running task, with less around it: each call that waits has one."""

    __slots__ = ("_cancelling", "_expired", "_task", "_timer")

    def __init__(self, deadline: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("calls run in tasks")
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def close(self) -> bool:
        """Ends it; whether its own end, and nobody else, has cancelled the task."""
        if self._timer is None:
            return False
        self._timer.cancel()
        self._timer = None
        return self._expired and self._task.uncancel() <= self._cancelling


class _Rest:
    """What is left of an awaitable whose `steps` have begun, and that `waits` for something."""

    def __init__(self, steps: Generator[Any, Any, bytes], waits: object) -> None:
        self._steps = steps
        self._waits = waits

    def __await__(self) -> Generator[Any, Any, bytes]:
        waits = self._waits
        try:
            while True:
                try:
                    given = yield waits
                except BaseException as error:
                    waits = self._steps.throw(error)
                else:
                    waits = self._steps.send(given)
        except StopIteration as done:
            return cast(bytes, done.value)
