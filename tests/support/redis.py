"""Private Redis servers for tests: one alone, one that Sentinels watch, a cluster.

Nothing is kept, and nothing is left behind: a server dies with the process that started it, however that ends.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from tests.support.missing import missing
from tests.support.ports import free_port

SERVICE = "waypost"
"""What the Sentinels call the server that they watch."""
SLOTS = 16384


class RedisServer:
    """One server: `port` on the loopback address, and a unix socket. Not to be shared by tests that stop it.

    `settings` are Redis' own, by name; `arguments` follow them.
    """

    def __init__(self, folder: Path, port: int, settings: dict[str, str] | None = None, *arguments: str) -> None:
        self.folder = folder
        self.port = port
        self.socket = folder / "socket"
        self._settings = {"save": "", "appendonly": "no"} | (settings or {})
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address by TCP."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        """Its address by the unix socket."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Starts it, at the same port each time, and waits until it answers."""
        self.spawn()
        self.wait_for(lambda: self.execute("PING"))

    def spawn(self) -> None:
        """Starts it."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "daemonize": "no",
            **self._settings,
        }
        file = self.folder / "redis.conf"
        if not file.exists():  # a Sentinel writes into its own
            file.write_text("".join(f'{name} "{value}"\n' for name, value in settings.items()))
            with file.open("a") as lines:
                lines.writelines(f"{line}\n" for line in self._arguments)
        command = ["redis-server", str(file), *(["--sentinel"] if self._sentinel else [])]
        # Told by the kernel when its parent dies; without the program, only an orderly end ends it.
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def _sentinel(self) -> bool:
        return any(line.startswith("sentinel ") for line in self._arguments)

    def kill(self) -> None:
        """Ends it as a crash does, and waits for that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self) -> None:
        """Freezes it: it takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Ends the freeze."""
        self._signal(signal.SIGCONT)

    def execute(self, *words: str | bytes | int) -> Any:
        """One command over a connection of its own."""
        with redis.Redis(port=self.port, socket_timeout=10, single_connection_client=True) as client:
            return client.execute_command(*words)

    def keys(self) -> dict[bytes, int]:
        """All keys and their TTLs in milliseconds; -1: has none."""
        with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10) as client:
            names = list(client.scan_iter(count=1000))
            with client.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.pttl(name)
                # What has gone meanwhile has -2.
                return {name: ttl for name, ttl in zip(names, pipeline.execute(), strict=True) if ttl != -2}

    def wait_for(self, condition: Callable[[], Any], seconds: float = 20.0) -> None:
        """Asks again and again until the answer is true. Raises `TimeoutError` with the end of the server's log."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self._process is not None
            with contextlib.suppress(redis.RedisError, OSError):
                if condition():
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.005)
        raise TimeoutError(f"Redis is not as it should be: {self.log()[-2000:]}")

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextlib.contextmanager
def redis_server(settings: dict[str, str] | None = None, *arguments: str) -> Iterator[RedisServer]:
    """A running server for the time of the block. Skips the test without Redis, or fails it where CI is set."""
    with _folder() as folder:
        server = RedisServer(folder, free_port(), settings, *arguments)
        try:
            server.start()
            yield server
        finally:
            server.kill()


class Watched:
    """A master, a replica of it, and three Sentinels that watch them."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        """The address of the master by way of the Sentinels."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{s.port}' for s in self.sentinels)}/{SERVICE}"

    def master(self) -> RedisServer:
        """The server that the first Sentinel names."""
        _, port = self.sentinels[0].execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))


@contextlib.contextmanager
def sentinel_trio(down_after_ms: int = 300) -> Iterator[Watched]:
    """Master, replica and Sentinels, which take a server for dead that is silent for `down_after_ms`."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(redis_server({"repl-diskless-sync-delay": "0"}))
        replica = stack.enter_context(
            redis_server({"repl-diskless-sync-delay": "0"}, f"replicaof 127.0.0.1 {master.port}")
        )
        watch = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        sentinels = []
        for _ in range(3):
            folder = stack.enter_context(_folder())
            sentinel = RedisServer(folder, free_port(), None, *watch)
            stack.callback(sentinel.kill)
            sentinel.start()
            sentinels.append(sentinel)
        replica.wait_for(lambda: b"master_link_status:up" in _info(replica))
        for sentinel in sentinels:
            sentinel.wait_for(lambda s=sentinel: _knows_all(s))  # type: ignore[misc]
        yield Watched([master, replica], sentinels)


class Cluster:
    """Three masters that share the slots."""

    def __init__(self, nodes: Sequence[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """Its address by the first two nodes."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:2])}"

    def wait_until_whole(self) -> None:
        """Waits until all nodes know of each other and serve."""
        for node in self.nodes:
            node.wait_for(lambda n=node: _is_whole(n))  # type: ignore[misc]

    def node_of(self, slot: int) -> RedisServer:
        """Who has a slot, as the first node says."""
        for first, last, (_, port, *_), *_ in _shards(self.nodes[0]):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(f"nobody has the slot {slot}")

    def name_of(self, node: RedisServer) -> str:
        """A node's name in the cluster."""
        return str(node.execute("CLUSTER", "MYID").decode())

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """From now on a slot's keys may be in either: who asks the source for one that is not there is sent on."""
        target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", self.name_of(source))
        source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", self.name_of(target))

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer, most: int = SLOTS) -> int:
        """Moves keys of a slot; how many there were."""
        keys = source.execute("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            source.execute("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, target: RedisServer) -> None:
        """The slot is the target's."""
        name = self.name_of(target)
        for node in [target, *(node for node in self.nodes if node is not target)]:
            node.execute("CLUSTER", "SETSLOT", slot, "NODE", name)


@contextlib.contextmanager
def redis_cluster() -> Iterator[Cluster]:
    """A cluster of three nodes."""
    with contextlib.ExitStack() as stack:
        nodes = []
        for _ in range(3):
            settings = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "cluster-port": str(free_port())}
            nodes.append(stack.enter_context(redis_server(settings)))
        for number, node in enumerate(nodes):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.execute("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.execute("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            bus = int(node.execute("CONFIG", "GET", "cluster-port")[b"cluster-port"])
            nodes[0].execute("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        cluster = Cluster(nodes)
        cluster.wait_until_whole()
        yield cluster


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    if shutil.which("redis-server") is None:
        missing("no redis-server: `apt install redis-server` has it")
    folder = Path(tempfile.mkdtemp(prefix="waypost-redis-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _info(server: RedisServer) -> bytes:
    with redis.Redis(port=server.port, socket_timeout=10) as client:
        client.response_callbacks.clear()
        return bytes(client.execute_command("INFO", "replication"))


def _knows_all(sentinel: RedisServer) -> bool:
    with redis.Redis(port=sentinel.port, socket_timeout=10) as client:
        state = client.sentinel_master(SERVICE)
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 and state["flags"] == "master")


def _shards(node: RedisServer) -> list[Any]:
    with redis.Redis(port=node.port, socket_timeout=10) as client:
        client.response_callbacks.clear()
        return list(client.execute_command("CLUSTER SLOTS"))


def _is_whole(node: RedisServer) -> bool:
    known = {port for _, _, (_, port, *_), *_ in _shards(node)}
    with redis.Redis(port=node.port, socket_timeout=10) as client:
        client.response_callbacks.clear()
        return b"cluster_state:ok" in client.execute_command("CLUSTER INFO") and len(known) == 3
