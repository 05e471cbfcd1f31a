"""Lists of links in a mesh of its own: `python -m bench.lists [--links 1000000] [--pages 200] [--runs 5]`.

Pages of 50 are asked for one after the other, through Envoy as JSON and from the gateway's gRPC port. Each figure is
the median of the runs with their spread; the mesh runs on core 0, this process on core 1. Filling takes a minute or two
and two gigabytes of disk for each million links.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
import urllib.parse
from collections.abc import Callable
from http.client import HTTPConnection

import asyncpg
import grpc

from bench.private_mesh import PrivateMesh, private_mesh, spread
from tests.support.many_links import TAGS, VOCABULARY, fill, tag, word
from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

Ask = Callable[[pb.ListLinksRequest], tuple[float, str]]
"""Asks for a page: the seconds that it took, and the next page's token. Raises `Failed`."""


class Failed(Exception):
    """The answer is an error."""


_RARE = VOCABULARY - 10
_MONTH = 'created_at >= "{}-01-01T00:00:00Z" AND created_at < "{}-02-01T00:00:00Z"'

LISTS = {
    "no filter": ("", ""),
    "state = expired": ("state = expired", ""),
    "state = exhausted": ("state = exhausted", ""),
    "a frequent tag": (f'tag = "{tag(1)}"', ""),
    "a rare tag": (f'tag = "{tag(TAGS)}"', ""),
    "a frequent word": (f"text : {word(1)}", ""),
    "a rare word": (f"text : {word(_RARE)}", ""),
    "two words": (f'text : "{word(60)} {word(70)}"', ""),
    "a beginning of words": (f"text : {word(60)[:4]}*", ""),
    "a month": (_MONTH.format(*[time.gmtime().tm_year] * 2), ""),
    "by short code": ("", "short_code"),
    "a frequent tag by short code": (f'tag = "{tag(1)}"', "short_code"),
    "a rare tag by short code": (f'tag = "{tag(TAGS)}"', "short_code"),
    "two words by short code": (f'text : "{word(60)} {word(70)}"', "short_code"),
}
"""Filters and orders by what they are."""

_DEEP = 100_000
_RUN_SECONDS = 5.0
_LEAST_PAGES = 10
"""A run of slow pages ends after so many seconds, but not before so many pages."""


def main() -> None:
    """Runs the benchmark and prints its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=200, help="pages in a run")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with private_mesh() as mesh:
        began = time.perf_counter()
        asyncio.run(_fill(mesh, options.links))
        print(f"{options.links:,} links made in {time.perf_counter() - began:.0f} s", flush=True)
        address = f"127.0.0.1:{mesh.port('WAYPOST_GATEWAY_CONTROL_PORT')}"
        with grpc.insecure_channel(address) as channel:
            _measure("gRPC", _grpc(channel, mesh.key), options)
        _measure("JSON", _json(mesh), options)


async def _fill(mesh: PrivateMesh, count: int) -> None:
    connection = await asyncpg.connect(mesh.owner_dsn())
    try:
        await fill(connection, count)
    finally:
        await connection.close()


def _grpc(channel: grpc.Channel, key: str) -> Ask:
    """Asks the gateway itself."""
    list_links = LinkServiceStub(channel).ListLinks
    metadata = (("x-api-key", key),)

    def ask(request: pb.ListLinksRequest) -> tuple[float, str]:
        began = time.perf_counter()
        try:
            response = list_links(request, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            raise Failed(str(error.code())) from error
        return time.perf_counter() - began, response.next_page_token

    return ask


def _json(mesh: PrivateMesh) -> Ask:
    """Asks through Envoy, over one connection."""
    connection = HTTPConnection("127.0.0.1", mesh.port("WAYPOST_HTTP_PORT"), timeout=10)
    headers = {"x-api-key": mesh.key}

    def ask(request: pb.ListLinksRequest) -> tuple[float, str]:
        fields = {field.name: value for field, value in request.ListFields()}
        began = time.perf_counter()
        connection.request("GET", f"/api/v1/urls?{urllib.parse.urlencode(fields)}", headers=headers)
        response = connection.getresponse()
        body = response.read()
        seconds = time.perf_counter() - began
        if response.status != 200:
            raise Failed(f"HTTP {response.status}")
        return seconds, json.loads(body)["next_page_token"]

    return ask


def _measure(way: str, ask: Ask, options: argparse.Namespace) -> None:
    for name, (link_filter, order_by) in LISTS.items():
        _report(f"{way}  {name}", ask, pb.ListLinksRequest(filter=link_filter, order_by=order_by), options)
    deep = pb.ListLinksRequest(page_size=500)
    for _ in range(_DEEP // 500):
        deep.page_token = ask(deep)[1] or deep.page_token
    _report(f"{way}  after {_DEEP:,} links", ask, pb.ListLinksRequest(page_token=deep.page_token), options)


def _report(name: str, ask: Ask, request: pb.ListLinksRequest, options: argparse.Namespace) -> None:
    middles, most = [], []
    try:
        for _ in range(options.runs):
            until = time.perf_counter() + _RUN_SECONDS
            waits = sorted(
                ask(request)[0] * 1000 for n in range(options.pages) if n < _LEAST_PAGES or time.perf_counter() < until
            )
            middles.append(waits[len(waits) // 2])
            most.append(waits[math.ceil(len(waits) * 0.99) - 1])
    except Failed as failure:
        print(f"{name:<36} {failure}", flush=True)
        return
    print(f"{name:<36} p50 {spread(middles, '.1f'):<18} ms   p99 {spread(most, '.1f')} ms", flush=True)


if __name__ == "__main__":
    main()
