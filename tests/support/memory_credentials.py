"""What authentication asks of the store, in memory; and tokens that are their subject's name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from waypost.access.api_keys import ApiKey, KeyRecord, digest_of, new_key, scopes_of
from waypost.access.claims import TokenClaims
from waypost.access.identity import Membership, Role, Scope
from waypost.errors import DependencyUnavailable, Unauthenticated
from waypost.model import DEFAULT_WORKSPACE

PEPPER = b"a pepper of thirty-two characters"
NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@dataclass
class MemoryCredentials:
    """Keys, members and workspaces. `go`: reads wait for it; `away`: the store does not answer."""

    keys: dict[str, KeyRecord] = field(default_factory=dict)
    members: dict[str, list[Membership]] = field(default_factory=dict)
    workspaces: set[UUID] = field(default_factory=lambda: {DEFAULT_WORKSPACE})
    used: list[Sequence[str]] = field(default_factory=list)
    reads: int = 0
    at_a_time: int = 0
    most_at_a_time: int = 0
    away: bool = False
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go.set()

    def add_key(
        self,
        role: Role = Role.EDITOR,
        workspace_id: UUID = DEFAULT_WORKSPACE,
        *,
        scopes: Iterable[Scope] = (),
        pepper: bytes = PEPPER,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """A new key that is stored."""
        key = new_key()
        self.keys[key.key_id] = KeyRecord(
            key.key_id,
            workspace_id,
            role,
            scopes_of(role, [scope.value for scope in scopes]),
            digest_of(key, pepper),
            expires_at,
        )
        return key

    def revoke(self, key: ApiKey) -> None:
        self.keys[key.key_id] = replace(self.keys[key.key_id], revoked_at=NOW)

    async def read_key(self, key_id: str) -> KeyRecord | None:
        await self._read()
        return self.keys.get(key_id)

    async def read_memberships(self, subject: str) -> Sequence[Membership]:
        await self._read()
        return list(self.members.get(subject, ()))

    async def workspace_exists(self, workspace_id: UUID) -> bool:
        await self._read()
        return workspace_id in self.workspaces

    async def note_use(self, key_ids: Sequence[str]) -> None:
        await self._read()
        self.used.append(key_ids)

    async def _read(self) -> None:
        self.reads += 1
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            await self.go.wait()
        finally:
            self.at_a_time -= 1
        if self.away:
            raise DependencyUnavailable("postgres")


class NamedTokens:
    """Tokens that are believed: `token-of-<subject>`; those that were looked at before are known."""

    def __init__(self) -> None:
        self.looked_at = 0
        self._known: dict[str, TokenClaims] = {}

    def known(self, token: str) -> TokenClaims | None:
        return self._known.get(token)

    async def verify(self, token: str) -> TokenClaims:
        self.looked_at += 1
        kind, _, subject = token.partition("token-of-")
        if kind or not subject:
            raise Unauthenticated("the token is not signed by a known key")
        return self._known.setdefault(token, TokenClaims(subject, NOW + timedelta(minutes=15)))
