"""What authentication costs a call: `python -m bench.access [--calls 500] [--more-calls 2000] [--runs 5]`.

The same call on the gateway's gRPC port of a mesh of its own, as somebody else each time: ResolveLink, which is open to
everybody, and GetLink, which is not. A key or token is new if the gateway has never seen it. Times are of calls one
after the other on one connection, rates of 16 connections at once. The mesh runs on core 0, this process on core 1;
each figure is the median of the runs with their spread, and the cases take turns within each run. Last, the cost of
finding out who calls within the process, without gRPC and database.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import asyncpg
import grpc

from bench.private_mesh import PrivateMesh, private_mesh, spread
from tests.support.keys import add_keys
from tests.support.memory_credentials import PEPPER, MemoryCredentials
from tests.support.tokens import Issuer, Keys
from waypost.access.authentication import Authenticator, Presented
from waypost.access.failures import Failures
from waypost.access.identity import Membership, Role
from waypost.access.tokens import TokenVerifier
from waypost.api.v1 import link_service_pb2 as pb
from waypost.clock import ServerClock
from waypost.model import DEFAULT_WORKSPACE
from waypost.supervisor import dev_key

Metadata = tuple[tuple[str, str], ...]
Cases = dict[str, Iterator[Metadata]]
"""Whose credentials the next call brings, by the name of the case."""

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

SERVICE = "/waypost.api.v1.LinkService"
CONNECTIONS = 16
NOBODY = "nobody"
"""The baseline."""
SUBJECT = "bench"


class Figures(NamedTuple):
    """Of one run of one case: milliseconds of a call, calls a second on all connections, and how many calls failed."""

    p50: float
    p99: float
    rate: float
    failed: int


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500, help="calls of a run on one connection")
    parser.add_argument("--more-calls", type=int, default=2000, help=f"calls of a run on {CONNECTIONS} connections")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with private_mesh() as mesh:
        asyncio.run(_calls(mesh, options))
    print()
    asyncio.run(_in_process(options.runs))


async def _calls(mesh: PrivateMesh, options: argparse.Namespace) -> None:
    # Once more for each case: what is new must not have been seen while warming up.
    number = 2 * (options.runs * (options.calls + options.more_calls) + options.calls)
    cases = await _cases(mesh, number)
    address = f"127.0.0.1:{mesh.port('WAYPOST_GATEWAY_CONTROL_PORT')}"
    channels = [grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(CONNECTIONS)]
    try:
        link = await _link(channels[0], mesh.key)
        requests = {
            "ResolveLink": pb.ResolveLinkRequest(short_code=link).SerializeToString(),
            "GetLink": pb.GetLinkRequest(short_code=link).SerializeToString(),
        }
        named: dict[str, tuple[list[Call], bytes, Iterator[Metadata]]] = {
            f"{method}, {case}": (
                [channel.unary_unary(f"{SERVICE}/{method}") for channel in channels],
                request,
                credentials,
            )
            for method, request in requests.items()
            for case, credentials in cases.items()
            if method == "ResolveLink" or case != NOBODY
        }
        figures: dict[str, list[Figures]] = defaultdict(list)
        busy: list[float] = []
        for calls, request, credentials in named.values():
            await _one_by_one(calls[0], request, credentials, options.calls)
        for _ in range(options.runs):
            for name, (calls, request, credentials) in named.items():
                waits = await _one_by_one(calls[0], request, credentials, options.calls)
                rate, failed, share = await _all_at_once(calls, request, credentials, options.more_calls)
                failed += options.calls - len(waits)
                figures[name].append(Figures(_quantile(waits, 0.5), _quantile(waits, 0.99), rate, failed))
                busy.append(share)
        _print(figures)
        print(f"this process was busy for {spread(busy, '.0%')} of the time at {CONNECTIONS} connections")
    finally:
        for channel in channels:
            await channel.close()


async def _cases(mesh: PrivateMesh, number: int) -> Cases:
    pepper = mesh.data.key_pepper.read_text().strip()
    one, *keys = await add_keys(mesh.owner_dsn(), pepper, number + 1)
    connection = await asyncpg.connect(mesh.owner_dsn())
    try:
        await connection.execute("SET ROLE waypost_operator")
        await connection.execute(
            "INSERT INTO members (workspace_id, subject, role) VALUES ($1, $2, 'owner')", DEFAULT_WORKSPACE, SUBJECT
        )
    finally:
        await connection.close()

    def token(serial: int) -> str:
        now = int(time.time())
        return dev_key.sign(mesh.data.path, {"sub": SUBJECT, "iat": now, "exp": now + 3600, "jti": str(serial)})

    first, *tokens = (token(serial) for serial in range(number + 1))
    return {
        NOBODY: itertools.repeat(()),
        "key": itertools.repeat((("x-api-key", one),)),
        "new key": iter([(("x-api-key", key),) for key in keys]),
        "token": itertools.repeat((("authorization", f"Bearer {first}"),)),
        "new token": iter([(("authorization", f"Bearer {one}"),) for one in tokens]),
    }


async def _link(channel: grpc.aio.Channel, key: str) -> str:
    create = channel.unary_unary(
        f"{SERVICE}/CreateLink",
        request_serializer=pb.CreateLinkRequest.SerializeToString,
        response_deserializer=pb.Link.FromString,
    )
    link: pb.Link = await create(pb.CreateLinkRequest(url="https://example.com/"), metadata=(("x-api-key", key),))
    return link.short_code


async def _one_by_one(call: Call, request: bytes, credentials: Iterator[Metadata], number: int) -> list[float]:
    """Milliseconds of each call that was answered."""
    waits = []
    for metadata in itertools.islice(credentials, number):
        began = time.perf_counter()
        if await _answered(call, request, metadata):
            waits.append((time.perf_counter() - began) * 1000)
    return waits


async def _all_at_once(
    calls: list[Call], request: bytes, credentials: Iterator[Metadata], number: int
) -> tuple[float, int, float]:
    """Answers a second, failures, and the share of the time for which this process was busy."""
    left = itertools.islice(credentials, number)

    async def ask(call: Call) -> int:
        return sum([not await _answered(call, request, metadata) for metadata in left])

    began, worked = time.perf_counter(), time.process_time()
    failed = sum(await asyncio.gather(*(ask(call) for call in calls)))
    seconds = time.perf_counter() - began
    return (number - failed) / seconds, failed, (time.process_time() - worked) / seconds


async def _answered(call: Call, request: bytes, metadata: Metadata) -> bool:
    try:
        await call(request, metadata=metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        # A machine that is busy with other things makes the gateway lose sight of its database.
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def _print(figures: dict[str, list[Figures]]) -> None:
    base = figures[f"ResolveLink, {NOBODY}"]
    for name, runs in figures.items():
        slower = statistics.median(run.p50 / first.p50 for run, first in zip(runs, base, strict=True))
        less = statistics.median(run.rate / first.rate for run, first in zip(runs, base, strict=True))
        print(
            f"{name:<24} p50 {spread([run.p50 for run in runs], '.2f'):<17} ms ({slower:.2f}x)   "
            f"p99 {spread([run.p99 for run in runs], '.2f'):<17} ms   "
            f"{spread([run.rate for run in runs], '.0f'):<16} /s ({less:.2f}x)"
            + (f"   {failed} failed" if (failed := sum(run.failed for run in runs)) else "")
        )


async def _in_process(runs: int, calls: int = 3000) -> None:
    store, issuer = MemoryCredentials(), Issuer()
    store.members[SUBJECT] = [Membership(DEFAULT_WORKSPACE, Role.OWNER)]
    number = runs * calls
    keys = [store.add_key().text for _ in range(number + 1)]
    tokens = [issuer.token(sub=SUBJECT, jti=str(serial)) for serial in range(number + 1)]
    cases = {
        NOBODY: itertools.repeat(Presented()),
        "key": itertools.repeat(Presented(key=keys[0])),
        "new key": (Presented(key=key) for key in keys[1:]),
        "token": itertools.repeat(Presented(token=tokens[0])),
        "new token": (Presented(token=token) for token in tokens[1:]),
    }
    authenticator = Authenticator(
        store,
        [PEPPER],
        TokenVerifier(Keys(issuer.jwks()), issuer.rules),
        frozenset(),
        ServerClock(),
        Failures(60),
    )
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        for name, presented in cases.items():
            began = time.perf_counter()
            for one in itertools.islice(presented, calls):
                await authenticator.identify(one, "127.0.0.1")
            took[name].append((time.perf_counter() - began) / calls * 1e6)
    for name, micros in took.items():
        print(f"who calls, {name:<12} {spread(micros, '.1f')} us")


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(len(values) * share) - 1]


if __name__ == "__main__":
    main()
