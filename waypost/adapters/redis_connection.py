"""Makes a connection to a Redis server that has shown that it can decide, and in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError, ResponseError

from waypost.adapters.redis_script import NOTHING, SOURCE

TRIES = 3
"""So often a server may show that it answers in time: once may be an accident, on either side."""

EVAL = (b"EVAL", SOURCE)

Connect = Callable[[], Awaitable[AbstractConnection]]


def pack(words: tuple[Any, ...]) -> bytes:
    """A command as it is sent."""
    packed: bytes = hiredis.pack_command(words)
    return packed


async def open_connection(connect: Connect, connect_timeout: float, call_timeout: float) -> AbstractConnection:
    """A connection, made within `connect_timeout`, to a master that runs the script within `call_timeout`; seconds.

    Raises what the driver raises, and `TimeoutError`.
    """
    connection: AbstractConnection | None = None
    try:
        async with asyncio.timeout(connect_timeout):
            connection = await connect()
            await connection.connect()  # type: ignore[no-untyped-call]
            await _show(connection, call_timeout)
        heed_cancellation()
    except BaseException:
        if connection is not None:
            abort(connection)
        heed_cancellation()
        raise
    return connection


async def read_replies(connection: AbstractConnection) -> list[Any]:
    """Waits for a reply; that and what has come with it.

    What a server says of one command is a `ResponseError` among them. What ends the connection is raised, or the last
    of them if it came behind others.
    """
    try:
        replies = [await connection.read_response(disable_decoding=True, disconnect_on_error=False)]
    except ResponseError as error:
        replies = [error]
    parser = connection._parser
    if isinstance(parser, _AsyncHiredisParser):
        # The driver takes many times as long as its parser for each reply that is there already.
        try:
            reader: Any = parser._reader
            while (reply := reader.gets(False)) is not NOT_ENOUGH_DATA:
                if isinstance(reply, hiredis.PushNotification):
                    await parser.handle_push_response(reply)  # type: ignore[no-untyped-call]
                else:
                    replies.append(reply)
        except Exception as error:
            replies.append(error)
    return replies


def heed_cancellation() -> None:
    """Raises `CancelledError` in a task that was told to end and is still there.

    The driver uses `asyncio.wait_for`, which before Python 3.12 forgets that it was cancelled if the wait ends as well.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _show(connection: AbstractConnection, call_timeout: float) -> None:
    # By its text, so that calls find it.
    script = pack((*EVAL, 0, NOTHING))
    seconds = await _seconds_of(connection, script, pack((b"ROLE",)))
    try:
        role = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except ResponseError:  # it may not be asked: that the script could run must do
        role = [b"master"]
    if role[0] != b"master":
        raise ReadOnlyError("the server is no master")
    for _ in range(TRIES - 1):
        if seconds > call_timeout:
            seconds = await _seconds_of(connection, script)
    if seconds > call_timeout:
        # Each call would wait in vain, and might be charged all the same.
        raise TimeoutError("the server answers, but later than calls wait")


async def _seconds_of(connection: AbstractConnection, *commands: bytes) -> float:
    """How long the answer to the first of these takes; those to the others are still to be read."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await connection.send_packed_command(commands, check_health=False)
    await connection.read_response(disable_decoding=True)
    return loop.time() - began


def abort(connection: AbstractConnection) -> None:
    """Closes a connection without a word and without waiting for what is still to be sent."""
    writer = connection._writer
    if writer is not None:
        with contextlib.suppress(Exception):
            writer.transport.abort()
    connection._parser.on_disconnect()  # type: ignore[no-untyped-call]
    connection._close()  # type: ignore[no-untyped-call]
