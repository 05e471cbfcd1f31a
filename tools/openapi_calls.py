"""The calls of the HTTP interface: which the contract has, and what the table of policies says that each takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from waypost.access.policies import POLICIES, Objects, Policy
from waypost.api.v1 import (
    abuse_service_pb2,
    audit_service_pb2,
    key_service_pb2,
    limit_override_service_pb2,
    link_service_pb2,
    member_service_pb2,
    rate_limit_service_pb2,
    workspace_service_pb2,
)

# The services that Envoy routes.
PUBLIC = (
    link_service_pb2.DESCRIPTOR,
    workspace_service_pb2.DESCRIPTOR,
    member_service_pb2.DESCRIPTOR,
    key_service_pb2.DESCRIPTOR,
    audit_service_pb2.DESCRIPTOR,
    abuse_service_pb2.DESCRIPTOR,
    rate_limit_service_pb2.DESCRIPTOR,
    limit_override_service_pb2.DESCRIPTOR,
)
METHODS = ("get", "post", "patch", "put", "delete")

_CREDENTIALS: tuple[dict[str, list[str]], ...] = ({"ApiKey": []}, {"Bearer": []})
"""What a caller may be known by, as security requirements: each alone suffices."""


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each operation of a document under a name like `GET /healthz`."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def rules() -> Iterator[tuple[str, MethodDescriptor]]:
    """The address of each call, like `POST /api/v1/keys`, with its method; a method's first address comes first."""
    for file in PUBLIC:
        for service in file.services_by_name.values():
            for method in service.methods:
                if method.GetOptions().HasExtension(annotations_pb2.http):
                    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]
                    for one in (rule, *rule.additional_bindings):
                        yield _address(one), method


def _address(rule: Message) -> str:
    (address,) = [f"{field.name.upper()} {value}" for field, value in rule.ListFields() if field.name in METHODS]
    return address


def secure(document: dict[str, Any]) -> None:
    """Says of each call what it takes, from the table that the services go by."""
    methods = dict(rules())
    for name, operation in operations(document):
        if name in methods:
            method = methods[name]
            _secure_call(operation, POLICIES[f"/{method.containing_service.full_name}/{method.name}"])
            operation["responses"] = dict(sorted(operation["responses"].items()))


def _secure_call(operation: dict[str, Any], policy: Policy) -> None:
    responses = operation["responses"]
    # Wrong credentials are refused also where none are needed.
    responses["401"] = {"$ref": "#/components/responses/Unauthenticated"}
    if policy.scope is None and policy.objects is not Objects.OWN:
        operation["security"] = []
        return
    optional = policy.anonymous or policy.scope is None
    operation["security"] = [*([{}] if optional else []), *_CREDENTIALS]
    operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/Workspace"})
    responses.setdefault("404", {"$ref": "#/components/responses/NotFound"})
    if policy.scope is not None:
        responses["403"] = {"$ref": "#/components/responses/Forbidden"}
        operation["description"] += f"\n\nTakes the scope `{policy.scope}`"
        operation["description"] += ", or no credentials where strangers may make links." if policy.anonymous else "."
