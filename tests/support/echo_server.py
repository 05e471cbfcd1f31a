"""A service that does what its callers ask, as a process of its own: `python -m tests.support.echo_server`.

`GetLink` answers with the code that it is asked for, and with the metadata that begins with `x-echo` before and after
the answer. Some codes do more: `missing` is not found; `held` waits until the process gets SIGUSR1.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import structlog

from waypost.api.v1 import link_service_pb2 as pb
from waypost.api.v1.link_service_pb2_grpc import LinkServiceServicer
from waypost.errors import LinkNotFound
from waypost.rpc.context import CallContext
from waypost.rpc.hot_settings import HotPortSettings
from waypost.rpc.main import main
from waypost.rpc.process import Service, serve
from waypost.telemetry import Metrics


class Echo(LinkServiceServicer):
    """Says back what it is told; `go` lets go of what is held."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def GetLink(self, request: pb.GetLinkRequest, context: Any) -> pb.Link:
        call: CallContext = context
        told = [pair for pair in call.invocation_metadata() if pair[0].startswith("x-echo")]
        call.add_initial_metadata(told)
        call.set_trailing_metadata(told)
        if request.short_code == "missing":
            raise LinkNotFound("é % 中文")
        if request.short_code == "held":
            structlog.get_logger().info("held")
            await self.go.wait()
        return pb.Link(short_code=request.short_code, original_url=call.peer())


async def run(settings: HotPortSettings) -> None:
    """Serves until it is told to stop, on free ports."""
    echo = Echo()  # type: ignore[abstract]  # what is left to the generated class is not served
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, echo.go.set)
    await serve(
        Service(
            name="echo",
            settings=settings,
            control_port=0,
            hot_port=0,
            metrics_port=0,
            servicers=[echo],
            metrics=Metrics("echo"),
        )
    )


if __name__ == "__main__":
    sys.exit(main("echo", HotPortSettings, run))
