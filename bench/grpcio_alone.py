"""A grpcio server that says OK to whatever it is asked, and does nothing else: what the control port stands on.

`python -m bench.grpcio_alone PORT [echo]`. Its answer is made once, about as long as the rate limiter's for one
descriptor; with `echo` it is the message that came, neither read nor written.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.service.ratelimit.v3 import rls_pb2 as pb

_STATUS = pb.RateLimitResponse.DescriptorStatus(
    code=pb.RateLimitResponse.OK,
    current_limit=pb.RateLimitResponse.RateLimit(name="client", requests_per_unit=1_000_000, unit="SECOND"),
    limit_remaining=999_999,
)
_HEADERS = [
    HeaderValue(key="X-RateLimit-Limit", value='1000000, 1000000;w=1;name="bench.client"'),
    HeaderValue(key="X-RateLimit-Remaining", value="999999"),
    HeaderValue(key="X-RateLimit-Reset", value="1"),
    HeaderValue(key="RateLimit", value='"bench.client";r=999999;t=1'),
    HeaderValue(key="RateLimit-Policy", value='"bench.client";q=1000000;w=1'),
]
_ANSWER: bytes = pb.RateLimitResponse(
    overall_code=pb.RateLimitResponse.OK, statuses=[_STATUS], response_headers_to_add=_HEADERS
).SerializeToString()


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        answer = self._answer

        async def call(message: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return message if answer is None else answer

        return grpc.unary_unary_rpc_method_handler(call)  # typed for synchronous servers


async def _serve(port: int, answer: bytes | None) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Methods(answer),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), None if "echo" in sys.argv[2:] else _ANSWER))
