"""What the gateway does with the API keys of a workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway.accounts.fields import key_scopes, name_of, page_size
from gateway.accounts.grants import require_grant
from gateway.accounts.page_tokens import PageTokens
from gateway.accounts.requests import CreateKey, Page
from gateway.expiry import expiry_of
from gateway.requests import Caller
from gateway.rules import Violations
from waypost.access.api_keys import PREFIX, ApiKey, digest_of, new_key
from waypost.access.identity import Role, Scope
from waypost.accounts import MAX_KEYS, Key, KeyPlace, NewKey
from waypost.audit import Action, AuditEntry, entry_of
from waypost.errors import InvalidFields, PermissionDenied, ResourceNotFound, TooMany
from waypost.ports import AccountReader, Clock, Storage


class KeyHandlers:
    """The use cases of KeyService. All raise `InvalidFields` and `DependencyUnavailable`.

    `peppers`: digests are made with the first; without any no key would count, so none is made.
    """

    def __init__(self, storage: Storage, reader: AccountReader, clock: Clock, peppers: Sequence[bytes]) -> None:
        self._storage = storage
        self._reader = reader
        self._clock = clock
        self._peppers = tuple(peppers)

    async def create(self, request: CreateKey, caller: Caller) -> tuple[Key, ApiKey]:
        """Makes a key of the call's workspace; its secret is nowhere else. Raises `PermissionDenied`, `TooMany`."""
        violations = Violations(request.malformed)
        name = violations.collect(lambda: name_of(request.name)) or ""
        expires_at = violations.collect(lambda: self._expiry(request))
        # Scopes can only be judged by a role that is one.
        wrong = {violation.field for violation in request.malformed}
        scopes: frozenset[Scope] = frozenset()
        if "role" not in wrong:
            scopes = violations.collect(lambda: key_scopes(request.role, request.scopes)) or scopes
        violations.raise_any()
        require_grant(caller.identity, request.role, scopes)
        if not self._peppers:
            raise PermissionDenied(Scope.KEYS_MANAGE, "this server takes no API keys: it was given no pepper for them")
        secret = new_key()
        digest = digest_of(secret, self._peppers[0])
        new = NewKey(secret.key_id, name, request.role, scopes, digest, caller.identity.principal, expires_at)
        async with self._storage.unit_of_work(caller.workspace_id) as work:
            if await work.keys.count_live() >= MAX_KEYS:
                raise TooMany("key", MAX_KEYS)
            key = await work.keys.add(new)
            await work.audit.add_all([_entry(Action.KEY_CREATE, key, caller, _described(key))])
            await work.commit()
        return key, secret

    async def page(self, page: Page, caller: Caller) -> tuple[Sequence[Key], str]:
        """A page of the keys, and the token of the next one, empty after the last."""
        tokens = PageTokens("keys", caller.workspace_id)
        violations = Violations()
        size = violations.collect(lambda: page_size(page.size)) or 0
        after = violations.collect(lambda: tokens.key(page.token))
        violations.raise_any()
        found = await self._reader.list_keys(caller.workspace_id, size + 1, after)
        if len(found) <= size:
            return found, ""
        last = found[size - 1]
        return found[:size], tokens.of_key(KeyPlace(last.created_at, last.key_id))

    async def get(self, key_id: str, caller: Caller) -> Key:
        """The key. Raises `ResourceNotFound`."""
        _require(key_id)
        key = await self._reader.get_key(caller.workspace_id, key_id)
        if key is None:
            raise ResourceNotFound("key", key_id)
        return key

    async def revoke(self, key_id: str, caller: Caller) -> Key:
        """Takes a key back; a revoked one stays as it is. Raises `ResourceNotFound`, and `PermissionDenied` for an
        operator's key: whoever owns a workspace shall not lock out those who run the mesh."""
        _require(key_id)
        async with self._storage.unit_of_work(caller.workspace_id) as work:
            revoked = await work.keys.revoke(key_id)
            if revoked is None:
                raise ResourceNotFound("key", key_id)
            key, changed = revoked
            if key.role is Role.OPERATOR:
                require_grant(caller.identity, key.role, frozenset())
            if changed:
                details = {"name": key.name, "role": key.role.value}
                await work.audit.add_all([_entry(Action.KEY_REVOKE, key, caller, details)])
                await work.commit()
        return key

    def _expiry(self, request: CreateKey) -> datetime | None:
        return expiry_of(self._clock.now(), request.expires_at, request.ttl_seconds, "key")


def _entry(action: Action, key: Key, caller: Caller, details: Mapping[str, str]) -> AuditEntry:
    return entry_of(
        caller.identity, caller.correlation_id, action, key.key_id, details, workspace_id=caller.workspace_id
    )


def _described(key: Key) -> dict[str, str]:
    end = {} if key.expires_at is None else {"expires_at": key.expires_at.isoformat()}
    return {"name": key.name, "role": key.role.value, "scopes": " ".join(sorted(key.scopes)), **end}


def _require(key_id: str) -> None:
    if not key_id:
        raise InvalidFields.one("key_id", "must not be empty")
    if key_id.startswith(PREFIX):
        # Said without it: whoever has found a key somewhere pastes the whole of it.
        raise InvalidFields.one("key_id", f"must be the id alone: what stands between {PREFIX} and the dot")
