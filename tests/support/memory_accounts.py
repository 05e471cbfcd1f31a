"""Workspaces, members, keys and the audit log in memory, each call held to its workspace as by row-level security."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from waypost.access.identity import Membership, Role
from waypost.accounts import Key, KeyPlace, Member, NewKey, Workspace
from waypost.audit import AuditEntry, AuditEvent, AuditPage, AuditPlace, AuditQuery
from waypost.model import DEFAULT_WORKSPACE

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


class RowLevelSecurity(Exception):
    """A row of one workspace was written in a transaction of another."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key, whose it is, and what its secret is known by."""

    workspace_id: UUID
    key: Key
    digest: bytes


@dataclass
class Accounts:
    """The rows as they are committed. What is written gets a time of its own, a microsecond after the one before."""

    workspaces: dict[UUID, Workspace] = field(
        default_factory=lambda: {DEFAULT_WORKSPACE: Workspace(DEFAULT_WORKSPACE, "default", NOW)}
    )
    members: dict[tuple[UUID, str], Member] = field(default_factory=dict)
    keys: dict[str, StoredKey] = field(default_factory=dict)
    audit: list[AuditEvent] = field(default_factory=list)
    now: datetime = NOW
    serial: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def time(self) -> datetime:
        """The time of a row that is written now."""
        return self.now + timedelta(microseconds=next(self.serial))

    def copy(self) -> Accounts:
        """The rows as a transaction may change them."""
        return replace(
            self,
            workspaces=dict(self.workspaces),
            members=dict(self.members),
            keys=dict(self.keys),
            audit=list(self.audit),
        )

    def take(self, other: Accounts) -> None:
        """Makes the changes of a copy one's own."""
        self.workspaces, self.members, self.keys, self.audit = (
            other.workspaces,
            other.members,
            other.keys,
            other.audit,
        )

    def record(self, entries: Iterable[AuditEntry]) -> None:
        """Appends to the audit log."""
        for entry in entries:
            self.audit.append(
                AuditEvent(
                    len(self.audit) + 1,
                    self.time(),
                    entry.workspace_id,
                    entry.principal,
                    entry.address,
                    entry.action.value,
                    entry.object,
                    dict(entry.details),
                    entry.correlation_id,
                )
            )


class MemoryMembers:
    """The members of one workspace inside a transaction."""

    def __init__(self, rows: Accounts, workspace_id: UUID) -> None:
        self._rows = rows
        self._workspace_id = workspace_id

    async def add(self, member: Member) -> bool:
        if (self._workspace_id, member.subject) in self._rows.members:
            return False
        self._rows.members[self._workspace_id, member.subject] = replace(member, created_at=self._rows.time())
        return True

    async def lock(self, subject: str) -> Member | None:
        return self._rows.members.get((self._workspace_id, subject))

    async def update(self, member: Member) -> Member:
        before = self._rows.members[self._workspace_id, member.subject]
        after = replace(before, role=member.role, name=member.name)
        self._rows.members[self._workspace_id, member.subject] = after
        return after

    async def remove(self, subject: str) -> None:
        self._rows.members.pop((self._workspace_id, subject), None)

    async def count(self, *, owners_only: bool = False) -> int:
        return sum(
            workspace_id == self._workspace_id and (member.role is Role.OWNER or not owners_only)
            for (workspace_id, _), member in self._rows.members.items()
        )


class MemoryKeys:
    """The keys of one workspace inside a transaction."""

    def __init__(self, rows: Accounts, workspace_id: UUID) -> None:
        self._rows = rows
        self._workspace_id = workspace_id

    async def add(self, key: NewKey) -> Key:
        stored = Key(
            key_id=key.key_id,
            name=key.name,
            role=key.role,
            scopes=key.scopes,
            created_by=key.created_by,
            created_at=self._rows.time(),
            expires_at=key.expires_at,
            last_used_at=None,
            revoked_at=None,
        )
        self._rows.keys[key.key_id] = StoredKey(self._workspace_id, stored, key.digest)
        return stored

    async def revoke(self, key_id: str) -> tuple[Key, bool] | None:
        found = self._rows.keys.get(key_id)
        if found is None or found.workspace_id != self._workspace_id:
            return None
        if found.key.revoked_at is not None:
            return found.key, False
        revoked = replace(found.key, revoked_at=self._rows.time())
        self._rows.keys[key_id] = replace(found, key=revoked)
        return revoked, True

    async def count_live(self) -> int:
        return sum(
            found.workspace_id == self._workspace_id
            and found.key.revoked_at is None
            and (found.key.expires_at is None or found.key.expires_at > self._rows.now)
            for found in self._rows.keys.values()
        )


class MemoryOwnWorkspace:
    """The workspace of a transaction."""

    def __init__(self, rows: Accounts, workspace_id: UUID) -> None:
        self._rows = rows
        self._workspace_id = workspace_id

    async def lock(self) -> Workspace | None:
        return self._rows.workspaces.get(self._workspace_id)

    async def rename(self, name: str) -> Workspace | None:
        before = self._rows.workspaces.get(self._workspace_id)
        if before is None:
            return None
        self._rows.workspaces[self._workspace_id] = after = replace(before, name=name)
        return after


class MemoryAudit:
    """What a transaction in one workspace does, for the audit log."""

    def __init__(self, rows: Accounts, workspace_id: UUID) -> None:
        self._rows = rows
        self._workspace_id = workspace_id

    async def add_all(self, entries: Sequence[AuditEntry]) -> None:
        if any(entry.workspace_id != self._workspace_id for entry in entries):
            raise RowLevelSecurity
        self._rows.record(entries)


class MemoryAccounts:
    """What is read of `Accounts`, and new workspaces: the ports of lists, of workspaces and of memberships."""

    def __init__(self, rows: Accounts) -> None:
        self._rows = rows

    async def get_workspace(self, workspace_id: UUID) -> Workspace | None:
        return self._rows.workspaces.get(workspace_id)

    async def list_members(self, workspace_id: UUID, size: int, after: str) -> Sequence[Member]:
        mine = sorted(subject for workspace, subject in self._rows.members if workspace == workspace_id)
        return [self._rows.members[workspace_id, subject] for subject in mine if subject > after][:size]

    async def list_keys(self, workspace_id: UUID, size: int, after: KeyPlace | None) -> Sequence[Key]:
        mine = [found.key for found in self._rows.keys.values() if found.workspace_id == workspace_id]
        mine.sort(key=lambda key: (key.created_at, key.key_id), reverse=True)
        if after is not None:
            mine = [key for key in mine if (key.created_at, key.key_id) < (after.created_at, after.key_id)]
        return mine[:size]

    async def get_key(self, workspace_id: UUID, key_id: str) -> Key | None:
        found = self._rows.keys.get(key_id)
        return found.key if found is not None and found.workspace_id == workspace_id else None

    async def read_audit(self, query: AuditQuery) -> AuditPage:
        met = [event for event in self._rows.audit if _meets(event, query)]
        met.sort(key=lambda event: (event.occurred_at, event.event_id), reverse=True)
        page = met[: query.size]
        last = AuditPlace(page[-1].occurred_at, page[-1].event_id) if len(met) > len(page) else None
        return AuditPage(tuple(page), last)

    async def list_workspaces(
        self, workspace_ids: Sequence[UUID] | None, size: int, after: UUID | None
    ) -> Sequence[Workspace]:
        chosen = sorted(self._rows.workspaces if workspace_ids is None else set(workspace_ids))
        found = [self._rows.workspaces[one] for one in chosen if one in self._rows.workspaces]
        return [one for one in found if after is None or one.workspace_id > after][:size]

    async def create_workspace(
        self, workspace_id: UUID, name: str, owner_subject: str, entries: Sequence[AuditEntry]
    ) -> Workspace:
        made = Workspace(workspace_id, name, self._rows.time())
        self._rows.workspaces[workspace_id] = made
        if owner_subject:
            owner = Member(owner_subject, Role.OWNER, "", made.created_at)
            self._rows.members[workspace_id, owner_subject] = owner
        self._rows.record(entries)
        return made

    async def read_memberships(self, subject: str) -> Sequence[Membership]:
        found = [(workspace, member.role) for (workspace, one), member in self._rows.members.items() if one == subject]
        return [Membership(workspace, role) for workspace, role in sorted(found)]


def _meets(event: AuditEvent, query: AuditQuery) -> bool:
    kind = query.action.endswith(".")
    return (
        query.workspace_id in (None, event.workspace_id)
        and query.principal in ("", event.principal)
        and (event.action.startswith(query.action) if kind else query.action in ("", event.action))
        and query.object in ("", event.object)
        and (query.from_ is None or event.occurred_at >= query.from_)
        and (query.until is None or event.occurred_at < query.until)
        and (
            query.after is None or (event.occurred_at, event.event_id) < (query.after.occurred_at, query.after.event_id)
        )
    )
