"""Where Redis is, from one URL: a server alone, one that Sentinel names, or a cluster.

    redis://[user:password@]host[:port][/db]                     one server; rediss:// with TLS
    unix://[user:password@]/path/of/socket[?db=0]                one server on this machine
    redis+sentinel://[user:password@]host[:port],…/service[/db]  the master that Sentinel names; rediss+sentinel://
    redis+cluster://[user:password@]host[:port],…                a cluster, found by any of its nodes; rediss+cluster://

User and password are those of the Redis servers; for Sentinels that ask for their own, `?sentinel_username=` and
`?sentinel_password=`. Other parameters are redis-py's for connections: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`,
`ssl_cert_reqs`, `ssl_check_hostname`, `client_name`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url

SENTINEL_PORT = 26379
REDIS_PORT = 6379

_ALLOWED = {
    *("host", "port", "path", "db", "username", "password", "connection_class", "client_name"),
    *("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs"),
    *("ssl_check_hostname", "ssl_min_version", "ssl_ciphers", "sentinel_username", "sentinel_password"),
}


class Kind(Enum):
    """How the server to ask is found."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed URL. Its `repr` shows no secret."""

    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    """Sentinels, or nodes of the cluster; empty for a server alone."""
    service: str
    connection_class: type[AbstractConnection]
    arguments: dict[str, Any]
    """Of a connection: credentials, database, TLS; of a server alone also where it is."""
    sentinel_arguments: dict[str, Any]
    """Of a connection to a Sentinel."""

    def __repr__(self) -> str:
        return f"RedisAddress({self.kind.value}, {self.nodes or self.arguments.get('host') or 'unix'})"


def parse_redis_url(url: str) -> RedisAddress:
    """Takes the URL apart. Raises `ValueError` with a sentence that shows no secret."""
    scheme, separator, rest = url.partition("://")
    base, _, kind_name = scheme.partition("+")
    if not separator or base not in ("redis", "rediss", "unix") or kind_name not in ("", "sentinel", "cluster"):
        raise ValueError("must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    if not kind_name:
        return _single(url)
    if base == "unix":
        raise ValueError("Sentinel and cluster are reached by host and port")
    parts = urlsplit("redis://" + rest)
    user, at, hosts = parts.netloc.rpartition("@")
    kind = Kind(kind_name)
    nodes = tuple(_node(host, SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT) for host in hosts.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    if kind is Kind.SENTINEL and not service:
        raise ValueError("must name the service behind the Sentinels: redis+sentinel://host:port,host:port/service")
    if kind is Kind.CLUSTER and (service or database) not in ("", "0"):
        raise ValueError("a cluster has no databases: leave out what follows the hosts")
    query = f"?{parts.query}" if parts.query else ""
    arguments, connection_class = _arguments(f"{base}://{user}{at}host/{database or 0}{query}")
    for name in ("host", "port"):
        arguments.pop(name, None)
    sentinel = {name: arguments.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    sentinel |= {name: value for name, value in arguments.items() if name.startswith("ssl")}
    if base == "rediss":
        sentinel["ssl"] = True
    return RedisAddress(kind, nodes, unquote(service), connection_class, arguments, sentinel)


def _single(url: str) -> RedisAddress:
    arguments, connection_class = _arguments(url)
    if connection_class is Connection or "path" not in arguments:
        if url.startswith("unix"):
            raise ValueError("must name the socket: unix:///path/of/socket")
        arguments.setdefault("host", "localhost")
    return RedisAddress(Kind.SINGLE, (), "", connection_class, arguments, {})


def _arguments(url: str) -> tuple[dict[str, Any], type[AbstractConnection]]:
    path = urlsplit(url).path.strip("/")
    if not url.startswith("unix") and path and not path.isdecimal():
        raise ValueError("the database behind the host must be a number")
    try:
        arguments: dict[str, Any] = dict(parse_url(url))
    except ValueError as error:
        # Of redis-py's own sentences only those about a parameter are known to name no secret.
        known = str(error).startswith("Invalid value for")
        raise ValueError(str(error) if known else "is not a URL: check host and port") from None
    unknown = sorted(arguments.keys() - _ALLOWED)
    if unknown:
        raise ValueError(f"has a parameter that is not known: {', '.join(unknown)}")
    connection_class = arguments.pop("connection_class", Connection)
    return arguments, connection_class


def _node(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit("//" + text)
        if parts.hostname:
            return parts.hostname, parts.port or port
    except ValueError:
        pass
    raise ValueError("must name hosts as host:port, separated by commas")
