"""LimitOverrideService by its own stub: messages in, messages and statuses out, for operators alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
import pytest

from ratelimiter.overrides.handlers import OverrideHandlers
from ratelimiter.overrides.service import LimitOverrideService
from tests.support.identities import as_operator
from tests.support.memory_overrides import MemoryOverrides
from tests.support.service import details_of, reason_of, running, status_of
from waypost.api.v1 import limit_override_service_pb2 as pb
from waypost.api.v1.limit_override_service_pb2_grpc import LimitOverrideServiceStub
from waypost.api.v1.rate_limit_service_pb2 import RateLimitEntry
from waypost.overrides import LimitUnit

if TYPE_CHECKING:
    from waypost.api.v1.limit_override_service_pb2_grpc import LimitOverrideServiceAsyncStub

NOW = datetime(2031, 1, 1, tzinfo=UTC)
ENTRIES = [RateLimitEntry(key="key", value="a")]


class Standing:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW


@asynccontextmanager
async def serving(most: int = 10) -> AsyncIterator[LimitOverrideServiceAsyncStub]:
    handlers = OverrideHandlers(MemoryOverrides(Standing()), Standing(), most)
    async with running(LimitOverrideService(handlers), identity=as_operator()) as service:
        stub: LimitOverrideServiceAsyncStub = LimitOverrideServiceStub(service.channel)
        yield stub


async def test_an_override_comes_back_as_it_was_set() -> None:
    async with serving() as stub:
        request = pb.SetOverrideRequest(
            domain="shop",
            entries=ENTRIES,
            requests_per_unit=2**32 - 1,
            unit=pb.LIMIT_UNIT_WEEK,
            burst=7,
            reason="a sale",
        )
        request.expires_at.FromDatetime(datetime(2031, 2, 1, tzinfo=UTC))
        override = await stub.SetOverride(request)
        expected = pb.LimitOverride(
            override_id=override.override_id,
            domain="shop",
            entries=ENTRIES,
            requests_per_unit=2**32 - 1,
            unit=pb.LIMIT_UNIT_WEEK,
            burst=7,
            reason="a sale",
            expires_at=request.expires_at,
            created_at=override.created_at,
            created_by="user:ada",
        )
        assert override == expected
        unlimited = await stub.SetOverride(pb.SetOverrideRequest(domain="other", entries=ENTRIES, unlimited=True))
        assert (unlimited.unlimited, unlimited.unit, unlimited.HasField("expires_at")) == (True, 0, False)
        page = await stub.ListOverrides(pb.ListOverridesRequest(page_size=1))
        assert list(page.overrides) == [unlimited]
        page = await stub.ListOverrides(pb.ListOverridesRequest(page_size=1, page_token=page.next_page_token))
        assert (list(page.overrides), page.next_page_token) == ([override], "")
        assert await stub.DeleteOverride(pb.DeleteOverrideRequest(override_id=override.override_id)) == override
        assert list((await stub.ListOverrides(pb.ListOverridesRequest())).overrides) == [unlimited]


async def test_each_unit_has_its_name() -> None:
    async with serving() as stub:
        for number in pb.LimitUnit.values()[1:]:
            name = pb.LimitUnit.Name(number).removeprefix("LIMIT_UNIT_").lower()
            override = await stub.SetOverride(pb.SetOverrideRequest(domain="shop", entries=ENTRIES, unit=number))
            assert (override.unit, LimitUnit(name)) == (number, name)


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_statuses() -> None:
    async with serving(most=1) as stub:
        request = pb.SetOverrideRequest(unit=99)  # type: ignore[arg-type]
        request.expires_at.seconds = 10**15
        error = await refusal(stub.SetOverride(request))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        bad = details_of(status_of(error))["BadRequest"]
        assert [violation.field for violation in bad.field_violations] == ["domain", "entries", "expires_at", "unit"]
        assert "LIMIT_UNIT_MONTH" in bad.field_violations[3].description

        error = await refusal(stub.DeleteOverride(pb.DeleteOverrideRequest(override_id="none")))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert reason_of(error) == ("RESOURCE_NOT_FOUND", {"type": "override", "name": "none"})

        await stub.SetOverride(pb.SetOverrideRequest(domain="shop", entries=ENTRIES, unlimited=True))
        error = await refusal(stub.SetOverride(pb.SetOverrideRequest(domain="x", entries=ENTRIES, unlimited=True)))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(error) == ("TOO_MANY", {"type": "override", "limit": "1"})
