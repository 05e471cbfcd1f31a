"""Spans that tests look at: a tracer provider that keeps what is ended, and what of a span is worth comparing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from tests.support.waiting import until

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
SAMPLED = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01")
NOT_SAMPLED = ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00")


@dataclass(frozen=True)
class Event:
    """An event of a span: an exception, by its type and text."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class Seen:
    """A span without what chance decides (its ids, times and the caller's port). `parent`: trace and span, or none."""

    name: str
    kind: str
    attributes: dict[str, Any]
    status: str
    description: str
    events: tuple[Event, ...]
    parent: tuple[str, str, bool] | None
    trace_state: str


def seen(span: ReadableSpan) -> Seen:
    """What of a span is worth comparing. Its port must be one."""
    attributes = dict(span.attributes or {})
    port = attributes.pop("net.peer.port", "1")
    assert isinstance(port, str)
    assert 0 < int(port) < 65_536
    parent = span.parent
    return Seen(
        span.name,
        span.kind.name,
        attributes,
        span.status.status_code.name,
        span.status.description or "",
        tuple(_event(dict(event.attributes or {}), event.name) for event in span.events),
        None if parent is None else (*ids(parent), parent.is_remote),
        context_of(span).trace_state.to_header(),
    )


def _event(attributes: dict[str, Any], name: str) -> Event:
    return Event(name, str(attributes["exception.type"]), str(attributes["exception.message"]))


def ids(context: trace.SpanContext) -> tuple[str, str]:
    """Trace and span, as headers have them."""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def context_of(span: ReadableSpan) -> trace.SpanContext:
    """The context of a span, which every one has that was recorded."""
    context: trace.SpanContext | None = span.context
    assert context is not None
    return context


class Spans:
    """A tracer provider, and the spans of it that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    async def have(self, count: int) -> list[ReadableSpan]:
        """Waits for so many, in the order of their ends; there may be no more. They are forgotten then."""
        await until(lambda: len(self.ended) >= count)
        ended = self.ended
        assert len(ended) == count
        self._exporter.clear()
        return ended

    async def one(self) -> Seen:
        """Waits for the only one."""
        return seen((await self.have(1))[0])


@contextlib.contextmanager
def embedded(provider: TracerProvider) -> Iterator[None]:
    """The provider set as those do that embed a service, for what is made within the block."""
    with pytest.MonkeyPatch.context() as patch:
        # Once in a process is meant for programs.
        patch.setattr("opentelemetry.trace._TRACER_PROVIDER_SET_ONCE", Once())
        patch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
        trace.set_tracer_provider(provider)
        yield
