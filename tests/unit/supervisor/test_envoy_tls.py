"""What TLS changes in Envoy's configuration, and what it leaves alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from waypost.supervisor import envoy
from waypost.supervisor.envoy import EnvoyConfig
from waypost.supervisor.envoy_tls import Tls, sds_document

TEMPLATE = envoy.template_path().read_text()
TLS = Tls(Path("/data/certificate.json"), 9443, 443)
CONFIG = EnvoyConfig(Path("/x.pb"), http_port=9080, trusted_hops=1)


def rendered(config: EnvoyConfig) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(envoy.render(TEMPLATE, config))
    return document


def listeners(tls: Tls | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rendered(replace(CONFIG, tls=tls))["static_resources"]["listeners"]
    return found


def manager_of(listener: dict[str, Any], chain: int = 0) -> dict[str, Any]:
    manager: dict[str, Any] = listener["filter_chains"][chain]["filters"][0]["typed_config"]
    return manager


def test_without_tls_there_is_one_listener_and_no_word_of_it() -> None:
    (listener,) = listeners(None)
    assert "transport_socket" not in json.dumps(listener)
    assert "node" not in rendered(CONFIG)


def test_https_serves_what_http_did_but_for_one_header() -> None:
    """Undoing what is known to be different makes the one of the other."""
    (before,), (after, _) = listeners(None), listeners(TLS)
    assert after["address"]["socket_address"].pop("port_value") == 9443
    assert before["address"]["socket_address"].pop("port_value") == 9080
    (chain,) = after["filter_chains"]
    assert chain.pop("transport_socket")["name"] == "envoy.transport_sockets.tls"
    assert chain.pop("transport_socket_connect_timeout") == "10s"
    manager = manager_of(after)
    places = [manager["route_config"]["response_headers_to_add"]]
    for mapper, old in zip(
        manager["local_reply_config"]["mappers"], manager_of(before)["local_reply_config"]["mappers"], strict=True
    ):
        places.append(mapper["headers_to_add"])
        if "headers_to_add" not in old:
            old["headers_to_add"] = []
    for headers in places:
        added = headers.pop()
        assert added["header"] == {"key": "strict-transport-security", "value": "max-age=31536000"}
        assert added["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
    assert after == before


def test_hsts_can_be_left_out() -> None:
    assert "strict-transport-security" in json.dumps(listeners(TLS))
    assert "strict-transport-security" not in json.dumps(listeners(replace(TLS, hsts_seconds=0)))


def test_the_plain_port_keeps_all_that_hardens_it() -> None:
    (before,), (_, plain) = listeners(None), listeners(TLS)
    for name in ("address", "enable_reuse_port", "connection_balance_config", "per_connection_buffer_limit_bytes"):
        assert plain[name] == before[name]
    replaced = {"stat_prefix", "strip_any_host_port", "http_filters", "route_config", "local_reply_config"}
    for chain in (0, 1):
        old, new = manager_of(before), manager_of(plain, chain)
        assert {name: old[name] for name in old.keys() - replaced} == {
            name: new[name] for name in new.keys() - replaced
        }
        assert new["local_reply_config"]["mappers"][2:] == old["local_reply_config"]["mappers"]
        for name in old["route_config"].keys() - {"virtual_hosts"}:
            assert new["route_config"][name] == old["route_config"][name]


def test_the_plain_port_routes_to_no_service_but_for_health() -> None:
    _, plain = listeners(TLS)
    for chain in (0, 1):
        manager = manager_of(plain, chain)
        assert [one["name"] for one in manager["http_filters"]] == ["envoy.filters.http.router"]
        (host,) = manager["route_config"]["virtual_hosts"]
        assert [route["match"]["path"] for route in host["routes"] if "route" in route] == ["/healthz", "/readyz"]
        assert host["routes"][-1]["match"] == {"prefix": "/"}
        assert host["routes"][-1]["redirect"] == {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}


def test_a_public_port_that_is_not_the_usual_one_is_named() -> None:
    _, plain = listeners(replace(TLS, public_port=8444))
    route = manager_of(plain)["route_config"]["virtual_hosts"][0]["routes"][-1]
    assert route["redirect"]["port_redirect"] == 8444


def test_what_begins_a_connection_is_bounded_in_time() -> None:
    https, plain = listeners(TLS)
    assert plain["listener_filters_timeout"] == "10s"
    with_tls = [chain for one in (https, plain) for chain in one["filter_chains"] if "transport_socket" in chain]
    assert [chain["transport_socket_connect_timeout"] for chain in with_tls] == ["10s", "10s"]
    for chain in with_tls:
        common = chain["transport_socket"]["typed_config"]["common_tls_context"]
        assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
        assert common["alpn_protocols"] == ["h2", "http/1.1"]
        (secret,) = common["tls_certificate_sds_secret_configs"]
        assert secret["sds_config"]["path_config_source"]["path"] == "/data/certificate.json"


def test_the_secret_is_named_as_the_listeners_ask_for_it() -> None:
    (secret,) = json.loads(sds_document("chain", "key"))["resources"]
    https, _ = listeners(TLS)
    common = https["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    assert secret["name"] == common["tls_certificate_sds_secret_configs"][0]["name"]
    assert secret["tls_certificate"] == {
        "certificate_chain": {"inline_string": "chain"},
        "private_key": {"inline_string": "key"},
    }


@pytest.mark.parametrize("lost", ["name: web\n", "name: not_an_address", "name: envoy.filters.http.router"])
def test_a_template_without_what_is_needed_is_refused(lost: str) -> None:
    assert TEMPLATE.count(lost) == 1
    with pytest.raises(ValueError, match="template"):
        envoy.render(TEMPLATE.replace(lost, lost.replace("name: ", "name: other_")), replace(CONFIG, tls=TLS))
