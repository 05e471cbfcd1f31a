"""One service with a control port and a hot port, and what a call to either looks like from all sides."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf import text_format
from google.rpc import error_details_pb2, status_pb2

from tests.support.service import GET_LINK, Links, Running, running
from waypost.rpc.context import CallContext
from waypost.rpc.status import DETAILS_KEY

PORTS = ("control", "hot")

Pairs = Sequence[tuple[str, str | bytes]]

_MADE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
# Of a log line: what differs between any two calls.
_OF_ITS_TIME = ("ts", "duration_ms")


@dataclass(frozen=True)
class Seen:
    """What a servicer knew of its call."""

    method: str
    metadata: list[tuple[str, str | bytes]]
    peer: str
    seconds: float = field(compare=False)
    """What it has from its start on; a caller's time is a little less when it arrives."""
    asked: bool
    """Whether the caller gave a time."""


@dataclass(frozen=True)
class Outcome:
    """How a call went; of ids that were made, ports of clients and times only that they were there."""

    code: grpc.StatusCode
    message: str
    details: str
    """The `google.rpc.Status` as text; empty: there was none."""
    response: bytes | None
    initial: list[tuple[str, str | bytes]]
    trailing: list[tuple[str, str | bytes]]
    log: dict[str, Any] | None = None
    seen: Seen | None = None
    counted: list[tuple[str, str]] = field(default_factory=list)
    """Methods and codes of the histogram of calls, one for each call that it has more."""

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        """The reason among the details."""
        found = error_details_pb2.ErrorInfo()
        assert text_format.Parse(self.details, status_pb2.Status()).details[0].Unpack(found)
        return found


@dataclass
class TwoPorts:
    """A running service and a channel to each of its ports."""

    service: Running
    links: Links
    channels: Mapping[str, grpc.aio.Channel]

    def port(self, name: str) -> int:
        """The number of `control` or `hot`."""
        number: int = getattr(self.service.ports, name)
        return number

    def call(self, port: str, request: bytes = b"", *, method: str = GET_LINK, **options: Any) -> Any:
        """A call under way, bytes to bytes."""
        stub: Any = self.channels[port].unary_unary(method)
        return stub(request, **options)

    async def ask(self, port: str, request: bytes = b"", *, logged: bool = True, **options: Any) -> Outcome:
        """A call and all that became of it; `logged`: it has one line in the log and counts once."""
        lines, counts = len(self.service.log.of("rpc")), self._counts()
        calls = len(self.links.script.calls)
        outcome = await told(self.call(port, request, **options))
        if logged:
            outcome = replace(outcome, log=plain(await self.service.log.rpc(lines + 1)))
        after = self._counts()
        return replace(
            outcome,
            seen=seen(self.links.script.calls[-1]) if len(self.links.script.calls) > calls else None,
            counted=[key for key, count in sorted(after.items()) for _ in range(int(count - counts.get(key, 0)))],
        )

    async def same(self, request: bytes = b"", **options: Any) -> Outcome:
        """The outcome on either port; that on the other must be equal to it."""
        control, hot = [await self.ask(port, request, **options) for port in PORTS]
        assert hot == control
        return hot

    def _counts(self) -> dict[tuple[str, str], float]:
        (family,) = self.service.metrics.rpc_duration.collect()
        return {
            (sample.labels["rpc_method"], sample.labels["rpc_status_code"]): sample.value
            for sample in family.samples
            if sample.name.endswith("_count")
        }


@contextlib.asynccontextmanager
async def two_ports(*more: object, **options: Any) -> AsyncIterator[TwoPorts]:
    """A service of `Links` and more servicers; options as `tests.support.service.running` has them."""
    links = Links()
    async with running(links, *more, hot=True, **options) as service:
        await service.status("ok")
        async with contextlib.AsyncExitStack() as stack:
            channels = {
                port: await stack.enter_async_context(
                    grpc.aio.insecure_channel(
                        f"127.0.0.1:{getattr(service.ports, port)}", options=[("grpc.use_local_subchannel_pool", 1)]
                    )
                )
                for port in PORTS
            }
            yield TwoPorts(service, links, channels)


async def told(call: Any) -> Outcome:
    """What its caller knows of a call."""
    response = None
    with contextlib.suppress(grpc.aio.AioRpcError):
        response = await call
    trailing = pairs(await call.trailing_metadata())
    (packed,) = [value for name, value in trailing if name == DETAILS_KEY] or [b""]
    assert isinstance(packed, bytes)
    return Outcome(
        await call.code(),
        made_ids(await call.details() or ""),
        made_ids(text_format.MessageToString(status_pb2.Status.FromString(packed))),
        response,
        pairs(await call.initial_metadata()),
        [(name, value) for name, value in trailing if name != DETAILS_KEY],
    )


def pairs(metadata: Any) -> list[tuple[str, str | bytes]]:
    """Metadata by name; of values of one name the order counts."""
    found = [(name, made_ids(value) if isinstance(value, str) else value) for name, value in metadata or ()]
    return sorted(found, key=lambda pair: pair[0])


def plain(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the log without what differs between any two calls; with the kind of its peer."""
    assert line["duration_ms"] >= 0
    kept = {name: value for name, value in line.items() if name not in _OF_ITS_TIME and name != "exception"}
    return kept | {"peer": portless(line["peer"]), "correlation_id": made_ids(line["correlation_id"])}


def seen(context: CallContext) -> Seen:
    """What a servicer knows by its context."""
    return Seen(
        context.method,
        pairs(context.invocation_metadata()),
        portless(context.peer()),
        context.timeout,
        context.client_timeout is not None,
    )


def portless(peer: str) -> str:
    """A peer's name without the port, which must be a number."""
    return re.sub(r":\d+$", ":PORT", peer)


def made_ids(text: str) -> str:
    """The text without ids that nobody chose."""
    return _MADE_ID.sub("ID", text)
