"""The interface is what /openapi.json says: schemathesis calls it through Envoy, with valid data and with invalid."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.e2e.openapi_hooks import REPORTED
from tests.support.credentials import headers_of
from tests.support.mesh import Mesh, mesh_running, without_settings
from tools.openapi import DOCUMENT
from tools.openapi_calls import operations

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")

# Under the ordinary limits nearly every answer would be a 429.
RULES = """
domain: waypost
descriptors:
  - key: route_class
    descriptors:
      - key: remote_address
        rate_limit: {unit: second, requests_per_unit: 1000000}
      - key: principal
        rate_limit: {unit: second, requests_per_unit: 1000000}
"""
SHOP_RULES = """
domain: shop
descriptors:
  - key: remote_address
    rate_limit: {unit: hour, requests_per_unit: 50}
"""


@pytest.fixture(scope="module")
def generous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh that lets one address or key call as often as it likes."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "waypost.yaml").write_text(RULES)
    (folder / "shop.yaml").write_text(SHOP_RULES)
    env = {
        "WAYPOST_LIMITS_DIR": str(folder),
        "WAYPOST_ANONYMOUS_CREATE": "true",
        "WAYPOST_FAILED_CREDENTIALS_PER_MINUTE": "6000",
    }
    with mesh_running(env=env) as mesh:
        yield mesh


@pytest.fixture
def client(generous: Mesh) -> Iterator[httpx.Client]:
    """For an operator, who may call everything."""
    headers = headers_of(generous.operator_key)
    with httpx.Client(base_url=generous.http_url, headers=headers, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.slow
def test_the_document_is_served(client: httpx.Client) -> None:
    response = client.get("/openapi.json")
    assert response.status_code == 200
    assert response.text == DOCUMENT.read_text(encoding="utf-8")
    assert client.get("/openapi.json", headers={"if-none-match": response.headers["etag"]}).status_code == 304
    assert client.head("/docs").headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.slow
def test_every_operation_answers_with_its_own_example(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    bodies = {f"#/components/schemas/{name}": schema for name, schema in document["components"]["schemas"].items()}
    assert client.post("/api/v1/shorten", json={"url": "https://a.example/", "alias": "spring-sale"}).status_code == 200
    examples = {
        "short_code": "spring-sale",
        "subject": quote(bodies["#/components/schemas/AddMemberRequest"]["example"]["subject"], safe=""),
        "key_id": client.post("/api/v1/keys", json={"name": "one to revoke"}).json()["key"]["key_id"],
        "override_id": client.post(
            "/api/v1/ratelimit/overrides",
            json={"domain": "other", "entries": [{"key": "key", "value": "one to delete"}], "unlimited": True},
        ).json()["override_id"],
        "report_id": client.post("/api/v1/report", json={"link": "spring-sale"}).json()["report_id"],
    }
    for name, operation in operations(document):
        method, path = re.sub(r"{(\w+)}", lambda found: examples[found[1]], name).split(" ")
        body: Any = None
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            body = bodies[schema]["example"]
        response = client.request(method, path, json=body)
        # Deleting comes before following, in the order of the document or in another.
        assert response.status_code in (200, 302, 410), f"{name}: {response.status_code} {response.text}"
        assert str(response.status_code) in operation["responses"]


@pytest.mark.slow
def test_every_operation_takes_the_credentials_that_it_says(generous: Mesh, client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    with httpx.Client(base_url=generous.http_url, trust_env=False, timeout=20) as stranger:
        for name, operation in operations(document):
            if "security" not in operation:
                continue
            method, path = re.sub(r"{(\w+)}", "nobody-has-this", name).split(" ")
            body = b"{}" if "requestBody" in operation else b""
            answer = stranger.request(method, path, content=body)
            if not operation["security"] or {} in operation["security"]:
                assert answer.status_code != 401, f"{name}: {answer.text}"
                # None are needed, but wrong ones are wrong.
                answer = stranger.request(method, path, content=body, headers=headers_of("wp_nobody"))
            assert answer.status_code == 401, f"{name}: {answer.status_code} {answer.text}"
            assert answer.json()["details"][0]["reason"] == "ERROR_REASON_UNAUTHENTICATED"
            assert answer.headers["www-authenticate"]
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/api/v1/urls/{short_code}", "/{short_code}", "/{short_code}+"])
def test_errors_come_in_the_form_that_was_asked_for(client: httpx.Client, path: str) -> None:
    document = client.get("/openapi.json").json()
    (_, get), *_ = [item for item in operations(document) if item[0] == f"GET {path}"]
    documented = get["responses"]["404"]
    if "$ref" in documented:
        documented = document["components"]["responses"][documented["$ref"].rpartition("/")[2]]
    assert {"application/json", "application/problem+json"} <= documented["content"].keys()
    for media_type in documented["content"]:
        response = client.get(path.format(short_code="nobody-has-this"), headers={"accept": media_type})
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (404, media_type)


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_schemathesis_finds_nothing(generous: Mesh, client: httpx.Client, tmp_path: Path) -> None:
    env = {name: value for name, value in without_settings(os.environ).items() if not name.startswith("COVERAGE_")}
    env |= {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "PYTHONUTF8": "1", "COLUMNS": "120"}
    reported = client.post("/api/v1/shorten", json={"url": "https://a.example/", "alias": REPORTED})
    assert reported.status_code == 200, reported.text
    program = str(Path(sys.executable).with_name("schemathesis"))
    done = subprocess.run(
        [program, f"--config-file={CONFIG}", "run", f"{generous.http_url}/openapi.json"],
        cwd=tmp_path,
        env={**env, "OPERATOR_KEY": generous.operator_key},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    # That it found nothing says something only if most of it came through.
    assert "6 covered / 6 selected / 6 total" in done.stdout, done.stdout
    made = client.get("/api/v1/urls", params={"page_size": 500, "filter": 'created_at >= "2020-01-01T00:00:00Z"'})
    assert len(made.json()["links"]) > 50, json.dumps(made.json())[:1000]
