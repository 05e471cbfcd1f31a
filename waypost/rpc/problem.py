"""Errors as JSON: a `google.rpc.Status`, or, for who asks for it, the same as a problem of RFC 9457."""

from __future__ import annotations

import re
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2

from waypost.rpc.status import RpcStatus

STATUS_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"

# The reason phrases of RFC 9110 (429, 431: RFC 6585, 451: RFC 7725, 499: nobody's, but what Envoy makes of CANCELLED).
# With the type about:blank a problem's title is the phrase of its status. The edge has the same ones.
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

# As the edge has it, letter for letter: named in so many words (`*/*` does not ask for it), with a quality above 0 if
# with any. After RFC 9110, section 12.5.1.
ASKED = (
    r"(?i)(.*,)?\s*application/problem\+json\s*"
    r"(;\s*(q=(1|0?\.0*[1-9])[^,;]*|[^q,;\s][^,;]*)?)*(,.*)?"
)


def wants_problem(accept: str) -> bool:
    """Whether an `Accept` header (several joined by commas) asks for errors as `application/problem+json`."""
    return re.fullmatch(ASKED, accept) is not None


def status_json(status: RpcStatus) -> bytes:
    """The body of an error: `google.rpc.Status` in JSON, with field names in snake_case."""
    return orjson.dumps(_members(status))


def problem_json(status: RpcStatus, http_status: int) -> bytes:
    """The same error as a problem: RFC 9457's members, then the `ErrorInfo`'s reason and all members of the Status.

    `type` is `about:blank`, so that `title` says no more than the HTTP status; programs read `reason`. `detail` is the
    Status' `message`.
    """
    problem = {
        "type": "about:blank",
        "title": TITLES.get(http_status, "Error"),
        "status": http_status,
        "detail": status.message,
    }
    for detail in status.details:
        if isinstance(detail, error_details_pb2.ErrorInfo):
            problem["reason"] = detail.reason
            break
    return orjson.dumps(problem | _members(status))


def _members(status: RpcStatus) -> dict[str, Any]:
    members: dict[str, Any] = MessageToDict(status.to_proto(), preserving_proto_field_name=True)
    return {
        "code": members.get("code", 0),
        "message": members.get("message", ""),
        "details": members.get("details", []),
    }
