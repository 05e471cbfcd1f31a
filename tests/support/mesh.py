"""A private `waypost up`: a real mesh in a process of its own, on free ports, with a data directory of its own.

In async tests: `async with running_mesh() as mesh: ...`. For a whole session, in a `conftest.py`:

    @pytest.fixture(scope="session")
    def mesh() -> Iterator[Mesh]:
        with mesh_running() as mesh:
            yield mesh

A `Mesh` belongs to no event loop: what it says is read by threads, so one that a session shares can be awaited from
any test. Methods that are not coroutines and wait are named `..._blocking`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

from tests.support.keys import add_key
from tests.support.missing import missing
from tests.support.ports import free_ports
from tests.support.postgres import run
from waypost.access.identity import Role
from waypost.supervisor import envoy, postgres_programs
from waypost.supervisor.cluster_errors import ClusterError
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.database import EmbeddedDatabase
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.postgres import PostgresCluster
from waypost.supervisor.process_table import Running, members
from waypost.supervisor.process_table import look_up as look_up_process
from waypost.supervisor.settings import SupervisorSettings

T = TypeVar("T")

PROCESSES = ("envoy", "gateway", "postgres", "ratelimiter", "workers")

PATIENCE = 60.0
"""Seconds for what takes a second or three on a machine that has nothing else to do."""
GONE_SECONDS = 20.0
"""How long anything of a mesh may outlive its supervisor: the guardian's own limit."""


class MeshEnded(Exception):
    """The mesh ended while something was awaited of it; `str()` has its exit code and what it said to people."""


class Mesh:
    """One run of `waypost up`. `ports` by name, without `_port`: `http`, `gateway_control`, `envoy_admin` and so on."""

    def __init__(self, data: Path, env: Mapping[str, str] | None = None) -> None:
        fields = {info.field.removesuffix("_port"): info.env for info in _port_settings()}
        self.data = data
        free = free_ports(len(fields))
        self.env = {
            **without_settings(os.environ),
            **{name: str(port) for name, port in zip(fields.values(), free, strict=True)},
            "WAYPOST_DATA_DIR": str(data),
            **(env or {}),
        }
        # A test may set what is no port at all, to see it refused.
        self.ports = {field: int(self.env[name]) for field, name in fields.items() if self.env[name].isdecimal()}
        self.events: list[dict[str, Any]] = []
        """What it said on standard error, as it came; `seen`: when, in monotonic seconds."""
        self.lines: list[str] = []
        """The lines on standard error that are no events: what people are told when it ends with an error."""
        self.out: list[str] = []
        """The lines on standard output."""
        self.group = 0
        """The process group of everything that the supervisor started; 0 until it is known."""
        self.secrets: set[str] = set()
        """Keys, tokens and the like that tests have used on it, for `tests.support.leaks` to look for."""
        self._process: subprocess.Popen[str] | None = None
        self._ready = False
        self._news = threading.Condition()
        self._readers: list[threading.Thread] = []
        self._open_pipes = 0

    @property
    def http_url(self) -> str:
        """Where Envoy listens."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def grpc_address(self) -> str:
        """The gateway's own gRPC port, `host:port`."""
        return f"127.0.0.1:{self.ports['gateway_control']}"

    @property
    def process(self) -> subprocess.Popen[str]:
        """The supervisor."""
        assert self._process is not None, "not started"
        return self._process

    def log_path(self, name: str) -> Path:
        """The log of a process of the mesh, or of the `guardian`."""
        return self.data / "logs" / f"{name}.log"

    def owner_dsn(self) -> str:
        """The address of its database for the owner, who may do everything."""
        return EmbeddedDatabase(SupervisorSettings.from_env({}), DataDir(self.data)).owner_url()

    @property
    def operator_key(self) -> str:
        """The first operator key, which it makes before it is ready."""
        return DataDir(self.data).operator_key.read_text().strip()

    def key_blocking(self, role: Role = Role.OWNER) -> str:
        """A new API key of the default workspace."""
        key = run(add_key(self.owner_dsn(), DataDir(self.data).key_pepper.read_text().strip(), role))
        self.secrets.add(key)
        return key

    def pid(self, name: str) -> int:
        """The process id of a process of the mesh at this moment; `LookupError` while it has none."""
        with self._news:
            for event in reversed(self.events):
                if event.get("process") == name:
                    if "pid" in event:
                        return int(event["pid"])
                    break
        raise LookupError(f"{name} does not run")

    def pids(self) -> dict[str, int]:
        """The process ids by name, of those that run."""
        found = {}
        for name in PROCESSES:
            with contextlib.suppress(LookupError):
                found[name] = self.pid(name)
        return found

    def living(self) -> list[Running]:
        """Every process that the supervisor started, directly or not, and that still lives."""
        found = {process.pid: process for process in members(self.group)} if self.group else {}
        # PostgreSQL's own children make process groups of their own, but all of them work in the data directory.
        return list((found | {process.pid: process for process in _working_in(self.data)}).values())

    def postgres_pids(self) -> list[int]:
        """PostgreSQL's process and all of its children, the first of them first."""
        first = self.pid("postgres")
        return sorted((p.pid for p in _working_in(self.data / "postgres")), key=lambda pid: (pid != first, pid))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Signals a process of the mesh; its id."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def start(self) -> None:
        """Starts it; returns at once."""
        self._process = process = subprocess.Popen(
            [str(Path(sys.executable).with_name("waypost")), "up"],
            env=self.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        for pipe, take in ((process.stdout, self._take_out), (process.stderr, self._take_error)):
            reader = threading.Thread(target=self._read, args=(pipe, take), daemon=True)
            self._open_pipes += 1
            reader.start()
            self._readers.append(reader)

    async def ready(self) -> None:
        """Waits for the line `waypost: ready`. Raises `MeshEnded`."""
        await asyncio.to_thread(self.ready_blocking)

    async def wait_event(self, count: int = 1, *, after: int = 0, seconds: float = PATIENCE, **wanted: object) -> Any:
        """Waits for the `count`th event with these fields; of the events so far the first `after` do not count.

        `after=len(mesh.events)` waits for what is still to come. Raises `MeshEnded`, `TimeoutError`.
        """

        def look() -> dict[str, Any] | None:
            found = [event for event in self.events[after:] if wanted.items() <= event.items()]
            return found[count - 1] if len(found) >= count else None

        return await asyncio.to_thread(self._wait, look, f"event {wanted}", seconds)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tells it to stop and waits for its end and for all that it said until then; the exit code."""
        return await asyncio.to_thread(self.stop_blocking, number)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Waits until the supervisor has ended by itself; the exit code."""
        return await asyncio.to_thread(self._end, seconds)

    async def gone(self, seconds: float = GONE_SECONDS) -> None:
        """Waits until no process of the mesh is left. Raises `TimeoutError`."""
        await asyncio.to_thread(self._gone, seconds)

    def ready_blocking(self) -> None:
        """As `ready`, for callers without a loop."""
        self._wait(lambda: self._ready or None, "the line `waypost: ready`", PATIENCE)

    def stop_blocking(self, number: signal.Signals = signal.SIGTERM) -> int:
        """As `stop`, for callers without a loop."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self._end(PATIENCE)

    def last_words(self, lines: int = 15) -> str:
        """The ends of all logs, for whoever has to find out why a test failed."""
        ends = [("waypost up", [*(json.dumps(event) for event in self.events[-lines:]), *self.lines])]
        for path in sorted((self.data / "logs").glob("*.log")):
            ends.append((path.name, path.read_text(errors="replace").splitlines()[-lines:]))
        return "\n".join(line[:400] for name, end in ends for line in (f"--- {name}", *end))

    def clean_up(self) -> list[str]:
        """Leaves nothing behind, whatever state it is in; what should have been gone and was not."""
        if self._process is None:
            return []
        if self._process.poll() is None:
            self._process.kill()
        self._end(PATIENCE)
        try:
            self._gone(GONE_SECONDS)
        except TimeoutError:
            left = [f"{process.name} ({process.pid})" for process in self.living()]
            for process in self.living():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            return left
        return []

    def _end(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        return code

    def _gone(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        # A process group announces its end to nobody but its parents.
        while left := self.living():
            if time.monotonic() > deadline:
                raise TimeoutError(f"left after {seconds:g} s: {', '.join(f'{p.name} ({p.pid})' for p in left)}")
            time.sleep(0.01)

    def _wait(self, look: Callable[[], T | None], what: str, seconds: float) -> T:
        with self._news:
            self._news.wait_for(lambda: look() is not None or not self._open_pipes, seconds)
            found = look()
            if found is not None:
                return found
            if not self._open_pipes:
                raise MeshEnded(f"ended with exit code {self.process.poll()} before {what}; {' '.join(self.lines)}")
            raise TimeoutError(f"no {what} within {seconds:g} s")

    def _read(self, pipe: IO[str], take: Callable[[str], None]) -> None:
        with pipe:
            for line in pipe:
                with self._news:
                    take(line.rstrip())
                    self._news.notify_all()
        with self._news:
            self._open_pipes -= 1
            self._news.notify_all()

    def _take_out(self, line: str) -> None:
        self.out.append(line)
        self._ready = self._ready or line.startswith("waypost: ready ")

    def _take_error(self, line: str) -> None:
        if not line.startswith("{"):
            self.lines.append(line)
            return
        event = json.loads(line)
        if not self.group and (running := look_up_process(event.get("pid", 0))) is not None:
            self.group = running.group
        self.events.append({**event, "seen": time.monotonic()})


@contextlib.asynccontextmanager
async def running_mesh(
    data: Path | None = None, env: Mapping[str, str] | None = None, *, ready: bool = True
) -> AsyncIterator[Mesh]:
    """A mesh that runs, and is ready unless told otherwise; stopped in the end, and all of it must then be gone.

    `data`: its data directory, for a mesh that comes back to it (see `data_folder`); None: a fresh one. A mesh that the
    test itself has not ended must end with exit code 0.
    """
    with _folder_for(data) as folder:
        mesh = Mesh(folder, env)
        with _cleaned_up(mesh):
            mesh.start()
            if ready:
                await mesh.ready()
            yield mesh
            if mesh.process.poll() is None:
                assert await mesh.stop() == 0, mesh.lines


@contextlib.contextmanager
def mesh_running(data: Path | None = None, env: Mapping[str, str] | None = None) -> Iterator[Mesh]:
    """As `running_mesh`, where there is no event loop: for fixtures that a session shares."""
    with _folder_for(data) as folder:
        mesh = Mesh(folder, env)
        with _cleaned_up(mesh):
            mesh.start()
            mesh.ready_blocking()
            yield mesh
            if mesh.process.poll() is None:
                assert mesh.stop_blocking() == 0, mesh.lines


@contextlib.contextmanager
def data_folder(*, fresh: bool = False) -> Iterator[Path]:
    """A data directory, removed in the end: with an empty database in it, or not there at all if `fresh`.

    Not in pytest's own folders: those are closed to the user that PostgreSQL runs as when the tests run as root.
    """
    need_programs()
    parent = _make_folder()
    data = parent / "data"
    try:
        if not fresh:
            # With owners and modes. Saves each mesh the seconds that making a database takes.
            subprocess.run(["cp", "-a", str(_template()), str(data)], check=True)
        yield data
    finally:
        shutil.rmtree(parent)


def need_programs() -> None:
    """Skips the test where Envoy or PostgreSQL is missing, or fails it if the variable CI is set."""
    try:
        envoy.find_envoy()
        envoy.descriptor_set_path()
        postgres_programs.find(None)
    except (CannotStart, ClusterError) as error:
        missing(f"no mesh: {error}")


def without_settings(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without Waypost's settings, of which the developer's own may be anything."""
    return {name: value for name, value in env.items() if not name.startswith("WAYPOST_")}


@contextlib.contextmanager
def _cleaned_up(mesh: Mesh) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(mesh.last_words())
        mesh.clean_up()
        raise
    left = mesh.clean_up()
    assert not left, f"left behind: {', '.join(left)}"


@contextlib.contextmanager
def _folder_for(data: Path | None) -> Iterator[Path]:
    if data is not None:
        need_programs()
        yield data
        return
    with data_folder() as folder:
        yield folder


@functools.cache
def _template() -> Path:
    parent = _make_folder()
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    data = DataDir(parent / "data")
    data.prepare()
    PostgresCluster(data.postgres, sync=False).initialise()
    return data.path


def _working_in(folder: Path) -> Iterator[Running]:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(folder):
                running = look_up_process(int(entry.name))
                if running is not None:
                    yield running


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="waypost-mesh-", dir="/tmp"))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # PostgreSQL runs as another user
    return folder


def _port_settings() -> list[Any]:
    return [info for info in SupervisorSettings.infos() if info.field.endswith("_port")]
