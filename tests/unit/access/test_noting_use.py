"""Which keys were used is noted beside the service, which must never end because the store is busy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from tests.support.memory_credentials import NOW, PEPPER, MemoryCredentials
from waypost.access.authentication import Authenticator, Presented
from waypost.access.failures import Failures
from waypost.errors import DependencyUnavailable, Overloaded, WaypostError
from waypost.model import DEFAULT_WORKSPACE


class Clock:
    """A time of day that stands still."""

    def now(self) -> datetime:
        return NOW


class Refusing(MemoryCredentials):
    """Credentials of which `refusal`, once, is what becomes of a note."""

    refusal: WaypostError | None = None

    async def note_use(self, key_ids: Sequence[str]) -> None:
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal
        await super().note_use(key_ids)


@pytest.mark.parametrize("refusal", [DependencyUnavailable("postgres"), Overloaded(4)], ids=["away", "busy"])
async def test_what_a_store_could_not_note_it_is_told_the_next_time(refusal: WaypostError) -> None:
    store = Refusing(workspaces={DEFAULT_WORKSPACE})
    authenticator = Authenticator(store, (PEPPER,), None, frozenset(), Clock(), Failures(60))
    key = store.add_key()
    await authenticator.identify(Presented(key.text), "192.0.2.7")
    store.refusal = refusal
    await authenticator.note_used()
    assert store.used == []
    await authenticator.note_used()
    assert store.used == [[key.key_id]]
