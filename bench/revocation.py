"""How soon a revoked key is refused elsewhere: `python -m bench.revocation [--repeats 50]`.

Two gateways on one database; a key is in use at the second when it is revoked through the first: by four connections
all the time, or by one now and then, when what is known of it gets oldest. Measured is the time from the answer of
RevokeKey to the beginning of the last call that was still served, and to the first refusal, for which somebody has to
call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from bench.private_mesh import spread
from tests.faults.gateways import running_gateway
from tests.support.credentials import aio_with_key
from tests.support.keys import PEPPER, add_key, add_keys
from tests.support.postgres import Database, running_server
from waypost.access.api_keys import parse_key
from waypost.api.v1 import key_service_pb2 as keys_pb
from waypost.api.v1 import workspace_service_pb2 as workspaces_pb
from waypost.api.v1.key_service_pb2_grpc import KeyServiceStub
from waypost.api.v1.workspace_service_pb2_grpc import WorkspaceServiceStub

if TYPE_CHECKING:
    from waypost.api.v1.key_service_pb2_grpc import KeyServiceAsyncStub

PROMISED_SECONDS = 1.0
USES = {"all the time": (4, 0.002), "now and then": (1, 0.39)}
"""How many connections use the key, and the seconds between two calls of each."""
_PHASE = 0.8
"""A key is revoked up to so many seconds after it became known, so at any moment between two looks at the store."""


def main() -> None:
    """Runs the benchmark and prints its figures; exit code 1 if the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    with running_server() as server:
        raise SystemExit(asyncio.run(_bench(server.make_database(), options.repeats)))


@dataclass
class User:
    """Uses a key on one connection until it is refused.

    `last_served`: when the last call began that was answered; `refused`: when the refusal came; monotonic seconds.
    """

    key: str
    pause: float
    last_served: float = 0.0
    refused: float = 0.0
    known: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, address: str) -> None:
        """Calls until it is refused; sets `known` on its way."""
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = WorkspaceServiceStub(channel)
            metadata = (("x-api-key", self.key),)
            while True:
                began = time.monotonic()
                try:
                    await stub.GetWorkspace(workspaces_pb.GetWorkspaceRequest(), metadata=metadata, timeout=5)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                        raise
                    self.refused = time.monotonic()
                    return
                self.last_served = began
                self.known.set()
                await asyncio.sleep(self.pause)


async def _bench(database: Database, repeats: int) -> int:
    draw = random.Random(1)
    broken = False
    async with contextlib.AsyncExitStack() as stack:
        # Neither the limit of reads is measured nor that of refusals.
        env = {"WAYPOST_GATEWAY_LOCAL_READS_PER_MINUTE": "1000000", "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": "1000000"}
        first, second = [await stack.enter_async_context(running_gateway(database.url, env)) for _ in range(2)]
        interceptors = aio_with_key(await add_key(database.url()))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(first.address, interceptors=interceptors))
        stub = KeyServiceStub(channel)
        for name, (connections, pause) in USES.items():
            refused, served = [], []
            for key in await add_keys(database.url(), PEPPER, repeats):
                users = [User(key, pause) for _ in range(connections)]
                after_refused, after_served = await _revoke(stub, users, second.address, draw.uniform(0, _PHASE))
                refused.append(after_refused * 1000)
                served.append(after_served * 1000)
            print(f"in use {name}, from the answer of RevokeKey on:")
            print(f"  first refusal    {spread(refused, '.0f')} ms")
            print(f"  last call served {spread(served, '.0f')} ms")
            broken |= max(served) > PROMISED_SECONDS * 1000
    print(f"promised: no call served after {PROMISED_SECONDS * 1000:.0f} ms" + (", and broken" if broken else ""))
    return int(broken)


async def _revoke(stub: KeyServiceAsyncStub, users: Sequence[User], address: str, phase: float) -> tuple[float, float]:
    """Seconds from the answer to the first refusal at `address`, and to the last call that was served there."""
    parsed = parse_key(users[0].key)
    assert parsed is not None
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(user.run(address))
        for user in users:
            await user.known.wait()
        await asyncio.sleep(phase)
        await stub.RevokeKey(keys_pb.RevokeKeyRequest(key_id=parsed.key_id), timeout=5)
        answered = time.monotonic()
    first = min(user.refused for user in users) - answered
    last = max(user.last_served for user in users) - answered
    return max(0.0, first), max(0.0, last)


if __name__ == "__main__":
    main()
