"""A process that is told to end finishes what is under way on its hot port, and refuses what comes anew."""

from __future__ import annotations

import signal
import socket
import time
from typing import Any

import grpc
import pytest

from tests.support.process import Process, started

METHOD = "/waypost.api.v1.LinkService/GetLink"
HELD, ABC = b"\x0a\x04held", b"\x0a\x03abc"


def refused(address: str) -> bool:
    """Whether nobody listens there any more."""
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) != 0


def test_calls_in_flight_finish_and_new_ones_are_refused(echo: Process) -> None:
    address = echo.wait_for("serving")["hot"]
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(METHOD)
        held = [call.future(HELD, timeout=30) for _ in range(20)]
        echo.wait_for("held", lines=20)
        echo.signal(signal.SIGTERM)
        echo.wait_for("draining")
        while not refused(address):
            time.sleep(0.01)
        own = ("grpc.use_local_subchannel_pool", 1)
        with grpc.insecure_channel(address, options=[own]) as newcomer, pytest.raises(grpc.RpcError) as raised:
            another: Any = newcomer.unary_unary(METHOD)
            another(ABC, timeout=10)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        echo.signal(signal.SIGUSR1)
        assert all(b"held" in one.result() for one in held)
    assert echo.end() == 0
    assert echo.wait_for("drained")["in_flight"] == 0


def test_what_never_finishes_is_ended() -> None:
    with started("-m", "tests.support.echo_server", WAYPOST_DRAIN_SECONDS="0.2") as process:
        with grpc.insecure_channel(process.wait_for("serving")["hot"]) as channel:
            call: Any = channel.unary_unary(METHOD)
            held = call.future(HELD, timeout=30)
            process.wait_for("held")
            process.signal(signal.SIGTERM)
            assert held.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert process.end() == 0


def test_idle_connections_do_not_hold_the_end() -> None:
    with started("-m", "tests.support.echo_server") as process:
        host, _, port = process.wait_for("serving")["hot"].rpartition(":")
        with socket.create_connection((host, int(port))), grpc.insecure_channel(f"{host}:{port}") as channel:
            call: Any = channel.unary_unary(METHOD)
            assert call(ABC, timeout=10)
            process.signal(signal.SIGTERM)
            assert process.end() == 0
