"""The contract as its descriptors have it: services and methods of `waypost.api.v1`, and their addresses in HTTP."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from waypost.api import v1

HTTP_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Binding:
    """One address of a method: `POST`, `/api/v1/keys/{key_id}:revoke`, and whether the body is the message."""

    method: MethodDescriptor
    verb: str
    path: str
    body: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


def services() -> Iterator[ServiceDescriptor]:
    """Every service, by the names of their files."""
    for module in sorted(module.name for module in pkgutil.iter_modules(v1.__path__)):
        if module.endswith("_pb2"):
            file = importlib.import_module(f"{v1.__name__}.{module}").DESCRIPTOR
            yield from file.services_by_name.values()


def methods() -> Iterator[MethodDescriptor]:
    """Every method of every service."""
    for service in services():
        yield from service.methods


def full_name(method: MethodDescriptor) -> str:
    """As gRPC has it in its path."""
    return f"/{method.containing_service.full_name}/{method.name}"


def bindings() -> Iterator[Binding]:
    """Every HTTP address that the contract gives a method, additional ones included."""
    for method in methods():
        if method.GetOptions().HasExtension(annotations_pb2.http):
            rule: Message = method.GetOptions().Extensions[annotations_pb2.http]
            yield from _bindings(method, rule)


def _bindings(method: MethodDescriptor, rule: Message) -> Iterator[Binding]:
    fields = {field.name: value for field, value in rule.ListFields()}
    for name in HTTP_METHODS:
        if name in fields:
            yield Binding(method, name.upper(), fields[name], "body" in fields)
    for additional in fields.get("additional_bindings", ()):
        yield from _bindings(method, additional)
