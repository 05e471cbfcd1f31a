"""Finds out who calls, from the credentials of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from waypost.access.api_keys import ApiKey, KeyRecord, matches, parse_key
from waypost.access.claims import TokenClaims
from waypost.access.failures import Failures
from waypost.access.fresh import FreshCache
from waypost.access.identity import ANONYMOUS, ROLE_SCOPES, Identity, Membership, Role
from waypost.errors import DependencyUnavailable, InvalidFields, Overloaded, ResourceNotFound, Unauthenticated
from waypost.model import DEFAULT_WORKSPACE
from waypost.ports import Clock, Credentials

KEY_HEADER = "x-api-key"
TOKEN_HEADER = "authorization"  # noqa: S105 - a header's name
WORKSPACE_HEADER = "x-workspace"

MAX_AGE = 0.8
"""Seconds for which what is known of a key or a member counts: what is revoked is refused everywhere within one."""

_CACHED = 10_000
_UNKNOWN_AT_A_TIME = 2
"""Look-ups of keys that nobody has seen lately: strangers' guesses shall not take every connection."""
_UNKNOWN_WAITING = 64
_UNKNOWN_KEY = "the API key is not known"
_NOTE_SECONDS = 20.0
_NOTED = 10_000


class Tokens(Protocol):
    """Checks tokens; raises `Unauthenticated`."""

    async def verify(self, token: str) -> TokenClaims: ...

    def known(self, token: str) -> TokenClaims | None:
        """The claims of a token that was found good a moment ago; None: look at it anew."""
        ...


@dataclass(frozen=True, slots=True)
class Presented:
    """The credentials of a call, as they came; "" is absent."""

    key: str = ""
    token: str = ""
    workspace: str = ""

    @classmethod
    def of(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Presented:
        """Reads a call's metadata. Raises `Unauthenticated`, `InvalidFields` for what comes twice or both ways."""
        found: dict[str, str] = {}
        for name, value in metadata:
            if name not in (KEY_HEADER, TOKEN_HEADER, WORKSPACE_HEADER):
                continue
            text = value if isinstance(value, str) else value.decode("latin-1")
            if found.setdefault(name, text) != text:
                if name == WORKSPACE_HEADER:
                    raise InvalidFields.one(WORKSPACE_HEADER, "comes with two values: give one")
                raise Unauthenticated(f"{name} comes with two values: give one")
        for name, text in found.items():
            if not text.strip() and name != WORKSPACE_HEADER:
                raise Unauthenticated(f"{name} is empty: leave it out, or see whether your variable for it is set")
        if found.get(KEY_HEADER) and found.get(TOKEN_HEADER):
            raise Unauthenticated(f"{KEY_HEADER} and {TOKEN_HEADER} came together: give one of the two")
        token = found.get(TOKEN_HEADER, "")
        if token:
            kind, _, token = token.partition(" ")
            if kind.lower() != "bearer" or not token.strip():
                raise Unauthenticated(f"{TOKEN_HEADER} must be `Bearer <token>`; an API key goes in {KEY_HEADER}")
        return cls(found.get(KEY_HEADER, ""), token.strip(), found.get(WORKSPACE_HEADER, ""))


class Authenticator:
    """Knows keys and tokens; what it has read of the store counts for `MAX_AGE` seconds and no longer.

    Without `credentials` no key counts and nobody is a member; without `tokens` there are none. `operators` are the
    subjects of people who are operators, with or without `credentials`. `failures` bounds the guesses of each address.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        peppers: Sequence[bytes],
        tokens: Tokens | None,
        operators: frozenset[str],
        clock: Clock,
        failures: Failures,
    ) -> None:
        self._credentials = credentials
        self._peppers = tuple(peppers)
        self._tokens = tokens
        self._operators = operators
        self._clock = clock
        self._failures = failures
        self._unknown = asyncio.Semaphore(_UNKNOWN_AT_A_TIME)
        self._waiting = 0
        # Keys that there are not are not kept: strangers could push out those that there are.
        self._keys: FreshCache[str, KeyRecord | None] = FreshCache(
            self._read_key, max_age=MAX_AGE, size=_CACHED, turn=self._turn_of, keeps=lambda record: record is not None
        )
        self._memberships: FreshCache[str, Sequence[Membership]] = FreshCache(
            self._read_memberships, max_age=MAX_AGE, size=_CACHED
        )
        self._workspaces: FreshCache[UUID, bool] = FreshCache(self._has_workspace, max_age=MAX_AGE, size=_CACHED)
        self._used: set[str] = set()

    async def identify(self, presented: Presented, address: str) -> Identity:
        """Who calls; anonymous without credentials. `address` is the client's, masked.

        Raises `Unauthenticated`, `RateLimited` for an address that was wrong too often, `InvalidFields` and
        `ResourceNotFound` for `x-workspace`, `DependencyUnavailable`.
        """
        if presented.key:
            record = await self._known(presented.key, address)
            self._used.add(record.key_id)
            return await self._of_key(record, presented.workspace, address)
        if presented.token:
            return await self._of_person(await self._claims(presented.token, address), presented.workspace, address)
        if presented.workspace:
            raise Unauthenticated(f"{WORKSPACE_HEADER} names a workspace, but credentials for it are missing")
        return Identity(ANONYMOUS, address=address)

    async def run(self) -> None:
        """Notes in the store, now and then, which keys were used; to be run beside the service."""
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            await self.note_used()

    async def note_used(self) -> None:
        """Notes which keys were used since the last time; if the store is away or busy, the next time."""
        if self._credentials is None or not self._used:
            return
        used, self._used = self._used, set()
        try:
            await self._credentials.note_use(sorted(used))
        except (DependencyUnavailable, Overloaded):
            self._used = used | self._used if len(used) < _NOTED else self._used

    async def _known(self, text: str, address: str) -> KeyRecord:
        key = parse_key(text)
        if key is not None and (self._keys.last(key.key_id) is not None or self._keys.reading(key.key_id)):
            # Costs the store nothing.
            record = await self._keys.get(key.key_id)
            if record is None or not matches(key, record, self._peppers):
                with self._failures.attempt(address):
                    raise Unauthenticated(_UNKNOWN_KEY)
        else:
            with self._failures.attempt(address):
                record = await self._matching(key)
        # Whoever has the secret of a key guesses nothing, and may be told what has become of it.
        if record.revoked_at is not None:
            raise Unauthenticated("the API key has been revoked")
        if not record.counts(self._clock.now()):
            raise Unauthenticated("the API key has expired")
        return record

    async def _matching(self, key: ApiKey | None) -> KeyRecord:
        if key is None:
            raise Unauthenticated(f"{KEY_HEADER} is no API key: it looks like wp_<id>.<secret>")
        if self._credentials is None:
            raise Unauthenticated("this service knows no API keys: it has no database")
        record = await self._keys.get(key.key_id)
        if record is None or not matches(key, record, self._peppers):
            raise Unauthenticated(_UNKNOWN_KEY)
        return record

    async def _claims(self, token: str, address: str) -> TokenClaims:
        if self._tokens is None:
            raise Unauthenticated(f"no tokens are taken here; use an API key in {KEY_HEADER}")
        known = self._tokens.known(token)
        if known is not None:
            return known
        with self._failures.attempt(address):
            return await self._tokens.verify(token)

    async def _of_key(self, record: KeyRecord, named: str, address: str) -> Identity:
        workspace_id = _uuid(named) if named else record.workspace_id
        if workspace_id != record.workspace_id and not (
            record.role is Role.OPERATOR and await self._workspaces.get(workspace_id)
        ):
            raise ResourceNotFound("workspace", named)
        return Identity(f"key:{record.key_id}", workspace_id, record.role, record.scopes, address)

    async def _of_person(self, claims: TokenClaims, named: str, address: str) -> Identity:
        principal = f"user:{claims.subject}"
        if claims.subject in self._operators:
            workspace_id = _uuid(named) if named else DEFAULT_WORKSPACE
            # Without a database there are no workspaces, but still rules and counters to look after.
            alone = self._credentials is None and not named
            if not alone and not await self._workspaces.get(workspace_id):
                raise ResourceNotFound("workspace", named)
            return Identity(principal, workspace_id, Role.OPERATOR, ROLE_SCOPES[Role.OPERATOR], address)
        memberships = await self._memberships.get(claims.subject)
        if named:
            wanted = _uuid(named)
            chosen = next((one for one in memberships if one.workspace_id == wanted), None)
            if chosen is None:
                raise ResourceNotFound("workspace", named)
        elif len(memberships) == 1:
            (chosen,) = memberships
        else:
            return Identity(principal, address=address, workspaces=len(memberships))
        return Identity(principal, chosen.workspace_id, chosen.role, ROLE_SCOPES[chosen.role], address)

    async def _read_key(self, key_id: str) -> KeyRecord | None:
        return await self._require().read_key(key_id)

    @asynccontextmanager
    async def _turn_of(self, key_id: str) -> AsyncIterator[None]:
        """Keys that were there when they were last looked at need not wait for strangers' guesses."""
        if self._keys.last(key_id) is not None:
            yield
            return
        if self._waiting >= _UNKNOWN_WAITING:
            raise Overloaded(_UNKNOWN_WAITING)
        self._waiting += 1
        try:
            await self._unknown.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._unknown.release()

    async def _read_memberships(self, subject: str) -> Sequence[Membership]:
        return await self._require().read_memberships(subject) if self._credentials else ()

    async def _has_workspace(self, workspace_id: UUID) -> bool:
        return await self._require().workspace_exists(workspace_id)

    def _require(self) -> Credentials:
        if self._credentials is None:
            raise Unauthenticated("this service knows no workspaces: it has no database")
        return self._credentials


def _uuid(text: str) -> UUID:
    try:
        if len(text) == 36:
            return UUID(text)
    except ValueError:
        pass
    raise InvalidFields.one(WORKSPACE_HEADER, "must be a workspace's id, as ListWorkspaces shows it")
