"""Errors of calls, as the command line says them: in the words that its user wrote, and with an exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2

from waypost.cli.output import FAILED, NO_ANSWER, fail, fail_lines
from waypost.client import RemoteError, Unreachable
from waypost.client.channel import Server
from waypost.errors import InvalidFields, LinkGone, Unauthenticated, WaypostError
from waypost.rpc.status import DOMAIN, to_status

OPTIONS = {
    "url": "URL",
    "alias": "--alias",
    "title": "--title",
    "tags": "--tag",
    "expires_at": "--expires-at",
    "ttl_seconds": "--ttl",
    "max_clicks": "--max-clicks",
    "redirect_status": "--redirect-status",
    "forward_query": "--forward-query",
    "short_code": "SHORT_CODE",
    "etag": "--etag",
    "request_id": "--request-id",
    "filter": "--filter",
    "order_by": "--order-by",
    "page_size": "--limit",
    "x-workspace": "--workspace",
    "name": "NAME",
    "subject": "SUBJECT",
    "owner_subject": "--owner",
    "role": "--role",
    "scopes": "--scope",
    "key_id": "KEY_ID",
    "principal": "--principal",
    "action": "--action",
    "object": "--object",
    "from": "--from",
    "until": "--until",
    "link": "LINK",
    "category": "--category",
    "comment": "--comment",
    "contact": "--contact",
    "report_id": "REPORT_ID",
    "reason": "--reason",
}
"""What a field of a request is called on the command line."""

_NO_ANSWER = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def refuse(
    error: WaypostError, server: Server, as_json: bool, names: Mapping[str, str] = OPTIONS, *, hint: str = ""
) -> int:
    """Says why a call failed; `names` of its fields are those of its options. Returns the exit code.

    `hint` is for people whose credentials are missing or count for nothing.
    """
    said = described(error, server)
    exit_code = NO_ANSWER if said["code"] in _NO_ANSWER else FAILED
    if as_json:
        return fail(exit_code, **said, as_json=True)
    lines = list(sentences(error, server, names))
    if hint and isinstance(error, Unauthenticated):
        lines = [f"{line} ({hint})" for line in lines]
    return fail_lines(exit_code, lines)


def sentences(error: WaypostError, server: Server, names: Mapping[str, str] = OPTIONS) -> Iterator[str]:
    """What is wrong, a field a sentence."""
    if isinstance(error, InvalidFields) and error.violations:
        for violation in error.violations:
            head, dot, tail = violation.field.rpartition(".")
            # Of an option that is given several times, its value stands in the description.
            yield f"{head}{dot}{names.get(tail.partition('[')[0], tail)} {violation.description}"
        return
    message = _message(error, server)
    if isinstance(error, LinkGone) and not error.expired and error.short_code:
        message += f" (`waypost links undelete {error.short_code}` brings it back)"
    own_id = error.metadata.get("correlation_id") if isinstance(error, RemoteError) else None
    yield f"{message} ({own_id})" if own_id else message


def described(error: WaypostError, server: Server) -> dict[str, Any]:
    """The same for programs: `message`, `code` and `details` as the API has them."""
    # Importing their module registers the types that `Any` needs to be printed.
    assert error_details_pb2.DESCRIPTOR  # noqa: S101
    code, details = _status(error)
    packed = [MessageToDict(detail, preserving_proto_field_name=True) for detail in details.details]
    return {"message": _message(error, server), "code": code.name, "details": packed}


def _message(error: WaypostError, server: Server) -> str:
    return no_answer(error, server) if isinstance(error, Unreachable) else str(error)


def no_answer(error: Unreachable, server: Server) -> str:
    """That nobody answers, and what to look at."""
    # Without TLS there is one cause: nobody listens there, or somebody else does.
    cause = ""
    if server.tls:
        if "Hostname Verification" in error.cause:
            name = server.name or server.address.rpartition(":")[0]
            return f"the certificate at {server.address} is not for {name}: call it by a name that it is for"
        if "CERTIFICATE_VERIFY_FAILED" in error.cause:
            return (
                f"the certificate at {server.address} is by nobody whom this machine trusts: name its authority with "
                f"WAYPOST_CA_CERT, if you know it ({error.cause.rpartition('FAILED: ')[2]})"
            )
        cause = " (no TLS there?)" if "WRONG_VERSION_NUMBER" in error.cause else f" ({error.cause})"
    question = "is `waypost up` running, or is --server (WAYPOST_SERVER) wrong?"
    return f"no Waypost answers at {server.address}: {question}{cause}"


def _status(error: WaypostError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    if isinstance(error, Unreachable):
        return grpc.StatusCode.UNAVAILABLE, status_pb2.Status()
    if isinstance(error, RemoteError):
        status = status_pb2.Status()
        if error.reason:
            info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
            status.details.add().Pack(info)
        if error.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMicroseconds(round(error.retry_after * 1_000_000))
            status.details.add().Pack(retry)
        return error.code, status
    known = to_status(error, "")
    return known.code, known.to_proto()
