"""`waypost links`: calls LinkService and prints what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click
import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2

from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceStub
from waypost.cli.settings import CliSettings
from waypost.rpc.status import DETAILS_KEY
from waypost.settings import BadSettings

TIMEOUT = 10.0
"""Seconds that a call may take."""

_Call = Callable[[LinkServiceStub], pb.Link]


def create(
    env: Mapping[str, str], server: str | None, *, as_json: bool, url: str, alias: str, ttl: int | None, status: int
) -> int:
    """Makes a link; prints its short address."""
    request = pb.CreateLinkRequest(url=url, alias=alias, redirect_status=status)
    if ttl is not None:
        try:
            request.ttl_seconds = ttl
        except ValueError:
            return _fail(2, "--ttl is out of range", as_json)
    return _run(
        env, server, as_json, lambda stub: stub.CreateLink(request, timeout=TIMEOUT), lambda link: link.short_url
    )


def get(env: Mapping[str, str], server: str | None, *, as_json: bool, short_code: str) -> int:
    """Shows a link."""
    return _run(
        env,
        server,
        as_json,
        lambda stub: stub.GetLink(pb.GetLinkRequest(short_code=short_code), timeout=TIMEOUT),
        _table,
    )


def delete(env: Mapping[str, str], server: str | None, *, as_json: bool, short_code: str) -> int:
    """Deletes a link; prints what became of it."""
    return _run(
        env,
        server,
        as_json,
        lambda stub: stub.DeleteLink(pb.DeleteLinkRequest(short_code=short_code), timeout=TIMEOUT),
        lambda link: f"deleted {link.short_url}",
    )


def _run(env: Mapping[str, str], server: str | None, as_json: bool, call: _Call, text: Callable[[pb.Link], str]) -> int:
    try:
        address = server or CliSettings.from_env(env).address
    except BadSettings as error:
        return _fail(2, str(error), as_json)
    try:
        with grpc.insecure_channel(address) as channel:
            link = call(LinkServiceStub(channel))
    except grpc.RpcError as error:
        return _refused(error, address, as_json)
    if as_json:
        click.echo(json.dumps(_plain(link), indent=2))
    else:
        click.echo(text(link))
    return 0


def _plain(link: pb.Link) -> dict[str, object]:
    result: dict[str, object] = MessageToDict(
        link, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return result


def _table(link: pb.Link) -> str:
    rows = {name: value for name, value in _plain(link).items() if value not in ("", [], None)}
    width = max(map(len, rows))
    return "\n".join(
        f"{name:<{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in rows.items()
    )


def _refused(error: grpc.RpcError, address: str, as_json: bool) -> int:
    """Prints an error that a call ended with; the exit code for it."""
    code, message = error.code(), error.details() or ""
    details = _details(error)
    if code is grpc.StatusCode.UNAVAILABLE and not details:
        return _fail(3, f"no Waypost answers at {address}: is `waypost up` running, or is --server wrong?", as_json)
    if as_json:
        click.echo(json.dumps({"code": code.name, "message": message, "details": details}, indent=2), err=True)
    else:
        click.echo(f"waypost: {message or code.name}", err=True)
    return 3 if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) else 1


def _details(error: grpc.RpcError) -> list[dict[str, object]]:
    # Importing the module above registers the types that `Any` needs to be printed.
    assert error_details_pb2.DESCRIPTOR  # noqa: S101
    metadata: Any = error.trailing_metadata() or ()
    packed = dict(metadata).get(DETAILS_KEY)
    if packed is None:
        return []
    status = status_pb2.Status.FromString(packed)
    return [MessageToDict(detail, preserving_proto_field_name=True) for detail in status.details]


def _fail(code: int, message: str, as_json: bool) -> int:
    click.echo(json.dumps({"message": message}) if as_json else f"waypost: {message}", err=True)
    return code
