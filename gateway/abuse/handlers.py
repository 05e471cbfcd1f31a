"""What anybody and what operators do about harmful links: use cases that know neither gRPC nor a driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID, uuid4

from gateway.abuse import page_tokens
from gateway.abuse.addresses import ShortAddresses
from gateway.abuse.decisions import Decisions
from gateway.abuse.requests import ListReports, ReportLink
from gateway.abuse.texts import comment_of, contact_of, reason_of
from gateway.codes import is_code
from gateway.requests import Caller
from gateway.rules import Violations
from gateway.transactions import Change
from waypost.abuse import BlockableLink, BlockedLink, BlockedPage, NewReport, Place, Report, ReportPage, ReportQuery
from waypost.abuse_ports import AbuseStore, AbuseWork, ReportIntake
from waypost.audit import Action, AuditEntry, entry_of
from waypost.errors import FieldViolation, InvalidFields, LinkNotFound, ResourceNotFound
from waypost.model import EventType, LinkEvent

MAX_PAGE_SIZE = 200
DEFAULT_PAGE_SIZE = 50

T = TypeVar("T")


class AbuseHandlers:
    """The use cases of AbuseService. All raise `DependencyUnavailable`."""

    def __init__(
        self, intake: ReportIntake, store: AbuseStore, decisions: Decisions, addresses: ShortAddresses
    ) -> None:
        self._intake = intake
        self._store = store
        self._decisions = decisions
        self._addresses = addresses

    async def report(self, request: ReportLink, address: str) -> UUID:
        """Takes a report in; its id. Who has reported the link often is answered the same and nothing is stored.

        Raises `InvalidFields`, `LinkNotFound`.
        """
        violations = Violations(request.malformed)
        short_code = violations.collect(lambda: self._addresses.code_of(request.link))
        comment = violations.collect(lambda: comment_of(request.comment))
        contact = violations.collect(lambda: contact_of(request.contact))
        violations.raise_any()
        report = NewReport(uuid4(), short_code or "", request.category, comment or "", contact or "", address)
        if not await self._intake.add(report):
            raise LinkNotFound(report.short_code)
        return report.report_id

    async def reports(self, request: ListReports) -> tuple[ReportPage, str]:
        """A page of reports and the token of the next one, empty after the last. Raises `InvalidFields`."""
        bound = ("reports", request.closed, request.short_code)
        size, after = _page(request.size, request.page_token, page_tokens.is_uuid, bound)
        if request.short_code and not is_code(request.short_code):
            return ReportPage((), None), ""
        page = await self._store.list_reports(ReportQuery(size, request.closed, request.short_code, after))
        return page, "" if page.next is None else page_tokens.encode(page.next, *bound)

    async def close(self, report_id: str, caller: Caller) -> Report:
        """Closes a report; a closed one stays as it is. Raises `InvalidFields`, `ResourceNotFound`."""
        if not report_id:
            raise InvalidFields.one("report_id", "must not be empty")
        # As it is printed, but for capital letters.
        wanted = UUID(report_id) if page_tokens.is_uuid(report_id.lower()) else None

        async def decide(work: AbuseWork) -> Change[Report]:
            found = await work.reports.close(wanted) if wanted is not None else None
            if found is None:
                raise ResourceNotFound("report", report_id)
            report, was_open = found
            if not was_open:
                return Change(report)
            details = {"short_code": report.short_code, "category": report.category.value}
            object = str(report.report_id)
            entry = entry_of(
                caller.identity, caller.correlation_id, Action.REPORT_CLOSE, object, details, report.workspace_id
            )
            return Change(report, audit=[entry])

        return await self._decisions.run(decide)

    async def block(self, short_code: str, reason: str, caller: Caller) -> BlockedLink:
        """Blocks a link and closes its open reports; of a blocked one the reason changes.

        Raises `InvalidFields`, `LinkNotFound`.
        """
        why = _checked(short_code, reason)

        async def decide(work: AbuseWork) -> Change[BlockedLink]:
            before = await _lock(work, short_code)
            changes = before.blocked_at is None or before.reason != why
            after = await work.links.block(before, why) if changes else before
            closed = await work.reports.close_all(after)
            if not changes and not closed:
                return Change(after.seen)
            details = {"reason": why}
            if before.blocked_at is not None and changes:
                details["reason_before"] = before.reason
            if closed:
                details["reports_closed"] = str(closed)
            return Change(
                after.seen,
                [_event(after, caller)] if changes else [],
                [_entry(Action.LINK_BLOCK, after, caller, details)],
            )

        return await self._decisions.run(decide)

    async def unblock(self, short_code: str, reason: str, caller: Caller) -> BlockedLink:
        """Puts a blocked link back; one that is not blocked stays as it is. Raises `InvalidFields`, `LinkNotFound`."""
        why = _checked(short_code, reason)

        async def decide(work: AbuseWork) -> Change[BlockedLink]:
            before = await _lock(work, short_code)
            if before.blocked_at is None:
                return Change(before.seen)
            after = await work.links.unblock(before)
            details = {"reason": why, "reason_before": before.reason}
            return Change(after.seen, [_event(after, caller)], [_entry(Action.LINK_UNBLOCK, after, caller, details)])

        return await self._decisions.run(decide)

    async def blocked(self, size: int, page_token: str) -> tuple[BlockedPage, str]:
        """A page of blocked links and the token of the next one, empty after the last. Raises `InvalidFields`."""
        bound = ("blocked links",)
        size, after = _page(size, page_token, page_tokens.is_row_number, bound)
        page = await self._store.list_blocked(size, after)
        return page, "" if page.next is None else page_tokens.encode(page.next, *bound)


def _checked(short_code: str, reason: str) -> str:
    """The reason to store. Raises `InvalidFields`."""
    violations = Violations(() if short_code else (FieldViolation("short_code", "must not be empty"),))
    why = violations.collect(lambda: reason_of(reason))
    violations.raise_any()
    return why or ""


def _page(
    size: int, page_token: str, is_id: Callable[[str], bool], bound: tuple[object, ...]
) -> tuple[int, Place | None]:
    violations = Violations()
    if size < 0:
        sentence = f"must not be negative: give 1 to {MAX_PAGE_SIZE}, or 0 for the default"
        violations = Violations((FieldViolation("page_size", sentence),))
    after = violations.collect(lambda: page_tokens.decode(page_token, is_id, *bound)) if page_token else None
    violations.raise_any()
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE, after


async def _lock(work: AbuseWork, short_code: str) -> BlockableLink:
    found = await work.links.lock(short_code) if is_code(short_code) else None
    if found is None:
        raise LinkNotFound(short_code)
    return found


def _event(found: BlockableLink, caller: Caller) -> LinkEvent:
    return LinkEvent(EventType.LINK_UPDATED, found.link, caller.correlation_id)


def _entry(action: Action, found: BlockableLink, caller: Caller, details: dict[str, str]) -> AuditEntry:
    """Into the log of the workspace whose link it is, not of the operator's."""
    link = found.link
    return entry_of(caller.identity, caller.correlation_id, action, link.short_code, details, link.workspace_id)
