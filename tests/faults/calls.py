"""What gRPC callers see: errors with their details, and health."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of a call. `retry_after`: seconds, None if the server named none."""

    code: grpc.StatusCode
    reason: str
    retry_after: float | None


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """What a call's error says."""
    status = status_pb2.Status()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status.ParseFromString(value)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_after = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return Refusal(error.code(), info.reason, retry_after)


async def serving(channel: grpc.aio.Channel) -> bool:
    """Whether the server says that calls should be sent to it."""
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
