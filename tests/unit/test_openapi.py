"""The document of the HTTP interface: fresh, valid, and of neither more nor less than what the edge routes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from google.protobuf.descriptor import FieldDescriptor

from tests.support import contract
from tests.support.missing import missing
from tools import openapi
from tools.openapi import DOCUMENT, EDGE
from tools.openapi_calls import PUBLIC, operations, rules
from waypost.access.identity import Scope
from waypost.access.policies import POLICIES

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
    FieldDescriptor.CPPTYPE_STRING: "string",
    FieldDescriptor.CPPTYPE_INT32: "integer",
    FieldDescriptor.CPPTYPE_UINT32: "integer",
    FieldDescriptor.CPPTYPE_ENUM: "string",
    # Proto3 JSON has no number for these: not every reader could hold it.
    FieldDescriptor.CPPTYPE_INT64: "string",
    FieldDescriptor.CPPTYPE_UINT64: "string",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return found


CALLS = {str(binding): POLICIES[contract.full_name(binding.method)] for binding in contract.bindings()}
"""What each call takes, by its address: `POST /api/v1/shorten` and so on."""


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


def test_it_is_what_the_contract_makes() -> None:
    if shutil.which("go") is None:
        missing("no Go here to build the generator with")
    assert openapi.document() == DOCUMENT.read_text(encoding="utf-8"), "run `make openapi`"


def test_every_route_of_the_public_services_is_in_it_and_no_other(document: dict[str, Any]) -> None:
    under_api = {name for name, _ in operations(document) if " /api" in name}
    assert under_api == CALLS.keys() == dict(rules()).keys()
    assert len(under_api) >= 26
    edge = yaml.safe_load((ROOT / "envoy" / "envoy.yaml").read_text())
    transcoded = next(node["services"] for node in nodes(edge) if "proto_descriptor" in node)
    assert sorted(transcoded) == sorted(
        service.full_name for file in PUBLIC for service in file.services_by_name.values()
    )


def test_whatever_it_refers_to_is_there(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    assert len(references) > 20
    for reference in references:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    links = [link for node in nodes(document) for link in node.get("links", {}).values() if "operationId" in link]
    assert {link["operationId"] for link in links} <= set(ids)
    assert links


def test_patterns_and_examples_agree(document: dict[str, Any]) -> None:
    schemas = [node for node in nodes(document) if "example" in node and ("type" in node or "properties" in node)]
    assert len(schemas) > 10
    for schema in schemas:
        # OpenAPI 3.0's schemas are those of draft 4, but for `nullable`, which we do not have.
        jsonschema_rs.Draft4Validator({**schema, "components": document["components"]}).validate(schema["example"])


def test_types_are_those_of_proto3_json(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    seen = 0
    for file in PUBLIC:
        for name, message in file.message_types_by_name.items():
            for field in message.fields if name in schemas else ():
                described = schemas[name]["properties"].get(field.name)
                if described is None:
                    # Part of the path.
                    assert any(f"{{{field.name}}}" in route for route in CALLS), f"{name}.{field.name} is missing"
                    continue
                if field.message_type is not None and field.message_type.GetOptions().map_entry:
                    assert described["type"] == "object"
                    continue
                if field.is_repeated:
                    assert described["type"] == "array"
                    described = described["items"]
                if field.message_type is None:
                    seen += 1
                    assert described["type"] == KINDS[field.cpp_type], f"{name}.{field.name}"
                if field.enum_type is not None:
                    names = [value.name for value in field.enum_type.values]
                    # What is asked for may be fewer than what is told.
                    assert described["enum"] == names or (
                        name.endswith("Request") and set(described["enum"]) < set(names)
                    )
    assert seen > 100


def test_every_call_tells_of_its_limits_and_of_errors_in_both_forms(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if " /api" in name:
            assert {"200", "400", "429", "500", "503", "504"} <= operation["responses"].keys(), name
            assert "default" not in operation["responses"], name
            assert operation["summary"] and operation["description"]
    for response in document["components"]["responses"].values():
        assert set(response["content"]) == {"application/json", "application/problem+json"}
        assert "x-correlation-id" in response["headers"]


def test_every_call_says_what_credentials_it_takes(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["ApiKey"].items() >= {"type": "apiKey", "in": "header", "name": "x-api-key"}.items()
    assert schemes["Bearer"].items() >= {"type": "http", "scheme": "bearer"}.items()
    either: list[dict[str, list[str]]] = [{"ApiKey": []}, {"Bearer": []}]
    optional = {"POST /api/v1/shorten", "POST /api/v1/shorten:batch", "GET /api/v1/me", "GET /api/v1/workspaces"}
    wanted = dict.fromkeys(CALLS, either) | {name: [{}, *either] for name in optional} | {"POST /api/v1/report": []}
    said = {name: operation["security"] for name, operation in operations(document) if "security" in operation}
    assert said == wanted
    for name, operation in operations(document):
        if name in CALLS:
            policy, responses = CALLS[name], operation["responses"]
            assert responses["401"] == {"$ref": "#/components/responses/Unauthenticated"}
            assert (policy.scope is None or policy.anonymous) == (said[name] != either), name
            named = {"$ref": "#/components/parameters/Workspace"} in operation.get("parameters", [])
            assert named == bool(said[name]), name
            if policy.scope is not None:
                assert {"403", "404"} <= responses.keys()
                assert f"`{policy.scope}`" in operation["description"]


def test_a_key_may_be_given_every_scope_that_there_is(document: dict[str, Any]) -> None:
    scopes = document["components"]["schemas"]["CreateKeyRequest"]["properties"]["scopes"]["items"]["enum"]
    assert scopes == [scope.value for scope in Scope]


def test_what_the_edge_passes_over_is_no_parameter(document: dict[str, Any]) -> None:
    edge = yaml.safe_load(openapi.ENVOY.read_text())
    (passed_over,) = [node["ignored_query_parameters"] for node in nodes(edge) if "ignored_query_parameters" in node]
    parts = {part for name in CALLS for part in re.findall(r"{(\w+)}", name)}
    assert parts <= set(passed_over)
    for name, operation in operations(document):
        queries = {one["name"] for one in operation.get("parameters", []) if one.get("in") == "query"}
        assert not queries & set(passed_over), name


def test_comments_keep_their_lines(document: dict[str, Any]) -> None:
    texts = [node["description"] for node in nodes(document) if isinstance(node.get("description"), str)]
    assert len(texts) > 50
    # A line that begins with one space is the generator's; four are an example's.
    assert [text for text in texts if re.search(r"\n (?! )", text)] == []
    (filter_text,) = [text for text in texts if "joined by `AND`" in text]
    assert '\n    tag = "spring sale"  ' in filter_text


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (
            ("components", "schemas", "CreateLinkRequest", "properties", "no_such_field"),
            "CreateLinkRequest.no_such_field",
        ),
        (("paths", "/api/v1/no-such-call"), "/api/v1/no-such-call"),
        (("paths", "/api/v1/shorten", "get"), "/api/v1/shorten get"),
    ],
)
def test_additions_to_what_is_not_there_are_refused(
    document: dict[str, Any], path: tuple[str, ...], named: str
) -> None:
    edge = yaml.safe_load(EDGE.read_text(encoding="utf-8"))
    made = {**document, "paths": {name: item for name, item in document["paths"].items() if name.startswith("/api")}}
    made["components"]["schemas"]["GoogleProtobufAny"] = {}
    openapi.check_names(made, edge)
    inner = edge
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = {}
    with pytest.raises(ValueError, match=re.escape(named)):
        openapi.check_names(made, edge)


def test_without_go_the_check_says_so_and_fails_where_nothing_may_be_missing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tools import openapi; "
        "openapi.CACHE = Path(sys.argv[1]); sys.argv[1:] = ['--check']; sys.exit(openapi.main())"
    )
    env = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("COVERAGE_")}
    for ci, status, words in (("", 0, "is NOT checked: there is no Go here"), ("true", 1, "there is no Go here")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            env={**env, "PATH": str(tmp_path), "CI": ci},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, words in done.stderr) == (status, True), done.stderr
