"""How soon a revoked key is refused elsewhere: `python -m bench.revocation [--repeats 50]`.

Two gateways on one database; a key is in use at the second all the time, by four connections, when it is revoked
through the first. Measured is the time from the answer of RevokeKey to the first refusal, and to the beginning of the
last call that was still served.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
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
CONNECTIONS = 4
CALLS_BEFORE = 20
"""Of each connection, so that the key is well known before it is revoked."""


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
    calls: int = 0
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
                self.calls += 1
                if self.calls == CALLS_BEFORE:
                    self.known.set()
                # Not all of the gateway's time: others call, too.
                await asyncio.sleep(0.002)


async def _bench(database: Database, repeats: int) -> int:
    keys = await add_keys(database.url(), PEPPER, repeats)
    refused, served = [], []
    async with contextlib.AsyncExitStack() as stack:
        # Neither the limit of reads is measured nor that of refusals.
        env = {"WAYPOST_GATEWAY_LOCAL_READS_PER_MINUTE": "1000000", "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": "1000000"}
        first, second = [await stack.enter_async_context(running_gateway(database.url, env)) for _ in range(2)]
        interceptors = aio_with_key(await add_key(database.url()))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(first.address, interceptors=interceptors))
        for key in keys:
            after_refused, after_served = await _revoke(KeyServiceStub(channel), key, second.address)
            refused.append(after_refused * 1000)
            served.append(after_served * 1000)
    print(f"first refusal after the answer of RevokeKey     {spread(refused, '.0f')} ms")
    print(f"last call that was served, from that answer on  {spread(served, '.0f')} ms")
    broken = max(*refused, *served) > PROMISED_SECONDS * 1000
    print(f"promised: {PROMISED_SECONDS * 1000:.0f} ms" + (", broken" if broken else ""))
    return int(broken)


async def _revoke(stub: KeyServiceAsyncStub, key: str, address: str) -> tuple[float, float]:
    """Seconds from the answer to the first refusal at `address`, and to the last call that was served there."""
    parsed = parse_key(key)
    assert parsed is not None
    users = [User(key) for _ in range(CONNECTIONS)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(user.run(address))
        for user in users:
            await user.known.wait()
        await stub.RevokeKey(keys_pb.RevokeKeyRequest(key_id=parsed.key_id), timeout=5)
        answered = time.monotonic()
    first = min(user.refused for user in users) - answered
    last = max(user.last_served for user in users) - answered
    return max(0.0, first), max(0.0, last)


if __name__ == "__main__":
    main()
