"""Ports are looked at before anything starts."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from waypost.supervisor import ports
from waypost.supervisor.errors import CannotStart, PortInUse
from waypost.supervisor.settings import Listener


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_a_free_port_passes(listening: socket.socket) -> None:
    port = _port(listening)
    listening.close()
    ports.check([Listener("WAYPOST_A_PORT", "127.0.0.1", port)])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])  # noqa: S104
def test_a_taken_port_is_named_with_its_setting_and_its_holder(listening: socket.socket, host: str) -> None:
    with pytest.raises(PortInUse) as caught:
        ports.check([Listener("WAYPOST_A_PORT", host, _port(listening))])
    text = str(caught.value)
    assert str(_port(listening)) in text
    assert "WAYPOST_A_PORT" in text
    assert f"(pid {os.getpid()})" in text
    assert caught.value.exit_code == 2


def test_a_port_with_a_lingering_connection_is_free(listening: socket.socket) -> None:
    port = _port(listening)
    with socket.create_connection(("127.0.0.1", port)) as client:
        served, _ = listening.accept()
        # Who closes first lingers in TIME_WAIT: here the server's side, on the port in question.
        served.close()
        assert client.recv(1) == b""
    listening.close()
    ports.check([Listener("WAYPOST_A_PORT", "127.0.0.1", port)])


def test_two_settings_with_one_port_are_named() -> None:
    with pytest.raises(CannotStart, match="WAYPOST_A_PORT and WAYPOST_B_PORT both name port 5000"):
        ports.check([Listener("WAYPOST_A_PORT", "127.0.0.1", 5000), Listener("WAYPOST_B_PORT", "::1", 5000)])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotStart, match="WAYPOST_A_PORT: cannot listen"):
        ports.check([Listener("WAYPOST_A_PORT", "192.0.2.1", 5000)])


@pytest.fixture
def folder() -> Iterator[Path]:
    """One whose path is short enough for sockets, as pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="waypost-") as name:
        yield Path(name)


def test_a_socket_that_nobody_has_made_or_that_was_left_behind_is_free(folder: Path) -> None:
    path = folder / "gateway.sock"
    ports.check([], [path])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
    ports.check([], [path])
    assert path.is_socket()


def test_a_socket_of_another_mesh_is_left_alone(folder: Path) -> None:
    path = folder / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(0)
        # By the second time nobody has taken the first, and its queue is full.
        for _ in range(2):
            with pytest.raises(CannotStart, match=f"WAYPOST_HOT_HOST: another process listens on {path}"):
                ports.check([], [path])


def test_a_place_where_no_socket_can_be_is_named(folder: Path) -> None:
    (folder / "file").touch()
    for path, why in (
        (folder / "none" / "gateway.sock", "there is no folder"),
        (folder / "file" / "gateway.sock", "there is no folder"),
        (folder / ("x" * 100) / "gateway.sock", "more than the 107 bytes"),
        (folder / "file", "is in the way, and no socket"),
    ):
        with pytest.raises(CannotStart, match=f"WAYPOST_HOT_HOST: .*{why}"):
            ports.check([], [path])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_is_named(folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(CannotStart, match="WAYPOST_HOT_HOST: this user may not write to"):
        ports.check([], [folder / "gateway.sock"])
