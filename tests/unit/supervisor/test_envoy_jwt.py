"""What the check of tokens adds to Envoy's configuration, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from waypost.supervisor import envoy
from waypost.supervisor.envoy import EnvoyConfig
from waypost.supervisor.envoy_jwt import FILTER, Jwt
from waypost.supervisor.envoy_tls import Tls

JWT = Jwt(Path("/data/envoy/jwt.json"))


def rendered(jwt: Jwt | None, tls: Tls | None = None) -> dict[str, Any]:
    config = EnvoyConfig(Path("/x.pb"), jwt=jwt, tls=tls)
    document: dict[str, Any] = yaml.safe_load(envoy.render(envoy.template_path().read_text(), config))
    return document


def filters(document: dict[str, Any], listener: str) -> list[str]:
    """The HTTP filters of a listener, in their order."""
    (found,) = (one for one in document["static_resources"]["listeners"] if one["name"] == listener)
    return [one["name"] for one in found["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]]


def test_it_is_the_first_filter_and_all_else_stays() -> None:
    without, checking = rendered(None), rendered(JWT)
    assert FILTER not in filters(without, "http")
    assert filters(checking, "http") == [FILTER, *filters(without, "http")]
    manager = checking["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    source = manager["http_filters"].pop(0)["config_discovery"]["config_source"]
    assert source["path_config_source"] == {"path": "/data/envoy/jwt.json"}
    assert checking.pop("node")["id"]
    assert checking == without


def test_with_tls_the_listener_that_serves_checks() -> None:
    document = rendered(JWT, Tls(Path("/data/envoy/certificate.json")))
    assert filters(document, "http")[0] == FILTER
    assert filters(document, "plain") == ["envoy.filters.http.router"]
