"""The URL of Redis: what it may say, and that its mistakes are told without its secrets."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from waypost.adapters.redis_counters import RedisCounters
from waypost.adapters.redis_url import Kind, parse_redis_url


def test_one_server() -> None:
    address = parse_redis_url("redis://user:p%40ss@cache:6380/2")
    assert (address.kind, address.connection_class) == (Kind.SINGLE, Connection)
    assert address.arguments == {"host": "cache", "port": 6380, "db": 2, "username": "user", "password": "p@ss"}
    assert "p@ss" not in repr(address)


def test_defaults() -> None:
    assert parse_redis_url("redis://cache").arguments == {"host": "cache"}
    assert parse_redis_url("redis:///1").arguments == {"host": "localhost", "db": 1}


def test_a_socket() -> None:
    address = parse_redis_url("unix://user:pass@/run/redis.sock?db=4")
    assert address.connection_class is UnixDomainSocketConnection
    assert address.arguments == {"path": "/run/redis.sock", "db": 4, "username": "user", "password": "pass"}


def test_tls() -> None:
    address = parse_redis_url("rediss://cache?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    assert address.connection_class is SSLConnection
    assert address.arguments == {"host": "cache", "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}


def test_sentinel() -> None:
    address = parse_redis_url("redis+sentinel://:secret@a,b:1,[::1]:2/main/3?sentinel_password=other")
    assert (address.kind, address.service) == (Kind.SENTINEL, "main")
    assert address.nodes == (("a", 26379), ("b", 1), ("::1", 2))
    assert address.arguments == {"db": 3, "password": "secret"}
    assert address.sentinel_arguments == {"username": None, "password": "other"}


def test_sentinel_by_tls() -> None:
    address = parse_redis_url("rediss+sentinel://a/main?ssl_ca_certs=/ca.pem")
    assert address.connection_class is SSLConnection
    assert address.sentinel_arguments["ssl"] is True
    assert address.sentinel_arguments["ssl_ca_certs"] == address.arguments["ssl_ca_certs"] == "/ca.pem"


def test_cluster() -> None:
    address = parse_redis_url("redis+cluster://user:secret@a:7000,b:7001")
    assert (address.kind, address.nodes) == (Kind.CLUSTER, (("a", 7000), ("b", 7001)))
    assert {name: value for name, value in address.arguments.items() if name != "db"} == {
        "username": "user",
        "password": "secret",
    }
    assert parse_redis_url("rediss+cluster://a").connection_class is SSLConnection


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("", "must begin with"),
        ("cache:6379", "must begin with"),
        ("http://:secret@cache", "must begin with"),
        ("redis+other://:secret@cache", "must begin with"),
        ("redis://:secret@cache:port", "check host and port"),
        ("redis://:secret@cache/main", "must be a number"),
        ("redis://:secret@cache?socket_timeout=5", "not known: socket_timeout"),
        ("redis://:secret@cache?path=x", "does not take"),
        ("redis://:secret@cache?ssl_ca_certs=x", "does not take"),
        ("unix://", "must name the socket"),
        ("unix+cluster:///socket", "by host and port"),
        ("redis+sentinel://:secret@a:1", "name the service"),
        ("redis+sentinel://:secret@a:1,/main", "hosts as host:port"),
        ("redis+sentinel://:sec/ret@a:1/main", "hosts as host:port"),
        ("redis+sentinel://:secret@a:1/main/x", "must be a number"),
        ("redis+cluster://:secret@a/1", "no databases"),
        ("rediss://:secret@cache?ssl_check_hostname=maybe&db=x", "Invalid value for 'db'"),
    ],
)
def test_a_mistake_is_told_without_its_secrets(url: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause) as caught:
        RedisCounters(url)
    assert "sec" not in str(caught.value)
