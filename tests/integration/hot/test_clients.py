"""Programs that others wrote call a hot port: Python's gRPC, grpcurl, curl; and one that speaks something else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import google.rpc
import grpc
import pytest
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.shell import DIRECT
from tests.integration.ratelimiter.process import Limiter
from tests.support import protoset
from tests.support.missing import missing, program
from tests.support.process import ROOT, Process
from waypost.api.v1 import link_service_pb2 as links_pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub

METHOD = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT


def hot(process: Process) -> str:
    """The address of a process's hot port."""
    address: str = process.wait_for("serving")["hot"]
    return address


def request(address: str) -> rls_pb2.RateLimitRequest:
    """Envoy's question about an address."""
    entry = RateLimitDescriptor.Entry(key="address", value=address)
    return rls_pb2.RateLimitRequest(domain="shop", descriptors=[RateLimitDescriptor(entries=[entry])])


# ---- Python's gRPC ----


def test_python_asks_the_rate_limiter(limiter: Limiter) -> None:
    with grpc.insecure_channel(hot(limiter.process)) as channel:
        stub: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        answers = [stub.ShouldRateLimit(request("192.0.2.1"), timeout=10) for _ in range(4)]
        assert [answer.overall_code for answer in answers] == [OK, OK, OK, OVER_LIMIT]
        # It is the same limit by whichever port it is asked about.
        assert limiter.ask("shop", {"address": "192.0.2.1"}).overall_code == OVER_LIMIT
        with pytest.raises(grpc.RpcError) as raised:
            stub.ShouldRateLimit(rls_pb2.RateLimitRequest(), timeout=10)
        error: Any = raised.value
        assert (error.code(), error.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "rate limit domain must not be empty",
        )
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1


def test_python_cancels_and_gives_up(echo: Process) -> None:
    with grpc.insecure_channel(hot(echo)) as channel:
        stub = LinkServiceStub(channel)
        call = stub.GetLink.future(links_pb.GetLinkRequest(short_code="held"), timeout=30)
        echo.wait_for("held")
        call.cancel()
        assert echo.wait_for("rpc")["code"] == "CANCELLED"
        with pytest.raises(grpc.RpcError) as raised:
            stub.GetLink(links_pb.GetLinkRequest(short_code="held"), timeout=0.1)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert stub.GetLink(links_pb.GetLinkRequest(short_code="abc"), timeout=10).short_code == "abc"


# ---- grpcurl ----


def grpcurl(process: Process, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `grpcurl`, asked about the process's hot port; the last argument is what to call."""
    *options, what = arguments
    command = [str(program("grpcurl")), "-plaintext", "-max-time", "10", *options, hot(process), *what.split()]
    done = subprocess.run(command, env=os.environ | DIRECT, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def test_grpcurl_with_a_set_of_descriptors(limiter: Limiter, tmp_path: Path) -> None:
    known = ("-protoset", str(protoset.write(tmp_path / "set.pb")))
    body = {"domain": "shop", "descriptors": [{"entries": [{"key": "address", "value": "192.0.2.2"}]}]}
    code, said = grpcurl(limiter.process, *known, "-d", json.dumps(body), METHOD)
    assert code == 0, said
    answer = json.loads(said)
    assert (answer["overall_code"], answer["statuses"][0]["limit_remaining"]) == ("OK", 2)
    code, said = grpcurl(limiter.process, *known, "-d", "{}", METHOD)
    assert code != 0
    assert "Code: InvalidArgument" in said
    assert "Message: rate limit domain must not be empty" in said


def test_grpcurl_with_our_files(echo: Process) -> None:
    folders = [ROOT / "proto", Path(next(iter(google.rpc.__path__))).parents[1]]
    known = [word for folder in folders for word in ("-import-path", str(folder))]
    known += ["-proto", "waypost/api/v1/link_service.proto", "-proto", "google/rpc/error_details.proto"]
    known += ["-v", "-H", "x-echo: one", "-H", "x-echo-bin: AP8="]
    code, said = grpcurl(echo, *known, "-d", '{"short_code": "abc"}', "waypost.api.v1.LinkService/GetLink")
    assert code == 0, said
    before, _, after = said.partition("Response contents:")
    for part in (before.partition("Response headers received:")[2], after.partition("Response trailers received:")[2]):
        assert "x-echo: one" in part
        assert "x-echo-bin: AP8" in part
    code, said = grpcurl(echo, *known, "-d", '{"short_code": "missing"}', "waypost.api.v1.LinkService/GetLink")
    assert code != 0
    assert "Code: NotFound" in said
    assert "'é % 中文'" in said
    assert "ERROR_REASON_LINK_NOT_FOUND" in said


def test_grpcurl_finds_no_reflection_there(echo: Process) -> None:
    code, said = grpcurl(echo, "list")
    assert (code != 0, "does not support the reflection API" in said) == (True, True)


# ---- curl ----


class Answer:
    """What curl got: the status of HTTP, fields and trailers in their order, the body."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode().replace("\r", "").splitlines()
        self.status = int(first.split()[1])
        self.fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines if line)]
        self.body = body


def curl(process: Process, path: str, folder: Path, *options: str, body: bytes | None = None) -> Answer:
    """A request by curl in HTTP/2 from the first byte on; `body` makes it a POST."""
    program = shutil.which("curl") or missing("there is no curl")
    (folder / "body").write_bytes(body or b"")
    command = [
        str(program),
        "-sS",
        "--max-time",
        "10",
        "--http2-prior-knowledge",
        "-D",
        "head",
        "-o",
        "answer",
        *options,
    ]
    if body is not None:
        command += ["--data-binary", "@body"]
    (folder / "answer").unlink(missing_ok=True)
    done = subprocess.run(
        [*command, f"http://{hot(process)}{path}"],
        cwd=folder,
        env=os.environ | DIRECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = folder / "answer"
    return Answer((folder / "head").read_bytes(), answer.read_bytes() if answer.exists() else b"")


GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def test_curl_posts_a_message_and_gets_trailers(limiter: Limiter, tmp_path: Path) -> None:
    message = request("192.0.2.3").SerializeToString()
    answer = curl(limiter.process, f"/{METHOD}", tmp_path, *GRPC, body=struct.pack(">BI", 0, len(message)) + message)
    assert answer.status == 200
    assert dict(answer.fields)["content-type"] == "application/grpc"
    assert ("grpc-status", "0") in answer.fields
    assert answer.fields.index(("grpc-status", "0")) > answer.fields.index(("content-type", "application/grpc"))
    compressed, length = struct.unpack(">BI", answer.body[:5])
    assert (compressed, length) == (0, len(answer.body) - 5)
    assert rls_pb2.RateLimitResponse.FromString(answer.body[5:]).overall_code == OK


def test_curl_is_told_of_errors_in_fields(limiter: Limiter, tmp_path: Path) -> None:
    answer = curl(limiter.process, "/no.Such/Method", tmp_path, *GRPC, body=b"\0\0\0\0\0")
    fields = dict(answer.fields)
    assert (answer.status, fields["grpc-status"], answer.body) == (200, "12", b"")
    assert fields["grpc-message"] == "unknown method /no.Such/Method"
    assert fields["grpc-status-details-bin"]


def test_curl_is_told_what_is_no_grpc(limiter: Limiter, tmp_path: Path) -> None:
    answer = curl(limiter.process, f"/{METHOD}", tmp_path)
    assert (answer.status, dict(answer.fields)["allow"]) == (405, "POST")
    assert answer.body == b"Only gRPC is spoken here: a call is a POST to /package.Service/Method.\n"
    answer = curl(limiter.process, f"/{METHOD}", tmp_path, "-X", "POST", "-H", "content-type: application/json")
    assert (answer.status, dict(answer.fields)["content-type"]) == (415, "text/plain")
    assert answer.body == b"Only gRPC is spoken here: the content-type must be application/grpc.\n"
    answer = curl(limiter.process, f"/{METHOD}", tmp_path, "--head")
    assert (answer.status, dict(answer.fields)["content-type"]) == (405, "text/plain")
    # That is where curl writes the fields then: there is nothing after them.
    assert answer.body.endswith(b"content-type: text/plain\r\n\r\n")


# ---- others ----


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ],
    ids=["HTTP/1.1", "HTTP/1.0", "TLS"],
)
def test_who_speaks_something_else_is_let_go(limiter: Limiter, said: bytes) -> None:
    host, _, port = hot(limiter.process).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(said.ljust(64, b"\0"))
        received = b""
        while part := client.recv(4096):
            received += part
    # Its settings, and that it goes: nothing that could pass for an answer in HTTP/1.1.
    assert received[3:4] == b"\x04"
    assert b"HTTP/1" not in received
    with grpc.insecure_channel(hot(limiter.process)) as channel:
        stub: Any = rls_pb2_grpc.RateLimitServiceStub(channel)
        assert stub.ShouldRateLimit(request("192.0.2.4"), timeout=10).overall_code in (OK, OVER_LIMIT)


def test_details_are_read_by_pythons_own_means(echo: Process) -> None:
    with grpc.insecure_channel(hot(echo)) as channel, pytest.raises(grpc.RpcError) as raised:
        LinkServiceStub(channel).GetLink(links_pb.GetLinkRequest(short_code="missing"), timeout=10)
    error: Any = raised.value
    status = google.rpc.status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.metadata["short_code"]) == ("ERROR_REASON_LINK_NOT_FOUND", "é % 中文")
