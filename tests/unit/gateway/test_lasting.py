"""Work that outlives its caller: done to the end, kept until then, and not silent when it fails."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from gateway.lasting import Lasting
from waypost.errors import DependencyUnavailable


async def test_it_answers_and_raises_as_the_work_does() -> None:
    async def fine() -> int:
        return 7

    async def bad() -> int:
        raise DependencyUnavailable("postgres")

    lasting = Lasting()
    assert await lasting.run(fine()) == 7
    with pytest.raises(DependencyUnavailable):
        await lasting.run(bad())


@pytest.mark.parametrize("error", [None, DependencyUnavailable("postgres"), RuntimeError("a defect")])
async def test_the_work_goes_on_when_its_caller_goes_away(error: Exception | None) -> None:
    begun, go, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        over.set()
        if error is not None:
            raise error

    lasting = Lasting()
    call = asyncio.create_task(lasting.run(work()))
    await begun.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()
    with structlog.testing.capture_logs() as lines:
        go.set()
        await over.wait()
        for _ in range(3):
            await asyncio.sleep(0)
    # Whoever has gone need not hear what was no defect.
    assert [line["event"] for line in lines] == (
        ["change failed after its caller had gone"] if isinstance(error, RuntimeError) else []
    )
