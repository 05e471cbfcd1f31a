"""One connection to one Redis server that all calls of this process share.

Calls are sent as soon as the event loop comes round, those that came meanwhile together, and answers are told in order.
A call that is not answered by its deadline has the connection dropped, since its answer would still come: whoever waits
on it is told at once, and nobody knows what of theirs was done. A new connection is made in the background, and used
once the server has shown that it can decide. Until then, and after a few failures in a row, calls fail at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from waypost.adapters.redis_connection import EVAL, Connect, abort, open_connection, pack, read_replies
from waypost.adapters.redis_script import SHA
from waypost.breaker import Breaker, BreakerState
from waypost.errors import StoreUnavailable

FAILURES = 3
"""So many in a row, and calls fail without being sent."""
BATCH = 256
"""Most calls in one write."""
LOOK_SECONDS = 0.1
"""At most so long between two looks whether a server is back; each may take as long as `Link`'s `connect_timeout`."""

EVALSHA = (b"EVALSHA", SHA)

_ASKING = pack((b"ASKING",))


def script_words(keys: Sequence[bytes], argument: bytes) -> tuple[Any, ...]:
    """A call of the script without its name."""
    return (len(keys), *keys, argument)


@dataclass(eq=False, slots=True)
class _Call:
    words: tuple[Any, ...]
    """The command; of a script what follows its name."""
    deadline: float
    answer: asyncio.Future[Any]
    script: bool
    asking: bool
    misses: int = 0
    """How often the server did not have the script."""
    by_text: bool = False
    asked: bool = False
    """The next answer is that to ASKING."""

    def packed(self) -> bytes:
        words = self.words
        if self.script:
            words = (*(EVAL if self.by_text else EVALSHA), *words)
        self.asked = self.asking
        command = pack(words)
        return _ASKING + command if self.asking else command

    def tell(self, answer: Any) -> None:
        # Not as the future's exception, which would have to be fetched by somebody who may be gone.
        if not self.answer.done():
            self.answer.set_result(answer)


class Link:
    """The connection to the server that `connect` makes one to, not connected yet.

    `run` keeps it up. At most `capacity` calls wait. A server that does not answer within `call_timeout` seconds is as
    good as away. `on_doubts` is told of calls that were sent and never answered:
    nobody knows whether they were done; `on_failure` is called whenever the server could not be used.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        connect_timeout: float,
        call_timeout: float = float("inf"),
        capacity: int,
        on_doubts: Callable[[int], None] = lambda _: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._connect_timeout = connect_timeout
        self._call_timeout = call_timeout
        self._capacity = capacity
        self._on_doubts = on_doubts
        self._on_failure = on_failure
        self._breaker = Breaker(FAILURES)
        self._waiting: deque[_Call] = deque()
        self._sent: deque[_Call] = deque()
        self._wake = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = float("inf")
        self._reloading: _Call | None = None
        self._reason = "not connected yet"
        self._said = False
        self.last_used = float("-inf")
        """When (`loop.time()`) it was called last."""

    @property
    def usable(self) -> bool:
        """Whether calls are sent, or will be as soon as there is a connection."""
        return self._breaker.state is BreakerState.CLOSED

    async def decide(self, keys: Sequence[bytes], argument: bytes, deadline: float, *, asking: bool = False) -> Any:
        """The script's reply, or what the server said instead: a `ResponseError`, which is returned.

        Raises `StoreUnavailable`, at the latest when the event loop's time is `deadline`.
        """
        return await self.call(script_words(keys, argument), deadline, script=True, asking=asking)

    async def execute(self, *words: bytes, deadline: float, asking: bool = False) -> Any:
        """The reply to another command; as `decide`."""
        return await self.call(words, deadline, script=False, asking=asking)

    async def call(self, words: tuple[Any, ...], deadline: float, *, script: bool, asking: bool) -> Any:
        """`decide` of `script_words`, or `execute`."""
        if not self.usable:
            raise StoreUnavailable(self._reason)
        if len(self._waiting) + len(self._sent) >= self._capacity:
            raise StoreUnavailable("overloaded")
        loop = asyncio.get_running_loop()
        self.last_used = loop.time()
        call = _Call(words, deadline, loop.create_future(), script, asking)
        self._waiting.append(call)
        self._wake.set()
        if deadline < self._timer_at:
            self._set_timer(deadline)
        answer = await call.answer
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer

    async def run(self) -> None:
        """Keeps the connection up until cancelled."""
        try:
            while True:
                try:
                    connection = await open_connection(self._connect, self._connect_timeout, self._call_timeout)
                except Exception as error:
                    self._breaker.trip()
                    self._failed(_reason_of(error))
                    self._fail(self._waiting, self._reason)
                    self._waiting.clear()
                    await asyncio.sleep(random.uniform(LOOK_SECONDS / 2, LOOK_SECONDS))  # noqa: S311 - spreading load
                    continue
                self._breaker.success()
                if self._said:
                    structlog.get_logger().info("redis_back")
                    self._said = False
                await self._serve(connection)
        finally:
            self._fail(chain(self._sent, self._waiting), "closed")
            self._set_timer(None)

    def drop(self, reason: str) -> None:
        """Gives the connection up, with the calls that were sent on it; a new one is made."""
        self._on_doubts(len(self._sent))
        self._fail(self._sent, reason)
        self._sent = deque()
        self._reloading = None
        if self._connection is not None:
            abort(self._connection)
            self._connection = None

    async def _serve(self, connection: AbstractConnection) -> None:
        """Sends and reads until the connection is lost or dropped."""
        self._connection = connection
        # Each connection has its own: what was sent on one is never answered by another's replies.
        sent = self._sent = deque[_Call]()
        self._wake.set()
        tasks = [asyncio.create_task(self._send(connection, sent)), asyncio.create_task(self._read(connection, sent))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results: Sequence[object] = ()
            try:
                results = await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                # Also if this is told to end just now.
                self._leave(connection, results)

    def _leave(self, connection: AbstractConnection, results: Sequence[object]) -> None:
        """Closes a connection; `results`: what ended those who sent and read on it."""
        if self._connection is not connection:
            abort(connection)  # dropped before
            return
        reason = next((_reason_of(r) for r in results if isinstance(r, Exception)), "connection lost")
        if self._sent:
            self._breaker.failure()
        self.drop(reason)
        self._failed(reason)

    async def _send(self, connection: AbstractConnection, sent: deque[_Call]) -> None:
        while True:
            await self._wake.wait()
            if self._sent is not sent:
                return  # dropped: whoever waits goes on the next connection
            self._wake.clear()
            while self._waiting and self._sent is sent:
                batch: list[bytes] = []
                while self._waiting and len(batch) < BATCH:
                    call = self._waiting.popleft()
                    # Who was cancelled before it was sent is not sent.
                    if not call.answer.done():
                        sent.append(call)
                        batch.append(call.packed())
                await connection.send_packed_command((b"".join(batch),), check_health=False)

    async def _read(self, connection: AbstractConnection, sent: deque[_Call]) -> None:
        while True:
            for reply in await read_replies(connection):
                if self._sent is not sent:
                    raise RedisError("an answer that nobody asked for")
                self._hear(reply, sent)

    def _hear(self, reply: Any, sent: deque[_Call]) -> None:
        """Tells the next call its reply. Raises what ends the connection."""
        if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
            raise reply
        if not sent:
            raise RedisError("an answer that nobody asked for")
        call = sent[0]
        if call.asked:
            call.asked = False
            return
        sent.popleft()
        if self._reloading is call:
            self._reloading = None
        if isinstance(reply, NoScriptError) and not call.answer.done():
            self._again(call)
            return
        call.tell(reply)
        if isinstance(reply, ReadOnlyError):
            raise reply
        self._breaker.success()

    def _again(self, call: _Call) -> None:
        """Sends a call again that was not run, since the server has lost the script: the first one with its text.

        Those that were sent together with it follow by name; who misses it twice brings the text as well.
        """
        call.misses += 1
        call.by_text = self._reloading is None or call.misses > 1
        if call.by_text:
            self._reloading = call
        self._waiting.append(call)
        self._wake.set()

    def _look_at_clock(self) -> None:
        # First, whatever has come in already is read: it may be this process that was late.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(0, loop.call_soon, self._expire)

    def _expire(self) -> None:
        """Fails the calls whose time is over, and with them the connection that they were sent on."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [call for call in self._waiting if call.deadline <= now and not call.answer.done()]
        # Also one whose caller is gone: were nobody patient, a server that is away would never be found out.
        if late or any(call.deadline <= now for call in self._sent):
            self._breaker.failure()
            self._fail(late, "timeout")
            self.drop("timeout")
            self._failed("timeout")
        if not self.usable:
            self._fail(self._waiting, self._reason)
        self._waiting = deque(call for call in self._waiting if not call.answer.done())
        self._set_timer(min((call.deadline for call in chain(self._sent, self._waiting)), default=None))

    def _set_timer(self, deadline: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer_at = float("inf") if deadline is None else deadline
        self._timer = None if deadline is None else loop.call_at(deadline, self._look_at_clock)

    def _failed(self, reason: str) -> None:
        self._reason = reason
        if not self.usable and not self._said:
            structlog.get_logger().warning("redis_away", error=reason)
            self._said = True
        self._on_failure()

    def _fail(self, calls: Iterable[_Call], reason: str) -> None:
        for call in calls:
            call.tell(StoreUnavailable(reason))


def _reason_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
