"""Generates gateway/static/openapi.json from the contract; `--check` says whether it is what the contract makes.

The generator is gnostic's protoc-gen-openapi, a Go program: tools/openapi/go.mod pins it, and Go checks what it fetches
against go.sum. What the generator cannot know stands in tools/openapi/edge.yaml, and who may call what
in waypost/access/policies.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import Descriptor

from tools.openapi_calls import PUBLIC, operations, rules, secure
from waypost.api.v1 import error_reason_pb2

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "gateway" / "static" / "openapi.json"
PINS = ROOT / "tools" / "openapi"
EDGE = PINS / "edge.yaml"
ENVOY = ROOT / "envoy" / "envoy.yaml"
CACHE = ROOT / "build" / "openapi"
GENERATOR = "github.com/google/gnostic/cmd/protoc-gen-openapi"

_FIRST_SENTENCE = re.compile(r"[^\n]+?(?:\n[^\n]+?)*?(?=[.:](?:\s|$))")


class NoGenerator(Exception):
    """The generator is not here and cannot be had; `str()` says why."""


def document() -> str:
    """The whole document as JSON. Raises `NoGenerator`; `ValueError` if edge.yaml speaks of what is not there."""
    made = _generated(_generator())
    _tidy(made)
    edge = yaml.safe_load(EDGE.read_text(encoding="utf-8"))
    del edge["x-templates"]
    check_names(made, edge)
    result = _merged(made, edge)
    secure(result)
    result["components"]["schemas"]["ErrorReason"] = {
        "type": "string",
        "description": "Why a call failed, for programs.",
        "enum": [name for name, number in error_reason_pb2.ErrorReason.items() if number],
    }
    for _, operation in operations(result):
        for response in operation["responses"].values():
            if "$ref" not in response:
                _name_correlation_id(response)
    for response in result["components"]["responses"].values():
        _name_correlation_id(response)
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"


def _generator() -> Path:
    """The generator at the pinned version, built at the first use."""
    pins = b"".join((PINS / name).read_bytes() for name in ("go.mod", "go.sum"))
    program = CACHE / hashlib.sha256(pins).hexdigest()[:16] / "protoc-gen-openapi"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NoGenerator("there is no Go here to build the generator with")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        built = Path(folder) / program.name
        command = ["go", "build", "-mod=readonly", "-trimpath", "-o", str(built), GENERATOR]
        env = os.environ | {"GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
        done = subprocess.run(command, cwd=PINS, env=env, stderr=subprocess.PIPE, text=True, check=False)
        if "SECURITY ERROR" in done.stderr:
            raise SystemExit(f"{done.stderr.strip()}\nopenapi: what was fetched is not what go.sum pins")
        if done.returncode:
            raise NoGenerator(f"the generator cannot be built:\n{done.stderr.strip()}")
        # Whole or not at all, also with two runs at once.
        program.parent.mkdir(exist_ok=True)
        built.replace(program)
    return program


def _generated(generator: Path) -> dict[str, Any]:
    """What the generator makes of the public services."""
    protos = [file.name for file in PUBLIC]
    imported = {file.name for public in PUBLIC for file in public.dependencies if file.package == public.package}
    options = ["naming=proto", "enum_type=string", *(f"M{name}=waypost/v1" for name in {*protos, *imported})]
    with tempfile.TemporaryDirectory() as out:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"-I{sysconfig.get_path('purelib')}"),
            *(f"--plugin=protoc-gen-openapi={generator}", f"--openapi_out={','.join(options)}:{out}", *protos),
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stderr.strip()}\nopenapi: the contract does not compile")
        made: dict[str, Any] = yaml.safe_load(Path(out, "openapi.yaml").read_text(encoding="utf-8"))
    return made


def _tidy(made: dict[str, Any]) -> None:
    """Mends what the generator gets wrong or leaves out."""
    _mend_texts(made)
    schemas = made["components"]["schemas"]
    passed_over = _passed_over()
    first: dict[str, str] = {}
    for name, method in rules():
        first.setdefault(method.full_name, name)
    methods = dict(rules())
    for name, operation in operations(made):
        operation["summary"] = _summary(operation["description"])
        if name != first[methods[name].full_name]:
            # Its method has another address, which has the method's name.
            operation["operationId"] += f"_{name.partition(' ')[0].lower()}"
        if "parameters" in operation:
            operation["parameters"] = [
                parameter
                for parameter in operation["parameters"]
                if parameter["in"] != "query" or parameter["name"] not in passed_over
            ]
        if "requestBody" in operation:
            # `body: "*"` is all fields but those of the path; the generator keeps them, and Envoy refuses them.
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            schema = schemas[reference.rpartition("/")[2]]
            for field in re.findall(r"{(\w+)}", name):
                schema["properties"].pop(field)
                schema["required"].remove(field)
            if not schema.get("required", True):
                del schema["required"]
    # Envoy prints zeros: whatever has no presence is in every answer.
    for message in _answers():
        if printed := [field.name for field in message.fields if not field.has_presence]:
            schemas[message.name]["required"] = printed


def _passed_over() -> frozenset[str]:
    """The names that mean nothing in a query, since paths have them: the edge does not hand them on."""
    edge = yaml.safe_load(ENVOY.read_text(encoding="utf-8"))
    manager = edge["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (transcoder,) = [one for one in manager["http_filters"] if one["name"].endswith(".grpc_json_transcoder")]
    return frozenset(transcoder["typed_config"]["ignored_query_parameters"])


def _mend_texts(node: Any) -> None:
    """Takes the space away that the generator leaves at the start of lines, and formats that nobody knows."""
    match node:
        case dict():
            if node.get("format") in ("enum", "field-mask"):
                del node["format"]
            for key, value in node.items():
                if key == "description" and isinstance(value, str):
                    node[key] = value.replace("\n ", "\n")
                else:
                    _mend_texts(value)
        case list():
            for item in node:
                _mend_texts(item)


def _summary(description: str) -> str:
    """The first sentence, on one line and without its end."""
    found = _FIRST_SENTENCE.match(description)
    return " ".join((found.group() if found else description).split())


def _answers() -> Iterator[Descriptor]:
    """The messages of ours that answers consist of, each once."""
    waiting = [
        method.output_type
        for file in PUBLIC
        for service in file.services_by_name.values()
        for method in service.methods
        if method.name != "ResolveLink"
    ]
    seen = set()
    while waiting:
        message = waiting.pop()
        if message.GetOptions().map_entry:
            continue
        if message.full_name not in seen and (message.file in PUBLIC or message.name == "Status"):
            seen.add(message.full_name)
            yield message
            waiting += [field.message_type for field in message.fields if field.message_type is not None]


def check_names(made: dict[str, Any], edge: dict[str, Any]) -> None:
    """Refuses an edge.yaml that speaks of calls or fields that the contract no longer has."""
    unknown = [path for path in edge["paths"] if path.startswith("/api/") and path not in made["paths"]]
    unknown += [
        f"{path} {method}"
        for path, item in edge["paths"].items()
        for method in item
        if path in made["paths"] and method not in made["paths"][path]
    ]
    made_schemas = made["components"]["schemas"]
    unknown += [
        f"{name}.{field}"
        for name, schema in edge["components"]["schemas"].items()
        if schema and name in made_schemas
        for field in schema.get("properties", {})
        if field not in made_schemas[name]["properties"]
    ]
    if unknown:
        raise ValueError(f"{EDGE.relative_to(ROOT)} speaks of what the contract does not have: {', '.join(unknown)}")


def _merged(target: Any, patch: Any) -> Any:
    """The target with the patch merged in: RFC 7396, but lists of things with names are merged by these."""
    if isinstance(patch, list) and patch and all(isinstance(item, dict) and "name" in item for item in patch):
        named = {item["name"]: item for item in target or []}
        return list((named | {item["name"]: _merged(named.get(item["name"]), item) for item in patch}).values())
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _name_correlation_id(response: dict[str, Any]) -> None:
    """Says of a response what Envoy adds to each."""
    response.setdefault("headers", {})["x-correlation-id"] = {"$ref": "#/components/headers/CorrelationId"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if the document is stale")
    check = parser.parse_args().check
    try:
        fresh = document()
    except NoGenerator as error:
        if check and os.environ.get("CI", "").lower() not in ("1", "true"):
            print(f"openapi: {DOCUMENT.relative_to(ROOT)} is NOT checked: {error}", file=sys.stderr)
            return 0
        print(f"openapi: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"openapi: {error}", file=sys.stderr)
        return 1
    if not check:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(fresh, encoding="utf-8")
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == fresh:
        return 0
    print(f"{DOCUMENT.relative_to(ROOT)} is not what the contract makes: run `make openapi`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
