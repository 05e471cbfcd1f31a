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
from waypost.cli.output import FAILED, NO_ANSWER, WRONG_USAGE, fail, fail_lines
from waypost.cli.settings import Server, server_of
from waypost.rpc.status import DETAILS_KEY
from waypost.settings import BadSettings

TIMEOUT = 10.0
"""Seconds that a call may take."""

OPTIONS = {
    "url": "URL",
    "alias": "--alias",
    "expires_at": "--expires-at",
    "ttl_seconds": "--ttl",
    "redirect_status": "--redirect-status",
    "short_code": "SHORT_CODE",
}
"""What a field of a request is called on the command line."""

_Call = Callable[[LinkServiceStub], pb.Link]
_LOOPBACK = ("127.", "localhost:", "[::1]:")


def create(
    env: Mapping[str, str],
    server: str | None,
    *,
    as_json: bool,
    url: str,
    alias: str = "",
    ttl: int | None = None,
    expires_at: str | None = None,
    status: int = 0,
) -> int:
    """Makes a link; prints its short address. Returns the exit code, as all of these."""
    if ttl is not None and expires_at is not None:
        return fail(WRONG_USAGE, "--ttl and --expires-at exclude each other: give one", as_json)
    request = pb.CreateLinkRequest(url=url, alias=alias, redirect_status=status)
    if ttl is not None:
        request.ttl_seconds = ttl
    if expires_at is not None:
        try:
            request.expires_at.FromJsonString(expires_at)
        except ValueError:
            return fail(WRONG_USAGE, "--expires-at must be a time like 2030-01-31T12:00:00Z", as_json)
    return _run(
        env, server, as_json, lambda stub: stub.CreateLink(request, timeout=TIMEOUT), lambda link: link.short_url
    )


def get(env: Mapping[str, str], server: str | None, *, as_json: bool, short_code: str) -> int:
    """Shows a link."""
    request = pb.GetLinkRequest(short_code=short_code)
    return _run(env, server, as_json, lambda stub: stub.GetLink(request, timeout=TIMEOUT), _table)


def delete(env: Mapping[str, str], server: str | None, *, as_json: bool, short_code: str) -> int:
    """Deletes a link; prints what became of it."""
    request = pb.DeleteLinkRequest(short_code=short_code)
    return _run(
        env,
        server,
        as_json,
        lambda stub: stub.DeleteLink(request, timeout=TIMEOUT),
        lambda link: f"deleted {link.short_url}",
    )


def _run(env: Mapping[str, str], option: str | None, as_json: bool, call: _Call, text: Callable[[pb.Link], str]) -> int:
    try:
        server = server_of(env, option)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)
    try:
        with _channel(server) as channel:
            link = call(LinkServiceStub(channel))
    except grpc.RpcError as error:
        return _refused(error, server, as_json)
    click.echo(json.dumps(_plain(link), indent=2, ensure_ascii=False) if as_json else text(link))
    return 0


def _channel(server: Server) -> grpc.Channel:
    # `http_proxy` is for the way out, and no proxy can reach this machine's own loopback.
    own = server.address.startswith(_LOOPBACK)
    options = [("grpc.enable_http_proxy", 0)] if own else []
    if server.tls:
        return grpc.secure_channel(server.address, grpc.ssl_channel_credentials(), options)
    return grpc.insecure_channel(server.address, options)


def _plain(link: pb.Link) -> dict[str, Any]:
    return MessageToDict(link, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _table(link: pb.Link) -> str:
    """One field a line, with enum values as people say them; without what is absent."""
    rows = {name: value for name, value in _plain(link).items() if value not in ("", [])}
    rows["state"] = _word(rows["state"])
    if flags := rows.get("destination_flags"):
        rows["destination_flags"] = ", ".join(map(_word, flags))
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _word(value: str) -> str:
    """`LINK_STATE_ACTIVE` as `active`."""
    return value.removeprefix("LINK_STATE_").removeprefix("DESTINATION_FLAG_").lower()


def _refused(error: grpc.RpcError, server: Server, as_json: bool) -> int:
    """Prints the error that a call ended with; the exit code for it."""
    code, message = error.code(), error.details() or ""
    details = _details(error)
    exit_code = NO_ANSWER if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) else FAILED
    if exit_code == NO_ANSWER and not details:
        message = f"no Waypost answers at {server.address}: is `waypost up` running, or is --server wrong?"
    if as_json:
        return fail(exit_code, message or code.name, True, code=code.name, details=details)
    return fail_lines(exit_code, list(_sentences(message or code.name, details)))


def _sentences(message: str, details: list[dict[str, Any]]) -> list[str]:
    by_kind = {detail["@type"].rpartition(".")[2]: detail for detail in details}
    if violations := by_kind.get("BadRequest", {}).get("field_violations"):
        return [f"{OPTIONS.get(v['field'], v['field'])} {v['description']}" for v in violations]
    own_id = by_kind.get("ErrorInfo", {}).get("metadata", {}).get("correlation_id")
    return [f"{message} ({own_id})" if own_id else message]


def _details(error: grpc.RpcError) -> list[dict[str, Any]]:
    # Importing the module above registers the types that `Any` needs to be printed.
    assert error_details_pb2.DESCRIPTOR  # noqa: S101
    metadata: Any = error.trailing_metadata() or ()
    packed = dict(metadata).get(DETAILS_KEY)
    if packed is None:
        return []
    status = status_pb2.Status.FromString(packed)
    return [MessageToDict(detail, preserving_proto_field_name=True) for detail in status.details]
