"""What a hot port tells Prometheus: calls that never reach Python, those that do, connections, bounds that were met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from native._server import BUCKETS, Server
from waypost.telemetry import bucket_names

_BUCKETS = bucket_names(BUCKETS)


class HotPortMetrics(Collector):
    """Reads the transport's own counts each time it is asked."""

    def __init__(self, transport: Server) -> None:
        self._transport = transport

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        stats = self._transport.stats()
        handled = HistogramMetricFamily(
            "hot_port_handler_seconds", "Time of a call that a compiled handler answered.", labels=["rpc_method"]
        )
        for method, times in stats["methods"].items():
            handled.add_metric([method], _buckets(times["buckets"]), sum_value=times["nanoseconds"] / 1e9)
        yield handled
        waited = HistogramMetricFamily("hot_port_queue_seconds", "Time until a call that goes up is taken by Python.")
        taken = stats["taken"]
        waited.add_metric([], _buckets(taken["buckets"]), sum_value=taken["nanoseconds"] / 1e9)
        yield waited
        yield GaugeMetricFamily(
            "hot_port_queue_length", "Calls that wait to be taken by Python.", max(0, stats["up"] - taken["calls"])
        )
        failed = CounterMetricFamily(
            "hot_port_handler_failures",
            "Calls that a compiled handler answered with an error.",
            labels=["rpc_method"],
        )
        for method, of_method in stats["methods"].items():
            failed.add_metric([method], of_method["failed"])
        yield failed
        yield CounterMetricFamily("hot_port_calls_up", "Calls that were passed on to Python.", stats["up"])
        yield CounterMetricFamily("hot_port_refused", "Calls that the transport itself refused.", stats["refused"])
        yield CounterMetricFamily(
            "hot_port_cancelled", "Calls whose callers left while Python worked on them.", stats["cancelled"]
        )
        yield GaugeMetricFamily("hot_port_in_flight", "Calls that Python has not answered yet.", stats["in_flight"])
        yield CounterMetricFamily("hot_port_accepted", "Connections that were accepted.", stats["accepted"])
        yield GaugeMetricFamily("hot_port_connections", "Connections that are open.", stats["connections"])
        yield GaugeMetricFamily(
            "hot_port_waiting_bytes", "Bytes of metadata, messages and answers that are held.", stats["waiting_bytes"]
        )
        caps = CounterMetricFamily("hot_port_cap_hits", "How often a bound was met, by bound.", labels=["cap"])
        for cap, hits in stats["caps"].items():
            caps.add_metric([cap], hits)
        yield caps


def _buckets(counts: Sequence[int]) -> list[tuple[str, float]]:
    return list(zip(_BUCKETS, accumulate(counts), strict=True))
