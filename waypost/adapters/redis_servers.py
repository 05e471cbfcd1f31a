"""Which server to ask about a domain: the only one, the master that Sentinel names, or a node of the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Protocol

import structlog
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY
from redis.crc import key_slot
from redis.exceptions import MovedError, ResponseError

from waypost.adapters.redis_connection import heed_cancellation
from waypost.adapters.redis_keys import tag
from waypost.adapters.redis_link import LOOK_SECONDS, Link
from waypost.adapters.redis_url import Kind, RedisAddress
from waypost.errors import StoreUnavailable

SENTINEL_SECONDS = 1.0
"""At most so long after Sentinel names another master, its predecessor is left, even if that still answers."""
CLUSTER_SECONDS = 30.0
"""At most so long between two looks at a cluster's slots; what goes wrong has them looked at anew at once."""

MakeLink = Callable[..., Link]
_Place = tuple[str, int]


class Servers(Protocol):
    """The servers of one address."""

    def link(self, domain: str) -> Link:
        """The connection to the server that has this domain's counters. Raises `StoreUnavailable`."""
        ...

    def redirected(self, error: ResponseError) -> Link | None:
        """The connection to the server that an answer names instead; None: it names none."""
        ...

    def links(self) -> Iterable[Link]:
        """The connections to all servers that have counters. Raises `StoreUnavailable`."""
        ...

    async def run(self) -> None:
        """Keeps everything up until cancelled."""
        ...


def servers_at(address: RedisAddress, make_link: MakeLink, connect_timeout: float) -> Servers:
    """The servers at an address, not connected yet. Raises `ValueError` for arguments that no connection takes."""
    # Deadlines are the link's business.
    arguments = address.arguments | {"socket_timeout": None, "socket_connect_timeout": connect_timeout}
    timeouts: dict[str, Any] = {"socket_timeout": connect_timeout, "socket_connect_timeout": connect_timeout}
    connection_class: type[Any] = address.connection_class

    def connection(**where: Any) -> AbstractConnection:
        made: AbstractConnection = connection_class(**arguments, **where)
        return made

    try:
        connection()
    except TypeError as error:
        raise ValueError(f"has a parameter that its kind of connection does not take ({error})") from None
    # Sentinels and cluster are asked in the background, each time once.
    timeouts |= {"retry": Retry(NoBackoff(), 0)}
    if address.kind is Kind.SENTINEL:
        # They are asked one after the other, and one that is frozen must leave time for the next.
        share = connect_timeout / (len(address.nodes) + 1)
        timeouts |= {"socket_timeout": share, "socket_connect_timeout": share}
        sentinel_arguments = address.sentinel_arguments | timeouts
        sentinel = Sentinel(list(address.nodes), sentinel_kwargs=sentinel_arguments)  # type: ignore[no-untyped-call]
        return SentinelServers(sentinel, address.service, connection, make_link)
    if address.kind is Kind.CLUSTER:
        options = address.arguments | timeouts | {"connection_class": connection_class}
        nodes = [ClusterNode(host, port, **options) for host, port in address.nodes]
        return ClusterServers(NodesManager(nodes, False, options), connection, make_link)
    return SingleServer(connection, make_link)


class SingleServer:
    """One server, always the same."""

    def __init__(self, connection: Callable[..., AbstractConnection], make_link: MakeLink) -> None:
        async def connect() -> AbstractConnection:
            return connection()

        self._link = make_link(connect)

    def link(self, domain: str) -> Link:
        """The connection."""
        return self._link

    def redirected(self, error: ResponseError) -> Link | None:
        """A server alone names no other."""
        return None

    def links(self) -> Iterable[Link]:
        """The connection."""
        return [self._link]

    async def run(self) -> None:
        """Keeps it up."""
        await self._link.run()


class SentinelServers(SingleServer):
    """The master of a service, as Sentinel names it: asked before each connection, and now and then."""

    def __init__(
        self, sentinel: Sentinel, service: str, connection: Callable[..., AbstractConnection], make_link: MakeLink
    ) -> None:
        self._sentinel = sentinel
        self._service = service
        self._master: tuple[str, int] | None = None

        async def connect() -> AbstractConnection:
            self._master = await self._discover()
            host, port = self._master
            return connection(host=host, port=port)

        self._link = make_link(connect)

    async def run(self) -> None:
        """Keeps the connection up, to whoever is master."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._link.run())
                tasks.create_task(self._watch())
        finally:
            await self._sentinel.aclose()

    async def _discover(self) -> tuple[str, int]:
        try:
            host, port = await self._sentinel.discover_master(self._service)
        finally:
            heed_cancellation()
        return str(host), int(port)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(SENTINEL_SECONDS / 2, SENTINEL_SECONDS))  # noqa: S311 - spreading load
            master = self._master
            try:
                found = await self._discover()
            except Exception:  # noqa: S112 - the connection stands without Sentinels, too
                continue
            if master is not None and self._master == master and found != master:
                self._link.drop("another server became master")


class ClusterServers:
    """The masters of a cluster, each with a connection of its own; a domain is one slot."""

    def __init__(self, nodes: NodesManager, connection: Callable[..., AbstractConnection], make_link: MakeLink) -> None:
        self._nodes = nodes
        self._named = dict(nodes.startup_nodes)
        self._connection = connection
        self._make_link = make_link
        self._links: dict[_Place, tuple[Link, asyncio.Task[None]]] = {}
        self._masters: set[_Place] = set()
        self._stale = asyncio.Event()

    def link(self, domain: str) -> Link:
        """The connection to the node that has the domain's slot."""
        nodes = self._nodes.slots_cache.get(_slot(domain))
        if not nodes:
            self._stale.set()
            raise StoreUnavailable("no node of the cluster is known to have the slot")
        return self._link_to(nodes[0].host, int(nodes[0].port))

    def redirected(self, error: ResponseError) -> Link | None:
        """Another node has the slot (`MovedError`), or some of its keys already (`AskError`)."""
        host, port = getattr(error, "host", None), getattr(error, "port", None)
        if isinstance(error, MovedError):
            self._stale.set()
        return self._link_to(host, int(port)) if host and port else None

    def links(self) -> Iterable[Link]:
        """The connections to all masters."""
        if not self._masters:
            raise StoreUnavailable("no node of the cluster answers")
        return [self._link_to(host, port) for host, port in self._masters]

    async def run(self) -> None:
        """Keeps the map of slots and the connections up."""
        log = structlog.get_logger()
        said = ""
        try:
            while True:
                self._stale.clear()
                try:
                    await self._initialize()
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    if reason != said:
                        log.warning("redis_cluster_away", error=reason)
                    said = reason
                    # The driver has only kept those that it found, which may all have moved to other addresses.
                    self._nodes.startup_nodes.update(self._named)
                    self._masters = set()
                    self._stale.set()
                else:
                    said = ""
                    self._masters = {
                        (node.host, int(node.port)) for node in self._nodes.get_nodes_by_server_type(PRIMARY)
                    }
                    await self._forget_gone()
                # However often it is called stale, no sooner than so: the driver takes milliseconds to read the map.
                await asyncio.sleep(random.uniform(LOOK_SECONDS, 2 * LOOK_SECONDS))  # noqa: S311 - spreading load
                with contextlib.suppress(TimeoutError):
                    # Not `wait_for`, for the sake of cancellations; see `heed_cancellation`.
                    async with asyncio.timeout(CLUSTER_SECONDS):
                        await self._stale.wait()
        finally:
            await self._close([task for _, task in self._links.values()])
            self._links.clear()
            for attribute in ("nodes_cache", "startup_nodes"):
                await self._nodes.aclose(attribute)

    async def _initialize(self) -> None:
        try:
            await self._nodes.initialize()
        finally:
            heed_cancellation()

    def _link_to(self, host: str, port: int) -> Link:
        place = (host, port)
        if place not in self._links:

            async def connect() -> AbstractConnection:
                return self._connection(host=host, port=port)

            def on_failure() -> None:
                if place in self._masters:
                    self._stale.set()

            link = self._make_link(connect, on_failure=on_failure)
            self._links[place] = link, asyncio.create_task(link.run())
        return self._links[place][0]

    async def _forget_gone(self) -> None:
        """Closes the connections to nodes that have no slots any more, and are not used."""
        since = asyncio.get_running_loop().time() - CLUSTER_SECONDS
        gone = [
            place for place, (link, _) in self._links.items() if place not in self._masters and link.last_used < since
        ]
        await self._close([self._links.pop(place)[1] for place in gone])

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@lru_cache(4096)
def _slot(domain: str) -> int:
    return key_slot(tag(domain).encode())
