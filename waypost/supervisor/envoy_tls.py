"""Envoy's configuration with TLS: the listener that serves takes HTTPS alone, and the plain port sends everybody there.

The certificate and its key come from a file of their own that Envoy follows (`sds_document`), so that a new pair is
taken up whole and without a restart; connections that stand go on under the one they began with.

The plain port serves nothing but the two health pages: balancers and Kubernetes ask for them by address, where no
certificate fits, they hold no secret, and a redirect would count as a failure there. It takes TLS too, to redirect just
the same: who has learned of `strict-transport-security` keeps a port that stands in an address (RFC 6797, 8.3) and
comes to it by HTTPS.
"""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

SECRET = "edge"  # noqa: S105 - a name
HANDSHAKE_SECONDS = 10
"""How long a connection may take to begin: its first bytes, then its handshake."""
HTTPS_PORT = 443
PLAIN_PATHS = ("/healthz", "/readyz")

_TYPES = "type.googleapis.com/envoy.extensions"
_HSTS = "strict-transport-security"
_UNIMPLEMENTED = 12
_REDIRECTED: dict[str, Any] = {
    "status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 308, "runtime_key": "none"}}}
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How HTTPS is served."""

    secret_file: Path
    """Holds an `sds_document`. Envoy must be able to read it at start, and takes up each one that is renamed to it."""
    port: int = 8443
    """Where HTTPS is taken, on the address of the plain listener."""
    public_port: int = 8443
    """The port of HTTPS as callers reach it: where the plain port sends them."""
    hsts_seconds: int = 31_536_000
    """How long browsers are to insist on HTTPS; 0: they are not told to."""


def sds_document(chain: str, key: str) -> str:
    """The file that Envoy reads a pair from: PEM, the server's own certificate first; the key unencrypted."""
    secret = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.Secret",
        "name": SECRET,
        "tls_certificate": {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}},
    }
    return json.dumps({"resources": [secret]})


def serve(document: dict[str, Any], tls: Tls) -> None:
    """Has a rendered configuration serve HTTPS. Raises `LookupError` or `TypeError` if it is not one of ours."""
    # Whoever subscribes to anything must have a name, be it to a file.
    document.setdefault("node", {"id": "waypost", "cluster": "waypost"})
    listeners = document["static_resources"]["listeners"]
    secure = _by_name(listeners)["http"]
    plain = copy.deepcopy(secure)
    _encrypt(secure, tls)
    _only_redirect(plain, tls)
    listeners.append(plain)


def _encrypt(listener: dict[str, Any], tls: Tls) -> None:
    listener["address"]["socket_address"]["port_value"] = tls.port
    (chain,) = listener["filter_chains"]
    chain |= _transport(tls)
    if not tls.hsts_seconds:
        return
    header = {
        "header": {"key": _HSTS, "value": f"max-age={tls.hsts_seconds}"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    manager = _manager(chain)
    routes = manager["route_config"]
    # New lists: in the document one list may stand in several places.
    routes["response_headers_to_add"] = [*routes["response_headers_to_add"], header]
    # What is answered before the route is known, by whichever mapper answers it: the last of them take everything.
    for mapper in manager["local_reply_config"]["mappers"]:
        mapper["headers_to_add"] = [*mapper.get("headers_to_add", ()), header]


def _only_redirect(listener: dict[str, Any], tls: Tls) -> None:
    """Makes the plain listener of a copy of the other: all that hardens it stays, what it serves goes."""
    listener["name"] = "plain"
    (chain,) = listener["filter_chains"]
    manager = _manager(chain)
    manager["stat_prefix"] = "plain"
    manager["http_filters"] = [_by_name(manager["http_filters"])["envoy.filters.http.router"]]
    # The port in an address is that of this listener, and not where HTTPS is.
    manager["strip_any_host_port"] = True
    (host,) = manager["route_config"]["virtual_hosts"]
    host["routes"] = _plain_routes(_by_name(host["routes"]), tls)
    mappers = manager["local_reply_config"]["mappers"]
    manager["local_reply_config"]["mappers"] = [_to_grpc_callers(tls), {"filter": _REDIRECTED}, *mappers]
    listener["listener_filters"] = [
        {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": f"{_TYPES}.filters.listener.tls_inspector.v3.TlsInspector"},
        }
    ]
    listener["listener_filters_timeout"] = f"{HANDSHAKE_SECONDS}s"
    by_tls = {"filter_chain_match": {"transport_protocol": "tls"}, **copy.deepcopy(chain), **_transport(tls)}
    listener["filter_chains"] = [by_tls, chain]


def _plain_routes(routes: dict[str, dict[str, Any]], tls: Tls) -> list[dict[str, Any]]:
    web = routes["web"]
    health = [
        {"name": path.strip("/"), "match": {"path": path, "headers": web["match"]["headers"]}, "route": web["route"]}
        for path in PLAIN_PATHS
    ]
    redirect: dict[str, Any] = {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}
    if tls.public_port != HTTPS_PORT:
        redirect["port_redirect"] = tls.public_port
    everything = {
        "name": "to_https",
        "match": {"prefix": "/"},
        "redirect": redirect,
        # Who kept it for good could not be sent elsewhere when the port of HTTPS moves, or be served when TLS ends.
        "response_headers_to_add": [
            {"header": {"key": "cache-control", "value": "no-store"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }
    return [routes["not_an_address"], *health, everything]


def _to_grpc_callers(tls: Tls) -> dict[str, Any]:
    """What gRPC callers get in place of a redirect, which none of them follows."""
    message = f"gRPC is not served here without TLS; call port {tls.public_port} with it"
    status = status_pb2.Status(code=_UNIMPLEMENTED, message=message)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="ERROR_REASON_UNKNOWN_METHOD", domain="waypost"))
    status.details.append(detail)
    encoded = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
    is_grpc = {
        "header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}},
    }
    return {
        "filter": {"and_filter": {"filters": [is_grpc, _REDIRECTED]}},
        "headers_to_add": [
            {"header": {"key": "grpc-status", "value": str(_UNIMPLEMENTED)}},
            {"header": {"key": "grpc-status-details-bin", "value": encoded}},
        ],
        "body_format_override": {"text_format_source": {"inline_string": message}},
    }


def _transport(tls: Tls) -> dict[str, Any]:
    """What makes a filter chain speak TLS."""
    source = {"path_config_source": {"path": str(tls.secret_file.absolute())}, "resource_api_version": "V3"}
    context = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            # Its ciphers are Envoy's defaults: forward secrecy and authenticated encryption only.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [{"name": SECRET, "sds_config": source}],
        },
    }
    return {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        "transport_socket_connect_timeout": f"{HANDSHAKE_SECONDS}s",
    }


def _manager(chain: dict[str, Any]) -> dict[str, Any]:
    manager: dict[str, Any] = chain["filters"][0]["typed_config"]
    return manager


def _by_name(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in items}
