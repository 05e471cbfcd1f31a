"""Connections that call once: what they send is a call, and they wait for its end."""

from __future__ import annotations

import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from bench.connections import NotAnswered, churn, is_answered


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def test_a_call_is_answered_when_its_stream_ends() -> None:
    before = _frame(4, 0, 0) + _frame(1, 4, 1, b"\x88") + _frame(0, 0, 1, b"\x00" * 5)
    end = _frame(1, 5, 1, b"trailers")
    assert not is_answered(before)
    # A setting's acknowledgement has the same flag, and another stream may end.
    assert not is_answered(before + _frame(4, 1, 0) + _frame(1, 5, 3))
    assert not is_answered(before + end[:-1])
    assert is_answered(before + end)
    assert is_answered(_frame(0, 1, 1))


class _Methods(grpc.GenericRpcHandler):
    """Answers what is sent, and keeps who sent it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        def call(message: bytes, context: grpc.ServicerContext) -> bytes:
            with self._lock:
                self.seen.append((context.peer(), message))
            return message

        return grpc.unary_unary_rpc_method_handler(call) if handler_call_details.method == "/a.B/C" else None


def test_every_connection_calls_once_from_a_port_of_its_own() -> None:
    methods = _Methods()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        churn(f"127.0.0.1:{port}", "/a.B/C", b"message", 20)
    finally:
        server.stop(0).wait()
    assert [message for _, message in methods.seen] == [b"message"] * 20
    assert len({peer for peer, _ in methods.seen}) == 20
    assert len({peer.rpartition(":")[0] for peer, _ in methods.seen}) == 16


def test_a_connection_that_ends_before_its_answer_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(NotAnswered, match="after 0 bytes"):
            churn(f"127.0.0.1:{listener.getsockname()[1]}", "/a.B/C", b"", 1)
        thread.join()
