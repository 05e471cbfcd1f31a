"""Reading google.rpc.Status, as JSON, as a problem of RFC 9457 and as gRPC trailers."""

from __future__ import annotations

import base64
from typing import Any

import grpc
import httpx
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from waypost.api.v1 import error_reason_pb2
from waypost.rpc.problem import TITLES

DETAILS_KEY = "grpc-status-details-bin"

HTTP_STATUS = {
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
"""What google.rpc.Code says of each code (16: as HTTP has it)."""

MORE_PRECISE = {(405, 5), (408, 4), (413, 8), (415, 3), (431, 8)}
"""Where HTTP has a better word than that."""


def make(code: int, message: str, *details: Message) -> status_pb2.Status:
    """A status with these details."""
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, *details: Message, message: str = ""
) -> None:
    """Ends a call with a status and its details, in trailers alone."""
    status = make(code.value[0], message or f"this is {code.name}", *details)
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))


def info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    """An ErrorInfo of ours."""
    return error_details_pb2.ErrorInfo(reason=reason, domain="waypost", metadata=metadata)


def check_json(response: httpx.Response, http_status: int, code: int, reason: str) -> dict[str, Any]:
    """Asserts that an answer is a complete google.rpc.Status as every error is; returns it."""
    assert response.headers["content-type"] == "application/json"
    status: dict[str, Any] = response.json()
    assert status.keys() == {"code", "message", "details"}
    _check(response, status, http_status, code, reason)
    return status


def check_problem(response: httpx.Response, http_status: int, code: int, reason: str) -> dict[str, Any]:
    """Asserts that an answer is a problem that says all that the Status says; returns that Status."""
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert int(response.headers["content-length"]) == len(response.content)
    assert problem.pop("type") == "about:blank"
    assert problem.pop("title") == TITLES[http_status]
    assert problem.pop("status") == http_status
    assert problem.pop("detail") == problem["message"]
    assert problem.pop("reason") == reason
    assert problem.keys() == {"code", "message", "details"}
    _check(response, problem, http_status, code, reason)
    return problem


def _check(response: httpx.Response, status: dict[str, Any], http_status: int, code: int, reason: str) -> None:
    assert response.status_code == http_status, response.text
    assert HTTP_STATUS[code] == http_status or (http_status, code) in MORE_PRECISE
    assert response.headers["vary"] == "accept"
    # Every member is one of the message's, every detail of a type that is known.
    parsed = json_format.ParseDict(status, status_pb2.Status())
    assert (parsed.code, parsed.message) == (code, status["message"])
    assert parsed.message
    found = error_details_pb2.ErrorInfo()
    assert parsed.details[0].Unpack(found)
    assert (found.reason, found.domain) == (reason, "waypost")
    assert reason in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum, not a dict
    assert "" not in found.metadata.values()


def from_error(error: grpc.aio.AioRpcError) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo]:
    """The status in an error's trailers, with its ErrorInfo."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(bytes(trailers[DETAILS_KEY]))
    assert status.code == error.code().value[0]
    return status, info_of(status)


def from_text(value: str) -> status_pb2.Status:
    """The status in a header of binary metadata, as it is on the wire."""
    return status_pb2.Status.FromString(base64.b64decode(value + "=" * (-len(value) % 4)))


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo, which comes first."""
    found = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(found)
    return found
