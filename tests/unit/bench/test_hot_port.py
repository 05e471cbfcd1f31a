"""Which methods a hot port answers compiled is read off its metrics."""

from __future__ import annotations

from bench.hot_port import HEALTH, NARROW, WIDE, closed, compiled

_PAGE = """\
# HELP hot_port_handler_seconds Time of a call that a compiled handler answered.
# TYPE hot_port_handler_seconds histogram
hot_port_handler_seconds_bucket{le="+Inf",rpc_method="/grpc.health.v1.Health/Check"} 12.0
hot_port_handler_seconds_count{rpc_method="/grpc.health.v1.Health/Check"} 12.0
hot_port_handler_seconds_sum{rpc_method="/grpc.health.v1.Health/Check"} 0.5
# HELP hot_port_calls_up_total Calls that were passed on to Python.
# TYPE hot_port_calls_up_total counter
hot_port_calls_up_total 3.0
"""


def test_methods_with_compiled_handlers_are_those_that_have_a_histogram() -> None:
    assert compiled(_PAGE) == {HEALTH.path: 12.0}
    assert compiled("") == {}


def test_closed_loops_are_what_their_labels_say() -> None:
    for label, load in ((WIDE, closed(HEALTH)), (NARROW, closed(HEALTH, wide=False))):
        assert label == f"closed loop, {load.connections} connections × {load.streams} streams"
