"""A store of overrides in memory, held by the tests of the adapter to what PostgreSQL does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

from waypost.audit import AuditEntry
from waypost.overrides import NewOverride, Override, OverridePage, OverridePlace, digest_of
from waypost.ports import Clock


class MemoryOverrides:
    """Overrides as they are committed, and the audit entries; a `waypost.override_ports.OverrideStore`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.overrides: dict[bytes, Override] = {}
        self.entries: list[AuditEntry] = []
        self._changes = 0

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[MemoryOverrideWork]:
        yield MemoryOverrideWork(self)

    async def list_overrides(self, domain: str, size: int, after: OverridePlace | None) -> OverridePage:
        def place(override: Override) -> tuple[object, ...]:
            return override.created_at, override.override_id

        found = [one for one in self.live() if domain in ("", one.domain)]
        if after is not None:
            found = [one for one in found if (one.created_at, one.override_id) < (after.created_at, after.override_id)]
        found.sort(key=place, reverse=True)
        page = tuple(found[:size])
        more = len(found) > size
        return OverridePage(page, OverridePlace(page[-1].created_at, page[-1].override_id) if more else None)

    async def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    def live(self) -> list[Override]:
        """Those that have not expired."""
        now = self.clock.now()
        return [one for one in self.overrides.values() if one.expires_at is None or one.expires_at > now]

    def tick(self) -> timedelta:
        """A microsecond more with each change, so that each has a time of its own."""
        self._changes += 1
        return timedelta(microseconds=self._changes)


class MemoryOverrideWork:
    """One transaction."""

    def __init__(self, store: MemoryOverrides) -> None:
        self._store = store
        self._entries: list[AuditEntry] = []
        self.overrides = MemoryOverridesOfWork(store)
        self.audit = self

    async def add_all(self, entries: Sequence[AuditEntry]) -> None:
        self._entries += entries

    async def commit(self) -> None:
        self._store.overrides = self.overrides.now
        self._store.entries += self._entries


class MemoryOverridesOfWork:
    """The overrides inside one transaction."""

    def __init__(self, store: MemoryOverrides) -> None:
        self._store = store
        self.now = {digest_of(one.domain, one.entries): one for one in store.live()}

    async def find(self, new: NewOverride) -> Override | None:
        return self.now.get(digest_of(new.domain, new.entries))

    async def set(self, new: NewOverride) -> Override:
        before = await self.find(new)
        override = Override(
            uuid4() if before is None else before.override_id,
            new.domain,
            new.entries,
            new.numbers,
            new.reason,
            new.expires_at,
            self._store.clock.now() + self._store.tick(),
            new.created_by,
        )
        self.now = {**self.now, digest_of(new.domain, new.entries): replace(override)}
        return override

    async def delete(self, override_id: UUID) -> Override | None:
        found = [(digest, one) for digest, one in self.now.items() if one.override_id == override_id]
        if not found:
            return None
        ((digest, override),) = found
        self.now = {key: one for key, one in self.now.items() if key != digest}
        return override

    async def count(self) -> int:
        return len(self.now)
