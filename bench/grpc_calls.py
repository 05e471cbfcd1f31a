"""The load generator for machines without Go, with the same flags and the same answer: `python -m bench.grpc_calls`.

It costs more a call than the servers that it calls, so that its figures are bounds: throughput is at least, latency at
most what it says. See bench/go/generator for what the flags mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import time
from collections import Counter

import grpc
import uvloop
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3 import rls_pb2 as pb

Method = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_TIMEOUT_SECONDS = 5.0


def main() -> None:
    """Makes the calls and prints what was measured as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-address", required=True)
    parser.add_argument("-mode", choices=["open", "closed"], default="open")
    parser.add_argument("-arrivals", choices=["even", "poisson"], default="even")
    parser.add_argument("-rate", type=float, default=1000)
    parser.add_argument("-seconds", type=float, default=5)
    parser.add_argument("-warmup", type=float, default=1)
    parser.add_argument("-connections", type=int, default=4)
    parser.add_argument("-streams", type=int, default=8)
    parser.add_argument("-domain", default="bench")
    parser.add_argument("-key", default="client")
    parser.add_argument("-keys", type=int, default=1)
    parser.add_argument("-descriptors", type=int, default=1)
    parser.add_argument("-method", default=METHOD)
    parser.add_argument("-message", type=bytes.fromhex, default=b"")
    parser.add_argument("-header", action="append", default=[])
    parser.add_argument("-seed", type=int, default=1)
    print(json.dumps(uvloop.run(_Calls(parser.parse_args()).run())))


class _Calls:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._draw = random.Random(options.seed)
        self._metadata = [(name, value) for name, _, value in (word.partition(":") for word in options.header)]
        self._requests = [options.message]
        if options.method == METHOD:
            self._requests = [_request(options, number) for number in range(options.keys)]
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._codes: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._calls = self._degraded = 0
        self._from = self._until = 0.0

    async def run(self) -> dict[str, object]:
        o = self._options
        channels = [
            grpc.aio.insecure_channel(o.address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(o.connections)
        ]
        methods: list[Method] = [channel.unary_unary(o.method) for channel in channels]
        self._from = time.perf_counter() + o.warmup
        self._until = self._from + o.seconds
        used, began = _cpu_seconds(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            if o.mode == "open":
                await self._pace(group, methods)
            else:
                for method in methods * o.streams:
                    group.create_task(self._repeat(method))
        cpu = (_cpu_seconds() - used) / (time.perf_counter() - began)
        for channel in channels:
            await channel.close()
        return {
            "answers": len(self._latencies),
            "calls": self._calls,
            "per_second": len(self._latencies) / o.seconds,
            "latency_us": quantiles(self._latencies),
            "late_us": quantiles(self._late),
            "codes": self._codes,
            "degraded": self._degraded,
            "errors": self._errors,
            "generator_cpu": cpu,
        }

    async def _pace(self, group: asyncio.TaskGroup, methods: list[Method]) -> None:
        due, number = time.perf_counter(), 0
        while due < self._until:
            await asyncio.sleep(due - time.perf_counter())
            if due >= self._from:
                self._late.append(max(0.0, time.perf_counter() - due))
            group.create_task(self._call(methods[number % len(methods)], due))
            number += 1
            rate = self._options.rate
            due += self._draw.expovariate(rate) if self._options.arrivals == "poisson" else 1 / rate

    async def _repeat(self, method: Method) -> None:
        while (now := time.perf_counter()) < self._until:
            await self._call(method, now)

    async def _call(self, method: Method, due: float) -> None:
        self._calls += 1
        counts = self._from <= due < self._until
        try:
            answer = await method(self._draw.choice(self._requests), timeout=_TIMEOUT_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if counts:
                self._errors[f"status {error.code().value[0]}"] += 1
            return
        if counts:
            self._latencies.append(time.perf_counter() - due)
            if self._options.method != METHOD:
                self._codes["OK"] += 1
                return
            self._degraded += b"degraded" in answer
            self._codes[pb.RateLimitResponse.Code.Name(pb.RateLimitResponse.FromString(answer).overall_code)] += 1


def _request(options: argparse.Namespace, number: int) -> bytes:
    keys = [options.key, *(f"{options.key}-{place}" for place in range(2, options.descriptors + 1))]
    entries = [RateLimitDescriptor.Entry(key=key, value=f"value-{number:06d}") for key in keys]
    descriptors = [RateLimitDescriptor(entries=[entry]) for entry in entries]
    return bytes(pb.RateLimitRequest(domain=options.domain, descriptors=descriptors).SerializeToString())


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Microseconds by quantile; nothing of nothing."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    shares = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1e6 for name, q in shares.items()}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
