"""HTTP/2 frame by frame, also wrong ones."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
ENHANCE_YOUR_CALM = 11
LARGEST = 16_384
"""Bytes in a frame, unless more was agreed."""

GRPC = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Up"),
    (":authority", "test"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(content: bytes, *, compressed: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return bytes([compressed]) + struct.pack(">I", len(content)) + content


@dataclass(slots=True)
class Answer:
    """What came back on one stream."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    last: bool = False
    """Its last frame has begun to come."""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int | None:
        """The gRPC status, None: there was none."""
        found = dict(self.fields + self.trailers).get("grpc-status")
        return None if found is None else int(found)

    @property
    def text(self) -> str:
        """The message of the status."""
        return dict(self.fields + self.trailers).get("grpc-message", "")


class Wire:
    """One connection: to a port of an address, or to the path of a unix socket."""

    def __init__(self, port: int, place: str = "127.0.0.1") -> None:
        self._port, self._place = port, place
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder(max_header_list_size=2**20)
        self._next = 1
        self._block = b""
        self.answers: dict[int, Answer] = {}
        self.settings: dict[int, int] = {}
        self.goaway: list[tuple[int, int]] = []
        """Last stream and error code of each."""
        self.pongs = 0
        self.granted = 0
        """Bytes that the server lets all calls together send, beyond those that HTTP/2 begins with."""
        self.closed = False
        self.acknowledges = True
        """Whether it says that it knows of the server's settings."""

    async def __aenter__(self) -> Self:
        if self._place.startswith("/"):
            self._reader, self._writer = await asyncio.open_unix_connection(self._place)
        else:
            self._reader, self._writer = await asyncio.open_connection(self._place, self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)

    def hang_up(self) -> None:
        """Says that nothing more comes, but goes on to listen."""
        self.acknowledges = False
        self._writer.write_eof()

    def leave(self) -> None:
        """Neither says nor hears anything more."""
        self._writer.transport.abort()

    def begin(self, *settings: tuple[int, int]) -> None:
        """The preface."""
        payload = b"".join(struct.pack(">HI", *setting) for setting in settings)
        self.send(PREFACE + frame(SETTINGS, payload=payload))

    def block(self, fields: Sequence[tuple[str, str]]) -> bytes:
        """Fields, compressed."""
        encoded: bytes = self._encoder.encode([(name, value.encode("latin-1")) for name, value in fields])
        return encoded

    def head(self, *more: tuple[str, str], end: bool = False, **other: str) -> int:
        """Begins a call; `other`: pseudo fields and others by name, for those of `GRPC`. Its stream."""
        fields = [(name, other.get(name.strip(":").replace("-", "_"), value)) for name, value in GRPC]
        return self.head_of([*(one for one in fields if one[1]), *more], end=end)

    def head_of(self, fields: Sequence[tuple[str, str]], *, end: bool = False) -> int:
        """Begins a call with these fields and no others. Its stream."""
        stream, self._next = self._next, self._next + 2
        self.answers[stream] = Answer()
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(fields)))
        return stream

    def data(self, stream: int, content: bytes, *, end: bool = True) -> None:
        """A part of a call's message, in frames of the size that every peer takes."""
        for start in range(0, len(content) or 1, LARGEST):
            last = start + LARGEST >= len(content)
            self.send(frame(DATA, END_STREAM if end and last else 0, stream, content[start : start + LARGEST]))

    def call(self, content: bytes = b"hi", *more: tuple[str, str], **other: str) -> int:
        """A whole call."""
        stream = self.head(*more, end=False, **other)
        self.data(stream, message(content))
        return stream

    async def answer(self, stream: int) -> Answer:
        """What comes back on a stream, once it has ended."""
        while not (self.answers[stream].ended or self.answers[stream].reset is not None) and not self.closed:
            await self.receive()
        return self.answers[stream]

    async def until_closed(self) -> None:
        """Reads until the server has closed the connection."""
        while not self.closed:
            await self.receive()

    async def receive(self) -> int:
        """Takes in one frame, and says what kind it was; -1: the connection is closed."""
        try:
            async with asyncio.timeout(20):
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed = True
            return -1
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        answer = self.answers.get(stream)
        if kind == SETTINGS and not flags & ACK:
            self.settings |= dict(struct.iter_unpack(">HI", payload))
            if self.acknowledges:
                self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == WINDOW_UPDATE and not stream:
            self.granted += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway.append(struct.unpack(">II", payload[:8]))
        elif kind in (HEADERS, CONTINUATION):
            self._take_fields(answer, flags, payload)
        elif answer is not None and kind == DATA:
            answer.body += payload
        elif answer is not None and kind == RST_STREAM:
            answer.reset = int.from_bytes(payload, "big")
        if answer is not None and kind in (HEADERS, DATA) and flags & END_STREAM:
            answer.last = True
        if answer is not None and not self._block:
            answer.ended = answer.last
        return kind

    def _take_fields(self, answer: Answer | None, flags: int, part: bytes) -> None:
        self._block += part
        if not flags & END_HEADERS:
            return
        fields = [(str(name), str(value)) for name, value in self._decoder.decode(self._block)]
        self._block = b""
        if answer is not None:
            (answer.trailers if answer.fields else answer.fields).extend(fields)


class Recorder(Wire):
    """A client that only writes down what it would say."""

    def __init__(self) -> None:
        super().__init__(0)
        self.said = b""

    def send(self, data: bytes) -> None:
        """Writes it down."""
        self.said += data


@asynccontextmanager
async def wire(port: int, *settings: tuple[int, int]) -> AsyncIterator[Wire]:
    """A connection that has begun."""
    async with Wire(port) as connection:
        connection.begin(*settings)
        yield connection
