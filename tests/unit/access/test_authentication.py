"""Finding out who calls, by a store of credentials in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from waypost.access.api_keys import KeyRecord, digest_of, new_key
from waypost.access.authentication import Authenticator, Presented
from waypost.access.failures import Failures
from waypost.access.identity import ROLE_SCOPES, Membership, Role
from waypost.errors import DependencyUnavailable, Overloaded, WaypostError
from waypost.model import DEFAULT_WORKSPACE

PEPPER = b"p" * 32
ADDRESS = "192.0.2.7"


class Clock:
    """A time of day that stands still."""

    def now(self) -> datetime:
        return datetime(2026, 6, 1, tzinfo=UTC)


class Store:
    """One owner's key. `noted`: what was said to be used; `refusal`: what the next note of it is refused with."""

    def __init__(self) -> None:
        key = new_key()
        self.text = key.text
        digest = digest_of(key, PEPPER)
        self.record = KeyRecord(key.key_id, DEFAULT_WORKSPACE, Role.OWNER, ROLE_SCOPES[Role.OWNER], digest)
        self.noted: list[Sequence[str]] = []
        self.refusal: WaypostError | None = None

    async def read_key(self, key_id: str) -> KeyRecord | None:
        return self.record if key_id == self.record.key_id else None

    async def read_memberships(self, subject: str) -> Sequence[Membership]:
        return ()

    async def workspace_exists(self, workspace_id: UUID) -> bool:
        return True

    async def note_use(self, key_ids: Sequence[str]) -> None:
        if (refusal := self.refusal) is not None:
            self.refusal = None
            raise refusal
        self.noted.append(key_ids)


@pytest.mark.parametrize("refusal", [DependencyUnavailable("postgres"), Overloaded(4)], ids=["away", "busy"])
async def test_a_store_that_cannot_note_what_was_used_is_told_the_next_time(refusal: WaypostError) -> None:
    store = Store()
    authenticator = Authenticator(store, (PEPPER,), None, frozenset(), Clock(), Failures(60))
    await authenticator.identify(Presented(store.text), ADDRESS)
    store.refusal = refusal

    # Runs beside the service, which ends when this does.
    await authenticator.note_used()
    assert store.noted == []
    await authenticator.note_used()
    assert store.noted == [[store.record.key_id]]
    await authenticator.note_used()
    assert len(store.noted) == 1
