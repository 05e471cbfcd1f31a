"""What the gateway does with the members of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.accounts.fields import member_role, name_of, page_size, subject_of
from gateway.accounts.grants import require_grant
from gateway.accounts.page_tokens import PageTokens
from gateway.accounts.requests import AddMember, Page, UpdateMember
from gateway.requests import Caller
from gateway.rules import Violations
from waypost.access.identity import Role
from waypost.accounts import MAX_MEMBERS, Member
from waypost.audit import Action, AuditEntry, entry_of
from waypost.errors import InvalidFields, LastOwner, MemberExists, ResourceNotFound, TooMany
from waypost.ports import AccountReader, Storage, UnitOfWork

# Who makes a member does not know yet when the store will do it.
_NOT_YET = datetime.max.replace(tzinfo=UTC)


class MemberHandlers:
    """The use cases of MemberService. All raise `InvalidFields` and `DependencyUnavailable`.

    `fold` writes a subject as tokens have it (addresses in lower case).
    """

    def __init__(self, storage: Storage, reader: AccountReader, fold: Callable[[str], str] = str) -> None:
        self._storage = storage
        self._reader = reader
        self._fold = fold

    async def add(self, request: AddMember, caller: Caller) -> Member:
        """Adds somebody. Raises `PermissionDenied`, `MemberExists`, `TooMany`."""
        request = replace(request, subject=self._fold(request.subject))
        violations = Violations(request.malformed)
        violations.collect(lambda: subject_of(request.subject))
        role = Role.VIEWER
        if "role" not in {violation.field for violation in request.malformed}:
            role = violations.collect(lambda: member_role(request.role)) or role
        name = violations.collect(lambda: name_of(request.name, required=False)) or ""
        violations.raise_any()
        require_grant(caller.identity, role)
        async with self._storage.unit_of_work(caller.workspace_id) as work:
            if await work.members.lock(request.subject) is not None:
                raise MemberExists(request.subject)
            if await work.members.count() >= MAX_MEMBERS:
                raise TooMany("member", MAX_MEMBERS)
            if not await work.members.add(Member(request.subject, role, name, _NOT_YET)):
                raise MemberExists(request.subject)
            member = await _lock(work, request.subject)
            await work.audit.add_all([_entry(Action.MEMBER_ADD, member, caller, _described(member))])
            await work.commit()
        return member

    async def page(self, page: Page, caller: Caller) -> tuple[Sequence[Member], str]:
        """A page of the members, and the token of the next one, empty after the last."""
        tokens = PageTokens("members", caller.workspace_id)
        violations = Violations()
        size = violations.collect(lambda: page_size(page.size)) or 0
        after = violations.collect(lambda: tokens.member(page.token)) or ""
        violations.raise_any()
        found = await self._reader.list_members(caller.workspace_id, size + 1, after)
        return found[:size], tokens.of_member(found[size - 1].subject) if len(found) > size else ""

    async def update(self, request: UpdateMember, caller: Caller) -> Member:
        """Changes a member's role or name. Raises `ResourceNotFound`, `PermissionDenied`, `LastOwner`."""
        request = replace(request, subject=self._fold(request.subject))
        violations = Violations(request.malformed)
        violations.collect(lambda: subject_of(request.subject))
        role = violations.collect(lambda: member_role(request.role)) if request.role is not None else None
        name = violations.collect(lambda: name_of(request.name or "", required=False)) or ""
        if request.role is None and request.name is None and not request.malformed:
            violations.collect(_nothing_to_change)
        violations.raise_any()
        async with self._storage.unit_of_work(caller.workspace_id) as work:
            before = await _lock(work, request.subject)
            require_grant(caller.identity, before.role)
            after = replace(before, role=role or before.role, name=before.name if request.name is None else name)
            require_grant(caller.identity, after.role)
            if after == before:
                return before
            if after.role is not Role.OWNER:
                await _require_other_owner(work, before)
            member = await work.members.update(after)
            await work.audit.add_all([_entry(Action.MEMBER_UPDATE, member, caller, _changed(before, member))])
            await work.commit()
        return member

    async def remove(self, subject: str, caller: Caller) -> Member:
        """Takes a member out; returns the one that was. Raises `ResourceNotFound`, `PermissionDenied`, `LastOwner`."""
        subject = subject_of(self._fold(subject))
        async with self._storage.unit_of_work(caller.workspace_id) as work:
            member = await _lock(work, subject)
            require_grant(caller.identity, member.role)
            await _require_other_owner(work, member)
            await work.members.remove(subject)
            await work.audit.add_all([_entry(Action.MEMBER_REMOVE, member, caller, _described(member))])
            await work.commit()
        return member


async def _lock(work: UnitOfWork, subject: str) -> Member:
    member = await work.members.lock(subject)
    if member is None:
        raise ResourceNotFound("member", subject)
    return member


async def _require_other_owner(work: UnitOfWork, member: Member) -> None:
    """Raises `LastOwner` if this locked member is the only owner."""
    if member.role is Role.OWNER and await work.members.count(owners_only=True) <= 1:
        raise LastOwner(member.subject)


def _entry(action: Action, member: Member, caller: Caller, details: Mapping[str, str]) -> AuditEntry:
    return entry_of(
        caller.identity, caller.correlation_id, action, member.subject, details, workspace_id=caller.workspace_id
    )


def _described(member: Member) -> dict[str, str]:
    return {"role": member.role.value} | ({"name": member.name} if member.name else {})


def _changed(before: Member, after: Member) -> dict[str, str]:
    details: dict[str, str] = {}
    if after.role is not before.role:
        details |= {"role": after.role.value, "role_before": before.role.value}
    if after.name != before.name:
        details |= {"name": after.name, "name_before": before.name}
    return details


def _nothing_to_change() -> None:
    raise InvalidFields.one("role", "is absent, and so is name: give one of the two")
