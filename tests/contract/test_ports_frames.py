"""Frame by frame: what either port makes of calls that no client library sends; and where the two differ, and why."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.h2.wire import Answer, Wire, message, wire
from tests.support.hot_port import need_hot_port
from tests.support.service import GET_LINK
from tests.support.two_ports import PORTS, TwoPorts, made_ids, plain, portless, two_ports
from tests.support.waiting import until
from waypost.api.v1 import link_service_pb2 as pb
from waypost.rpc.context import CallContext

need_hot_port()

Send = Callable[[Wire], int]

ABC = pb.GetLinkRequest(short_code="abc").SerializeToString()

# What grpcio says of itself in every answer: neither is news to a client, which does without.
_GRPCIOS_OWN = [("grpc-accept-encoding", "identity, deflate, gzip"), ("grpc-message", "")]


def whole(content: bytes = ABC, *fields: tuple[str, str], **other: str) -> Send:
    """A call with its message in one frame."""
    return lambda connection: connection.call(content, *fields, **{"path": GET_LINK} | other)


def parts(*contents: bytes, end: bool = True) -> Send:
    """A call whose message comes in several frames; `end`: the last one says that it is the last."""

    def send(connection: Wire) -> int:
        stream = connection.head(path=GET_LINK)
        for place, content in enumerate(contents, 1):
            connection.data(stream, content, end=end and place == len(contents))
        return stream

    return send


def headers_alone(connection: Wire) -> int:
    """A call that ends before its message."""
    return connection.head(path=GET_LINK, end=True)


def get(connection: Wire) -> int:
    """HTTP's GET."""
    return connection.head(path=GET_LINK, method="GET", end=True)


async def asked(both: TwoPorts, port: str, send: Send) -> Answer:
    """What comes back by the port, without what grpcio says of itself; ids that were made are `ID`."""
    async with wire(both.port(port)) as connection, asyncio.timeout(10):
        answer = await connection.answer(send(connection))
    for fields in (answer.fields, answer.trailers):
        fields[:] = sorted((name, made_ids(value)) for name, value in fields if (name, value) not in _GRPCIOS_OWN)
    return answer


SAME: dict[str, tuple[Send, int]] = {
    "a call": (whole(), 0),
    "a message byte for byte": (parts(*(message(ABC)[i : i + 1] for i in range(len(message(ABC))))), 0),
    "a message that is not said to be the last": (parts(message(ABC), end=False), 0),
    "an empty last frame": (parts(message(ABC), b""), 0),
    "no message": (headers_alone, 3),
    "no message, not said to end": (parts(end=False), 3),
    "an empty frame for a message": (parts(b""), 3),
    "half a prefix": (parts(b"\0\0"), 3),
    "a message cut off": (parts(message(ABC)[:-1]), 3),
    "a message that does not come": (parts(message(ABC)[:-1], end=False), 3),
    "two messages": (parts(message(ABC), message(b"\x0a\x03def")), 0),
    "two messages in a frame": (parts(message(ABC) + message(b"\x0a\x03def")), 0),
    "identity by name": (whole(ABC, ("grpc-encoding", "identity")), 0),
    "a content type with a suffix": (whole(ABC, content_type="application/grpc+proto"), 0),
    "a content type with a parameter": (whole(ABC, content_type="application/grpc;x=y"), 0),
    "metadata in UTF-8": (whole(ABC, ("x", "é, 中".encode().decode("latin-1"))), 0),
    "metadata in no encoding": (whole(ABC, ("x", "\xe9\xff"), ("y", "\xc3")), 0),
    "blanks around metadata": (whole(ABC, ("x", " y ")), 0),
    "fields of HTTP": (whole(ABC, ("cookie", "a=b"), ("accept-encoding", "gzip"), ("content-length", "10")), 0),
    "a host beside the authority": (whole(ABC, ("host", "other")), 0),
    "fields of gRPC": (whole(ABC, ("grpc-x", "1"), ("grpc-message-type", "m"), ("grpc-previous-rpc-attempts", "1")), 0),
    "base64 with padding and without": (whole(ABC, ("a-bin", "AA=="), ("b-bin", "AA"), ("c-bin", "")), 0),
    "a longest timeout": (whole(ABC, ("grpc-timeout", "99999999H")), 0),
}


@pytest.mark.parametrize("name", SAME)
async def test_calls_of_all_kinds_are_answered_alike(name: str) -> None:
    send, status = SAME[name]
    async with two_ports(default_deadline_ms=500) as both:
        control, hot = [await asked(both, port, send) for port in PORTS]
        await has_lines(both, 2)
        first, second = [plain(line) for line in both.service.log.of("rpc")]
        contexts = both.links.script.calls
    assert (hot.fields, hot.trailers, hot.body) == (control.fields, control.trailers, control.body)
    assert (hot.status, hot.body) == (status, b"" if status else message(ABC))
    assert first == second
    assert len(contexts) == (0 if status else 2)
    if contexts:
        one, other = [
            (sorted(context.invocation_metadata()), portless(context.peer()), context.timeout) for context in contexts
        ]
        assert one == other


@pytest.mark.parametrize("timeout", ["1500m", "1S", "900000u", "1100000000n", "1H", "5M"])
async def test_timeouts_of_callers(timeout: str) -> None:
    async with two_ports(default_deadline_ms=2000, max_deadline_ms=3000) as both:
        for port in PORTS:
            assert (await asked(both, port, whole(ABC, ("grpc-timeout", timeout)))).status == 0
        control, hot = [context.timeout for context in both.links.script.calls]
    assert hot == pytest.approx(control, abs=0.1)
    assert 0.5 < hot <= 3


async def test_an_error_is_the_same_field_for_field() -> None:
    async def refuse(request: Any, context: CallContext) -> Any:
        context.set_trailing_metadata([("a", "1"), ("a", "2"), ("b-bin", b"\xff")])
        raise ValueError

    async with two_ports() as both:
        both.links.script.get_link = refuse
        send = whole(ABC, ("x-correlation-id", "ours"))
        control, hot = [await asked(both, port, send) for port in PORTS]
    assert (hot.fields, hot.trailers, hot.body) == (control.fields, [], b"")
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin", "a", "b-bin"} < dict(hot.fields).keys()


@dataclass(frozen=True)
class Difference:
    """A call on which the ports differ: by gRPC's status, by `-` and HTTP's, or a reset; lines of the log; and why."""

    send: Send
    control: str
    hot: str
    lines: tuple[int, int]
    why: str


DIFFERENCES = {
    "a compressed message": Difference(
        whole(ABC, ("grpc-encoding", "gzip")),
        control="0",
        hot="12",
        lines=(1, 0),
        why="the hot port takes no compressed messages, so that none is larger than it looks, and says which it takes",
    ),
    "an encoding that nobody knows": Difference(
        whole(ABC, ("grpc-encoding", "snappy")),
        control="13",
        hot="12",
        lines=(0, 0),
        why="gRPC's protocol asks for UNIMPLEMENTED, grpcio says INTERNAL",
    ),
    "marked as compressed with no encoding": Difference(
        parts(b"\1" + message(ABC)[1:]),
        control="13",
        hot="13",
        lines=(1, 0),
        why="refused by either transport, in words of its own; grpcio's call has begun by then",
    ),
    "larger than any method takes": Difference(
        parts(struct.pack(">BI", 0, 65_537) + b"x" * 1000),
        control="8",
        hot="8",
        lines=(1, 0),
        why="refused by either transport before it is read, in words of its own; grpcio's call has begun by then",
    ),
    "no time left on arrival": Difference(
        whole(ABC, ("grpc-timeout", "0m")),
        control="4",
        hot="0",
        lines=(0, 1),
        why="grpcio answers without asking anybody; ours get to their first wait",
    ),
    "a timeout that is none": Difference(
        whole(ABC, ("grpc-timeout", "soon")),
        control="13",
        hot="0",
        lines=(0, 1),
        why="the hot port passes over what it cannot read, and the default holds",
    ),
    "base64 that is none": Difference(
        whole(ABC, ("x-bin", "!")),
        control="13",
        hot="0",
        lines=(0, 1),
        why="the hot port passes over what it cannot read",
    ),
    "several binary values in one field": Difference(
        whole(ABC, ("x-bin", "AA==,Ag")),
        control="13",
        hot="0",
        lines=(0, 1),
        why="gRPC's protocol allows it, grpcio does not",
    ),
    "another content type": Difference(
        whole(ABC, content_type="application/json"),
        control="0",
        hot="-415",
        lines=(1, 0),
        why="gRPC's protocol asks for 415, grpcio does not look",
    ),
    "GET": Difference(get, control="reset", hot="-405", lines=(0, 0), why="grpcio ends the stream without a word"),
    "without te": Difference(
        whole(ABC, te=""),
        control="reset",
        hot="0",
        lines=(0, 1),
        why="grpcio wants to see that its caller can read trailers; nobody who speaks gRPC cannot",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
async def test_where_the_ports_differ(name: str) -> None:
    difference = DIFFERENCES[name]
    async with two_ports() as both:
        for port, expected, lines in zip(PORTS, (difference.control, difference.hot), difference.lines, strict=True):
            before = len(both.service.log.of("rpc"))
            assert ended(await asked(both, port, difference.send)) == expected
            # Its line, if there is one, is written before that of a call that comes later.
            assert (await asked(both, port, whole(b"\xff"))).status == 3
            await has_lines(both, before + lines + 1)


async def has_lines(both: TwoPorts, count: int) -> None:
    """Waits until there are so many lines about calls."""
    await until(lambda: len(both.service.log.of("rpc")) == count)


def ended(answer: Answer) -> str:
    """How, as `Difference` has it."""
    if answer.status is not None:
        return str(answer.status)
    return f"-{dict(answer.fields)[':status']}" if answer.fields else "reset"


async def test_what_grpcio_says_of_itself_is_all_that_was_left_out() -> None:
    async with two_ports() as both:
        found = {}
        for port in PORTS:
            async with wire(both.port(port)) as connection:
                answer = await connection.answer(whole(ABC, ("x-correlation-id", "ours"))(connection))
            found[port] = {*answer.fields, *answer.trailers}
    assert found["control"] - found["hot"] == set(_GRPCIOS_OWN)
    assert found["hot"] <= found["control"]


async def test_a_path_that_is_no_text_is_refused_and_the_port_goes_on() -> None:
    """It ends grpcio's accepting loop, see `RpcServer.run`."""
    async with two_ports() as both:
        for path in ("/caf\xff\xfe", "/waypost.api.v1.LinkService/\xc3"):
            assert (await asked(both, "hot", whole(ABC, path=path))).status == 12
        assert (await asked(both, "hot", whole())).status == 0
