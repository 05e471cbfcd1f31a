"""The benchmark's own servers answer what it asks of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import programs
from bench.calls import Generator, Load, Method
from bench.hot_port import ECHO, HEALTH
from bench.servers import Server, grpcio_alone, small_service, transport_alone
from tests.support.missing import missing
from waypost.access.api_keys import new_key
from waypost.api.v1.link_service_pb2 import GetLinkRequest

if sys.platform != "linux":
    pytest.skip("servers are pinned to cores as Linux does it", allow_module_level=True)

_CHECK = Method("/waypost.api.v1.RateLimitService/Check", b"\x0a\x05bench")


@contextmanager
def _had() -> Iterator[None]:
    """What cannot be built or started here is passed over, but not in CI."""
    try:
        yield
    except programs.NoProgram as error:
        missing(str(error))


def _answers(server: Server, method: Method) -> None:
    run = Generator().run(Load(rate=100, seconds=0.2, warmup=0, connections=1, method=method), server)
    assert run.per_second == 100


def test_the_transport_alone_says_back_what_it_is_sent() -> None:
    with _had(), transport_alone(programs.transport()) as server:
        _answers(server, ECHO)


def test_grpcio_alone_says_back_what_it_is_sent() -> None:
    with grpcio_alone(echo=True) as server:
        _answers(server, _CHECK)


@pytest.mark.parametrize("hot", [True, False], ids=["hot port", "control port"])
def test_the_small_service_answers_the_mesh_and_who_has_the_key(hot: bool) -> None:
    key = new_key().text
    message = GetLinkRequest(short_code="abcd").SerializeToString()
    get_link = Method("/waypost.api.v1.LinkService/GetLink", message, (("x-api-key", key),))
    with _had(), small_service(key, hot=hot) as server:
        for method in (_CHECK, get_link, HEALTH):
            _answers(server, method)
