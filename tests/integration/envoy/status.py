"""Reading google.rpc.Status, as JSON and as gRPC trailers."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from waypost.api.v1 import error_reason_pb2

DETAILS_KEY = "grpc-status-details-bin"


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
    assert response.status_code == http_status, response.text
    assert response.headers["content-type"] == "application/json"
    status: dict[str, Any] = response.json()
    names = error_reason_pb2.ErrorReason.keys()
    assert status["code"] == code
    assert status["message"]
    first = status["details"][0]
    assert first["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (first["reason"], first["domain"]) == (reason, "waypost")
    assert reason in names
    return status


def from_error(error: grpc.aio.AioRpcError) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo]:
    """The status in an error's trailers, with its ErrorInfo."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(bytes(trailers[DETAILS_KEY]))
    assert status.code == error.code().value[0]
    found = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(found)
    return status, found
