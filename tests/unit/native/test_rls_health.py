"""Health checks read and written by hand in C, as the real library does."""

from __future__ import annotations

from random import Random

import pytest
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from tests.support import rls as support
from tests.support.odd_messages import TEXTS, Mutator, text, varint
from tests.support.rls import Rls


@pytest.fixture(scope="session")
def rls() -> Rls:
    return support.rls()


def test_the_service_of_a_health_check_is_read_as_the_real_library_does(rls: Rls) -> None:
    random = Random(4)
    read = 0
    for _ in range(3000):
        service = random.choice(TEXTS[1:]) * random.choice((1, 1, 2, 20))
        message = Mutator(random, steps=1).odd([text(1, service)])
        read += agree_on_health(rls, message)
    assert 1000 < read < 2900


@pytest.mark.parametrize("service", ["", "waypost.api.v1.RateLimitService", "x" * 100_000, "é"])
def test_the_service_of_a_health_check_is_read(rls: Rls, service: str) -> None:
    assert rls.read_health(health_pb2.HealthCheckRequest(service=service).SerializeToString()) == service


@pytest.mark.parametrize(
    "message",
    [
        b"\n",
        b"\n\x01",
        b"\n\x01a\n\x01b",
        b"\n\x01\xff",
        b"\x08\x01",
        b"\n\x81\x00a",
        b"\n" + varint(2**32),
        b"\n\x01a\x10\x01",
    ],
)
def test_unusual_health_checks_are_left_to_the_real_library(rls: Rls, message: bytes) -> None:
    assert not agree_on_health(rls, message)


def agree_on_health(rls: Rls, message: bytes) -> bool:
    read = rls.read_health(message)
    try:
        parsed = health_pb2.HealthCheckRequest.FromString(message)
    except DecodeError:
        assert read is None, message.hex(" ")
        return False
    service = parsed.service
    parsed.DiscardUnknownFields()
    if read is not None or parsed.SerializeToString() == message:
        assert read == service, message.hex(" ")
    return read is not None


@pytest.mark.parametrize("status", [*health_pb2.HealthCheckResponse.ServingStatus.values(), 300, -1])
def test_health_is_written_as_the_real_library_writes_it(rls: Rls, status: int) -> None:
    response = health_pb2.HealthCheckResponse()
    # Numbers without a name, too: to the wire format they are all one.
    response.MergeFromString(b"\x08" + varint(status % 2**64))
    assert rls.write_health(status) == response.SerializeToString()
