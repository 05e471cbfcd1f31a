"""Batches of links in a mesh of its own: `python -m bench.batches [--links 1000] [--runs 11]`.

Each figure is the median of the runs with their spread; the mesh runs on core 0, this process on core 1. Redirects are
asked for beside the batches, at a steady rate, to see how long they wait for one; their times count from when each was
meant to be sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import urllib.request
from itertools import count
from typing import Any

import grpc
import httpx

from bench.private_mesh import PrivateMesh, private_mesh, spread, timed
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

_NUMBERS = count()


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    with private_mesh() as mesh:
        _over_grpc(mesh, options)
        _over_http(mesh, options)
        asyncio.run(_redirects_beside(mesh, options))


def _links(number: int) -> list[dict[str, Any]]:
    return [
        {"url": f"https://shop{n % 50}.example.com/products/{n}?ref=mail", "title": f"Product {n} of the spring sale"}
        for n in (next(_NUMBERS) for _ in range(number))
    ]


def _over_grpc(mesh: PrivateMesh, options: argparse.Namespace) -> None:
    address = f"127.0.0.1:{mesh.port('WAYPOST_GATEWAY_CONTROL_PORT')}"
    metadata = (("x-api-key", mesh.key),)
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = LinkServiceStub(channel)

        def batch() -> None:
            request = pb.BatchCreateLinksRequest(
                requests=[pb.CreateLinkRequest(**fields) for fields in _links(options.links)]
            )
            response = stub.BatchCreateLinks(request, timeout=60, metadata=metadata)
            assert all(result.HasField("link") for result in response.results)

        batch()
        _print(f"batch of {options.links}, gRPC", timed(batch, options.runs))


def _over_http(mesh: PrivateMesh, options: argparse.Namespace) -> None:
    def batch() -> None:
        _batch_over_http(mesh, options.links)

    _print(f"batch of {options.links}, JSON through Envoy", timed(batch, options.runs))


def _batch_over_http(mesh: PrivateMesh, number: int) -> list[str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{mesh.port('WAYPOST_HTTP_PORT')}/api/v1/shorten:batch",
        json.dumps({"requests": _links(number)}).encode(),
        {"content-type": "application/json", "x-api-key": mesh.key},
    )
    with urllib.request.urlopen(request) as response:
        return [result["link"]["short_code"] for result in json.load(response)["results"]]


async def _redirects_beside(mesh: PrivateMesh, options: argparse.Namespace) -> None:
    codes = await asyncio.to_thread(_batch_over_http, mesh, 100)
    for name, batches in (("alone", 0), ("beside batches", options.runs)):
        over = asyncio.Event()
        waits: list[float] = []
        asking = asyncio.create_task(_ask(mesh, codes, waits, over))
        if batches:
            for _ in range(batches):
                await asyncio.to_thread(_batch_over_http, mesh, options.links)
        else:
            await asyncio.sleep(2)
        over.set()
        await asking
        waits.sort()
        p50, p99 = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
        most = waits[-1] * 1000
        print(f"redirects {name:<15} {len(waits)} at 200/s: p50 {p50:.1f} ms  p99 {p99:.1f} ms  most {most:.1f} ms")


async def _ask(mesh: PrivateMesh, codes: list[str], waits: list[float], over: asyncio.Event) -> None:
    base = f"http://127.0.0.1:{mesh.port('WAYPOST_HTTP_PORT')}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:

        async def one(code: str, due: float) -> None:
            response = await client.get(f"/{code}")
            assert response.status_code == 302
            waits.append(time.perf_counter() - due)

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in count():
                due = begun + number / 200
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if over.is_set():
                    return
                group.create_task(one(codes[number % len(codes)], due))


def _print(name: str, seconds: list[float]) -> None:
    print(f"{name:<36} {spread([second * 1000 for second in seconds], '.0f')} ms")


if __name__ == "__main__":
    main()
