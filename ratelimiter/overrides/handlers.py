"""What operators do with overrides: use cases that know neither gRPC nor a driver."""

from __future__ import annotations

from uuid import UUID

from ratelimiter.overrides import page_tokens
from ratelimiter.overrides.checks import checked
from ratelimiter.overrides.requests import Caller, ListOverrides, SetOverride
from ratelimiter.requests import MAX_VIOLATIONS
from ratelimiter.ruletree import MAX_DOMAIN_BYTES
from waypost.audit import Action, AuditEntry, entry_of
from waypost.errors import DependencyUnavailable, FieldViolation, InvalidFields, ResourceNotFound, TooMany
from waypost.model import DEFAULT_WORKSPACE
from waypost.override_ports import OverrideStore
from waypost.overrides import MAX_OVERRIDES, Override, OverridePage, OverridePlace
from waypost.ports import Clock

MAX_PAGE_SIZE = 500
DEFAULT_PAGE_SIZE = 50


class NoStore(DependencyUnavailable):
    """This rate limiter has no database to keep overrides in."""

    def __init__(self) -> None:
        super().__init__("postgres", retry_after=60.0)
        self.args = ("overrides are kept in PostgreSQL, which this rate limiter has none of: set WAYPOST_DATABASE_URL",)


class OverrideHandlers:
    """The use cases. All raise `InvalidFields` and `DependencyUnavailable`. `store` None: there is no database.

    What is changed is in force on every replica as soon as it has heard of it. `most`: how many there may be.
    """

    def __init__(self, store: OverrideStore | None, clock: Clock, most: int = MAX_OVERRIDES) -> None:
        self._store = store
        self._clock = clock
        self._most = most

    async def set(self, request: SetOverride, caller: Caller) -> Override:
        """Sets an override, in place of the one that its descriptor has. Raises `TooMany`."""
        new = checked(request, self._clock.now(), caller.identity.principal)
        async with self._existing().unit_of_work() as work:
            before = await work.overrides.find(new)
            if before is None and await work.overrides.count() >= self._most:
                raise TooMany("override", self._most, "the mesh")
            override = await work.overrides.set(new)
            details = _described(override)
            if before is not None:
                details |= {f"{name}_before": text for name, text in _numbers(before).items()}
            await work.audit.add_all([_entry(Action.OVERRIDE_SET, override, caller, details)])
            await work.commit()
        return override

    async def delete(self, override_id: str, caller: Caller) -> Override:
        """Deletes an override; what it was. Raises `ResourceNotFound`."""
        store = self._existing()
        try:
            known = UUID(override_id)
        except ValueError:
            if not override_id:
                raise InvalidFields.one("override_id", "must not be empty") from None
            raise ResourceNotFound("override", override_id) from None
        async with store.unit_of_work() as work:
            override = await work.overrides.delete(known)
            if override is None:
                raise ResourceNotFound("override", override_id)
            await work.audit.add_all([_entry(Action.OVERRIDE_DELETE, override, caller, _described(override))])
            await work.commit()
        return override

    async def page(self, request: ListOverrides) -> tuple[OverridePage, str]:
        """A page of overrides and the token of the next one, empty after the last."""
        store = self._existing()
        size, after = _page(request)
        page = await store.list_overrides(request.domain, size, after)
        return page, "" if page.next is None else page_tokens.encode(page.next, request.domain)

    def _existing(self) -> OverrideStore:
        if self._store is None:
            raise NoStore
        return self._store


def _page(request: ListOverrides) -> tuple[int, OverridePlace | None]:
    violations: list[FieldViolation] = []
    if len(request.domain.encode()) > MAX_DOMAIN_BYTES or "\0" in request.domain:
        violations.append(FieldViolation("domain", f"must be at most {MAX_DOMAIN_BYTES} bytes, without U+0000"))
    if request.size < 0:
        sentence = f"must not be negative: give 1 to {MAX_PAGE_SIZE}, or 0 for the default"
        violations.append(FieldViolation("page_size", sentence))
    after: OverridePlace | None = None
    if request.page_token:
        try:
            after = page_tokens.decode(request.page_token, request.domain)
        except InvalidFields as error:
            violations += error.violations
    if violations:
        raise InvalidFields(violations[:MAX_VIOLATIONS])
    return min(request.size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE, after


def _entry(action: Action, override: Override, caller: Caller, details: dict[str, str]) -> AuditEntry:
    """Into the log of the mesh's first workspace: overrides are of none, and the caller may be at work in anybody's."""
    object_id = str(override.override_id)
    return entry_of(caller.identity, caller.correlation_id, action, object_id, details, DEFAULT_WORKSPACE)


def _described(override: Override) -> dict[str, str]:
    details = {
        "domain": override.domain,
        "descriptor": ",".join(f"{entry.key}={entry.value}" for entry in override.entries),
        **_numbers(override),
    }
    if override.reason:
        details["reason"] = override.reason
    return details


def _numbers(override: Override) -> dict[str, str]:
    numbers = override.numbers
    limit = "unlimited" if numbers is None else f"{numbers.requests_per_unit} per {numbers.unit}"
    described = {"limit": limit}
    if numbers is not None and numbers.burst is not None:
        described["burst"] = str(numbers.burst)
    if override.expires_at is not None:
        described["expires_at"] = override.expires_at.isoformat()
    return described
