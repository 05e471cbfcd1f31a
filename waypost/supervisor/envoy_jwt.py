"""Envoy's check of the tokens that people bring: one that is not good never reaches a service.

It is the first of two: the services check every token themselves, and more of it. A call without a token passes here;
what it may do is theirs to say.

Envoy reads a JWKS file once, whatever is said of watching it. So the filter's whole configuration, with the keys in it,
stands in a file of its own that Envoy follows (extension config discovery): a new one is taken up within milliseconds,
without a request lost, and one that is no good changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waypost.access.claims import LEEWAY_SECONDS

FILTER = "envoy.filters.http.jwt_authn"

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_PROVIDER = "people"
_PATHS = ({"path_separated_prefix": "/api"}, {"prefix": "/waypost.api.v1."})
"""JSON and gRPC; redirects and pages are for everybody."""


@dataclass(frozen=True, slots=True)
class Jwt:
    """Where Envoy finds how tokens are checked."""

    filter_file: Path
    """Holds a `filter_document`. Envoy must be able to read it at start; it takes up each one that is renamed to it."""


def check(document: dict[str, Any], jwt: Jwt) -> None:
    """Has a rendered configuration check tokens. Raises `LookupError` or `TypeError` if it is not one of ours."""
    # Whoever subscribes to anything must have a name, be it to a file.
    document.setdefault("node", {"id": "waypost", "cluster": "waypost"})
    (listener,) = (one for one in document["static_resources"]["listeners"] if one["name"] == "http")
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    source = {"path_config_source": {"path": str(jwt.filter_file.absolute())}, "resource_api_version": "V3"}
    # Before all others: nothing is read or held of a request whose token is not good, and the path and the headers are
    # still the caller's own, by which Envoy's answers are told apart.
    filters.insert(0, {"name": FILTER, "config_discovery": {"config_source": source, "type_urls": [_TYPE]}})


def filter_document(issuer: str, audiences: tuple[str, ...], jwks: str) -> str:
    """The file that Envoy reads the check from; `jwks` must have a key in it, or Envoy refuses the whole of it."""
    provider = {
        "issuer": issuer,
        "audiences": list(audiences),
        "local_jwks": {"inline_string": jwks},
        # Nowhere else: addresses, with all that is in their query, stand in logs and histories.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        # The services check it again.
        "forward": True,
        "clock_skew_seconds": LEEWAY_SECONDS,
        "require_expiration": True,
        # By which the template knows this filter's answers from all others.
        "failed_status_in_metadata": "refused",
    }
    requires = {"requires_any": {"requirements": [{"provider_name": _PROVIDER}, {"allow_missing": {}}]}}
    config = {
        "@type": _TYPE,
        "providers": {_PROVIDER: provider},
        "rules": [{"match": match, "requires": requires} for match in _PATHS],
    }
    extension = {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": FILTER,
        "typed_config": config,
    }
    return json.dumps({"resources": [extension]})
