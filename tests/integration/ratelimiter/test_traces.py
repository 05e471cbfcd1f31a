"""A program that sets a tracer provider and starts the rate limiter sees the spans of its calls."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2_grpc
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest

from tests.integration.ratelimiter.process import FREE
from tests.support.hot_port import PORTS
from tests.support.process import started
from tests.support.spans import NOT_SAMPLED, SAMPLED, SPAN_ID, TRACE_ID
from waypost.api.v1.rate_limit_service_pb2 import ListRulesRequest
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub

PROGRAM = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from ratelimiter.__main__ import Settings, main, run

def line(span):
    return json.dumps({"event": "span", "name": span.name, "span": span.to_json()}) + chr(10)

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr, formatter=line)))
trace.set_tracer_provider(provider)
sys.exit(main("ratelimiter", Settings, run))
"""


@pytest.mark.parametrize("port", PORTS)
def test_a_program_that_sets_a_tracer_provider_sees_what_callers_trace(port: str) -> None:
    with started("-c", PROGRAM, **FREE) as process:
        address = str(process.wait_for("serving")[port])
        target = address if ":" in address else f"127.0.0.1:{address}"
        with grpc.insecure_channel(target) as channel:
            limits: Any = RateLimitServiceStub(channel)
            envoy: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
            for metadata in [(), (NOT_SAMPLED,), (SAMPLED,)]:
                with pytest.raises(grpc.RpcError, match="domain must not be empty"):
                    envoy.ShouldRateLimit(RateLimitRequest(), metadata=metadata, timeout=10)
            with pytest.raises(grpc.RpcError):
                limits.ListRules(ListRulesRequest(), timeout=10)
        process.signal()
        assert process.end() == 0
        asked, listed = [line for line in process.log if line["event"] == "span"]
    assert asked["name"] == "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
    assert (f"0x{TRACE_ID}" in asked["span"], f"0x{SPAN_ID}" in asked["span"]) == (True, True)
    assert listed["name"] == "/waypost.api.v1.RateLimitService/ListRules"
    assert f"0x{TRACE_ID}" not in listed["span"]
