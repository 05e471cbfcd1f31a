"""Where log lines go: the order in which they are written, and when."""

from __future__ import annotations

import asyncio
import io
import threading
from contextlib import closing

from waypost.log_writer import LogWriter


class File(io.BytesIO):
    """A file that remembers each write; `broken`: that refuses them."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.broken = False

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        if self.broken:
            raise BrokenPipeError
        self.writes.append(data)
        return len(data)


async def turn() -> None:
    """What is due now has been done."""
    await asyncio.sleep(0)


def test_a_line_is_written_at_once() -> None:
    file = File()
    LogWriter(file).write(b"a\n")
    assert file.writes == [b"a\n"]


async def test_lines_of_one_turn_are_one_write() -> None:
    file = File()
    writer = LogWriter(file)
    for line in (b"a\n", b"b\n"):
        writer.soon(line)
    assert not file.writes
    await turn()
    writer.soon(b"c\n")
    await turn()
    assert file.writes == [b"a\nb\n", b"c\n"]


async def test_a_line_written_at_once_comes_after_those_that_wait() -> None:
    file = File()
    writer = LogWriter(file)
    writer.soon(b"a\n")
    writer.write(b"b\n")
    assert file.writes == [b"a\nb\n"]
    writer.soon(b"c\n")
    await turn()
    assert b"".join(file.writes) == b"a\nb\nc\n"


async def test_a_line_is_written_before_what_is_done_after_it() -> None:
    file = File()
    writer = LogWriter(file)
    writer.soon(b"a\n")
    seen: list[list[bytes]] = []
    asyncio.get_running_loop().call_soon(lambda: seen.append(file.writes[:]))
    await turn()
    assert seen == [[b"a\n"]]


def test_without_a_loop_nothing_waits() -> None:
    file = File()
    LogWriter(file).soon(b"a\n")
    assert file.writes == [b"a\n"]


def test_what_a_loop_left_behind_goes_out_with_the_next_line() -> None:
    file = File()
    writer = LogWriter(file)

    async def say(line: bytes) -> None:
        writer.soon(line)

    with closing(asyncio.new_event_loop()) as ended:
        # Ends in the turn of its line.
        ended.run_until_complete(say(b"a\n"))
    writer.write(b"b\n")
    assert b"".join(file.writes) == b"a\nb\n"


async def test_another_loop_writes_its_own_lines() -> None:
    file = File()
    writer = LogWriter(file)

    async def say() -> None:
        writer.soon(b"a\n")
        await turn()

    def run() -> None:
        asyncio.run(say())

    thread = threading.Thread(target=run)
    writer.soon(b"b\n")
    thread.start()
    thread.join()
    await turn()
    assert sorted(b"".join(file.writes).splitlines()) == [b"a", b"b"]


async def test_a_file_that_refuses_costs_nobody_anything() -> None:
    file, told = File(), []
    asyncio.get_running_loop().set_exception_handler(lambda *error: told.append(error))
    writer = LogWriter(file)
    file.broken = True
    writer.soon(b"a\n")
    await turn()
    file.broken = False
    writer.soon(b"b\n")
    await turn()
    assert (file.writes, told) == ([b"b\n"], [])
