"""What operators say about hot ports: whether, where, and how much."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.h2.wire import wire
from tests.integration.ratelimiter.process import FREE, Limiter, limiter_running
from tests.support.process import run, started
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.api.v1.rate_limit_service_pb2_grpc import RateLimitServiceStub

TAKEN = "is in use by another process, or may not be used here"
CHECK = "/waypost.api.v1.RateLimitService/Check"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A folder with a rule."""
    (tmp_path / "shop.yaml").write_text(
        "domain: shop\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 9}}]"
    )
    return tmp_path


def hot(limiter: Limiter) -> str:
    """The address of its hot port; empty: it has none."""
    address: str = limiter.process.wait_for("serving")["hot"]
    return address


def port_of(limiter: Limiter) -> int:
    """The number of its hot port."""
    return int(hot(limiter).rpartition(":")[2])


def ask(target: str, size: int = 0) -> bool:
    """Whether a request is admitted; it has `size` more bytes."""
    descriptor = pb.RateLimitDescriptor(entries=[pb.RateLimitEntry(key="b" * size or "a", value="x")])
    with grpc.insecure_channel(target) as channel:
        request = pb.CheckRequest(domain="shop", descriptors=[descriptor])
        return RateLimitServiceStub(channel).Check(request, timeout=10).allowed


def test_without_hot_ports_everything_is_on_the_control_port(rules: Path) -> None:
    with limiter_running(rules, WAYPOST_HOT_PORTS="false") as limiter:
        assert hot(limiter) == ""
        assert ask(f"127.0.0.1:{limiter.control}")
        assert limiter.sample("hot_port_connections") is None
        assert not [line for line in limiter.process.log if line["event"] == "no hot port"]


def test_of_a_taken_port_one_line_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("-m", "ratelimiter", **FREE | {"WAYPOST_RATELIMITER_HOT_PORT": str(port)})
    assert done.returncode == 2
    assert done.stderr == f"ratelimiter: 127.0.0.1:{port} {TAKEN}\n"


@pytest.mark.parametrize("host", ["localhost", "unix:run/waypost", "10.0.0.1:80"])
def test_of_a_host_that_is_none_one_line_is_said(host: str) -> None:
    done = run("-m", "ratelimiter", **FREE, WAYPOST_HOT_HOST=host)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("ratelimiter: WAYPOST_HOT_HOST must ")


def test_a_host_of_its_own(rules: Path) -> None:
    with limiter_running(rules, WAYPOST_HOT_HOST="::1") as limiter:
        assert hot(limiter).startswith("[::1]:")
        assert ask(hot(limiter))


# ---- unix sockets ----


def test_a_unix_socket_is_for_this_user_and_one_process_and_goes_with_it(rules: Path, tmp_path: Path) -> None:
    path = tmp_path / "ratelimiter.sock"
    with limiter_running(rules, WAYPOST_HOT_HOST=f"unix:{tmp_path}") as limiter:
        assert hot(limiter) == f"unix:{path}"
        assert limiter.process.wait_for("serving")["hot"] == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ask(f"unix:{path}")
        assert limiter.sample("hot_port_accepted_total") == 1
        assert limiter.sample("hot_port_calls_up_total") is not None
        assert limiter.sample("hot_port_cap_hits_total", cap="connections") == 0
        done = run("-m", "ratelimiter", **FREE, WAYPOST_LIMITS_DIR=str(rules), WAYPOST_HOT_HOST=f"unix:{tmp_path}")
        assert (done.returncode, done.stderr) == (2, f"ratelimiter: unix:{path} {TAKEN}\n")
        assert ask(f"unix:{path}")
        limiter.process.signal()
        assert limiter.process.end() == 0
    assert not path.exists()


def test_the_peer_of_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    with started("-m", "tests.support.echo_server", WAYPOST_HOT_HOST=f"unix:{tmp_path}") as process:
        with grpc.insecure_channel(process.wait_for("serving")["hot"]) as channel:
            stub: Any = channel.unary_unary("/waypost.api.v1.LinkService/GetLink")
            assert b"unix:" in stub(b"", timeout=10)
        assert process.wait_for("rpc")["peer"] == "unix:"


def test_a_process_that_was_killed_does_not_hinder_the_next(rules: Path, tmp_path: Path) -> None:
    path = tmp_path / "ratelimiter.sock"
    for left_behind in (False, True):
        assert path.is_socket() is left_behind
        with limiter_running(rules, WAYPOST_HOT_HOST=f"unix:{tmp_path}") as limiter:
            assert ask(f"unix:{path}")
            limiter.process.kill()


def test_a_file_that_is_no_socket_is_left_alone(rules: Path, tmp_path: Path) -> None:
    path = tmp_path / "ratelimiter.sock"
    path.write_text("somebody's")
    done = run("-m", "ratelimiter", **FREE, WAYPOST_LIMITS_DIR=str(rules), WAYPOST_HOT_HOST=f"unix:{tmp_path}")
    assert (done.returncode, path.read_text()) == (2, "somebody's")
    assert done.stderr == f"ratelimiter: unix:{path} {TAKEN}\n"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run("-m", "ratelimiter", **FREE, WAYPOST_HOT_HOST=f"unix:{tmp_path}/none")
    assert (done.returncode, done.stderr) == (2, f"ratelimiter: unix:{tmp_path}/none/ratelimiter.sock {TAKEN}\n")


# ---- how much ----


async def test_so_many_connections_and_no_more(rules: Path) -> None:
    with limiter_running(rules, WAYPOST_HOT_MAX_CONNECTIONS="1") as limiter:
        async with wire(port_of(limiter)) as first, wire(port_of(limiter)) as second:
            await first.answer(first.call(path=CHECK))
            await second.until_closed()
            assert (await first.answer(first.call(path=CHECK))).status is not None
        assert limiter.sample("hot_port_cap_hits_total", cap="connections") == 1


async def test_the_other_bounds_are_those_of_the_settings(rules: Path) -> None:
    bounds = {
        "WAYPOST_HOT_MAX_STREAMS": "7",
        "WAYPOST_HOT_MAX_METADATA_BYTES": "5000",
        "WAYPOST_HOT_MAX_PINGS": "5",
        "WAYPOST_HOT_IDLE_SECONDS": "0.3",
    }
    with limiter_running(rules, **bounds) as limiter:
        async with wire(port_of(limiter)) as connection:
            assert (await connection.answer(connection.call(b"", ("a", "b" * 4000), path=CHECK))).status == 3
            over = await connection.answer(connection.call(b"", ("a", "b" * 6000), path=CHECK))
            assert over.status == 8
            assert "5000 bytes" in over.text
            assert {3: 7, 6: 5000}.items() <= connection.settings.items()
            # Nothing under way: it is closed after a while.
            await connection.until_closed()
        assert limiter.sample("hot_port_cap_hits_total", cap="headers") == 1
        assert limiter.sample("hot_port_cap_hits_total", cap="idle") == 1


def test_the_largest_message_is_that_of_its_methods(rules: Path) -> None:
    """The rate limiter takes batches of 3 MiB, and of others less."""
    with limiter_running(rules) as limiter:
        for size, code in (
            (4 << 20, "RESOURCE_EXHAUSTED"),
            (300_000, "RESOURCE_EXHAUSTED"),
            (100_000, "INVALID_ARGUMENT"),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                ask(hot(limiter), size)
            assert raised.value.code().name == code
        assert limiter.sample("hot_port_cap_hits_total", cap="message") == 1
