"""Where calls hold as much as they may, those whose messages do not become whole make room for those that do."""

from __future__ import annotations

import struct

import pytest

from tests.integration.h2.echo import echo
from tests.integration.h2.wire import LARGEST, WINDOW_UPDATE, Wire, frame, message, wire
from tests.support.waiting import until

INITIAL_WINDOW_SIZE = 4
RESOURCE_EXHAUSTED = 8


def begin(connection: Wire, size: int) -> int:
    """A call whose message lacks its last byte."""
    stream = connection.head()
    part = message(bytes(size))[:-1]
    for start in range(0, len(part), LARGEST):
        connection.data(stream, part[start : start + LARGEST], end=False)
    return stream


@pytest.mark.parametrize("path", ["/test.Echo/Up", "/test.Echo/Compiled"])
async def test_a_whole_message_is_taken_however_many_never_are(path: str) -> None:
    with echo(max_waiting_bytes=300_000) as server:
        async with wire(server.port) as bad, wire(server.port, (INITIAL_WINDOW_SIZE, 2**20)) as good:
            good.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**20)))
            for _ in range(20):
                begun = [begin(bad, 50_000) for _ in range(10)]
                # They are refused in their order: once the fourth is, there is room for no more than six.
                refused = [await bad.answer(stream) for stream in begun[:4]]
                assert {answer.status for answer in refused} == {RESOURCE_EXHAUSTED}
                answer = await good.answer(good.call(b"x" * 40_000, path=path))
                assert (answer.status, len(answer.body)) == (0, 40_005)
            assert not bad.goaway
            assert server.stats()["waiting_bytes"] < 400_000
        assert server.stats()["cap_waiting"] >= 20 * 4
        await until(lambda: server.stats()["waiting_bytes"] == 0)


async def test_the_youngest_is_kept() -> None:
    with echo(max_waiting_bytes=300_000) as server:
        async with wire(server.port) as connection:
            begun = [begin(connection, 50_000) for _ in range(12)]
            connection.data(begun[-1], b"\0")
            answer = await connection.answer(begun[-1])
            assert (answer.status, len(answer.body)) == (0, 50_005)
            assert (await connection.answer(begun[0])).status == RESOURCE_EXHAUSTED


async def test_a_message_that_has_no_room_by_itself_is_refused() -> None:
    with echo(max_waiting_bytes=40_000) as server:
        async with wire(server.port) as connection:
            assert (await connection.answer(begin(connection, 60_000))).status == RESOURCE_EXHAUSTED
            assert (await connection.answer(connection.call())).status == 0
