"""Everything a call can fail with.

    WaypostError
    ├── InvalidFields            the caller's fields are wrong
    ├── MalformedRequest         the caller's bytes are no message
    ├── LinkNotFound
    ├── LinkGone                 it was, but is no longer followed
    ├── LinkExhausted
    ├── LinkBlocked
    ├── LinkWarned
    ├── AliasTaken
    ├── EtagMismatch             the link has changed meanwhile
    ├── IdempotencyKeyReused     for another request
    ├── IdempotencyKeyInUse      the first request is still under way
    ├── RequestTooLarge
    ├── Unauthenticated          nobody knows who calls
    ├── PermissionDenied         the caller may not do this
    ├── ResourceNotFound         a key, member, workspace, report or override
    ├── MemberExists
    ├── LastOwner
    ├── TooMany                  as many as there may be
    ├── RateLimited              the caller's own limit
    ├── Overloaded               the server's limit
    ├── DependencyUnavailable    something the call needs does not answer
    ├── Draining                 the server is going away
    ├── DeadlineExceeded
    ├── RouteNotFound            the HTTP interface has no such path
    └── UnknownMethod

Handlers and adapters raise these; `waypost.rpc.status` alone turns them into gRPC statuses, `gateway.problems` into
pages. Anything else that is raised is a defect and reaches the caller as INTERNAL without its text.
"""

from __future__ import annotations

from dataclasses import dataclass

from waypost.model import Budget


class WaypostError(Exception):
    """Base of all errors that a caller may see; `str()` is the sentence the caller reads."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field: its name as in the contract, and a sentence that says how to mend it."""

    field: str
    description: str


class InvalidFields(WaypostError):
    """One or more fields of the request are wrong; lists every one, not the first."""

    def __init__(self, violations: list[FieldViolation]) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))

    @classmethod
    def one(cls, field: str, description: str) -> InvalidFields:
        """The error for a single field."""
        return cls([FieldViolation(field, description)])


class MalformedRequest(WaypostError):
    """The request's bytes do not parse as the message that the method takes."""

    def __init__(self, method: str) -> None:
        self.method = method
        super().__init__(f"the request is not a valid message for {method}")


class LinkNotFound(WaypostError):
    """No link has this short code, or none that the caller may know of."""

    def __init__(self, short_code: str) -> None:
        self.short_code = short_code
        super().__init__(f"no link has the short code {short_code!r}")


class LinkGone(WaypostError):
    """The link's time is over (`expired`), or it was deleted."""

    def __init__(self, short_code: str, *, expired: bool) -> None:
        self.short_code = short_code
        self.expired = expired
        super().__init__(f"the link {short_code!r} {'has expired' if expired else 'was deleted'}")


class LinkExhausted(WaypostError):
    """The link has served as many clicks as it was made for."""

    def __init__(self, short_code: str) -> None:
        self.short_code = short_code
        super().__init__(f"the clicks of the link {short_code!r} are used up")


class LinkBlocked(WaypostError):
    """An operator has blocked the link."""

    def __init__(self, short_code: str) -> None:
        self.short_code = short_code
        super().__init__(f"the link {short_code!r} is blocked")


class LinkWarned(WaypostError):
    """The link leads somewhere doubtful: a person is to decide whether to follow it."""

    def __init__(self, short_code: str) -> None:
        self.short_code = short_code
        super().__init__(f"the link {short_code!r} leads somewhere doubtful; open it in a browser to decide")


class AliasTaken(WaypostError):
    """The alias, or one that differs in letters' case only, belongs to a link that is or was."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        super().__init__(f"the alias {alias!r} is taken (aliases are unique without regard to case, and never reused)")


class EtagMismatch(WaypostError):
    """The link is no longer in the state that the caller's etag names but in that of `etag`."""

    def __init__(self, short_code: str, etag: str) -> None:
        self.short_code = short_code
        self.etag = etag
        super().__init__(f"the link {short_code!r} has changed meanwhile (its etag is {etag!r} now): read it again")


class IdempotencyKeyReused(WaypostError):
    """The key came with another request within the last 24 hours."""

    def __init__(self, key: str) -> None:
        self.key = key
        # Not the key itself: some make theirs of what nobody else may know, and this is logged.
        super().__init__("the request_id came with another request before: give each request its own")


class IdempotencyKeyInUse(WaypostError):
    """The first request with this key is still under way; ask again after `retry_after` seconds."""

    def __init__(self, key: str, retry_after: float = 1.0) -> None:
        self.key = key
        self.retry_after = retry_after
        super().__init__("the first request with this request_id is still under way; ask again shortly")


class RequestTooLarge(WaypostError):
    """Something of the request, which `part` names, has `size` bytes where `limit` are taken."""

    def __init__(self, size: int, limit: int, part: str = "message") -> None:
        self.size = size
        self.limit = limit
        self.part = part
        super().__init__(f"the {part} is larger than {limit:,} bytes (it has {size:,})")


class Unauthenticated(WaypostError):
    """The credentials are missing or count for nothing; `why` is a sentence without any part of them."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class PermissionDenied(WaypostError):
    """The caller is known and may not do this: it takes the scope `scope`; `why` says more where there is more."""

    def __init__(self, scope: str, why: str = "") -> None:
        self.scope = scope
        super().__init__(why or f"this takes the scope {str(scope)!r}, which your credentials do not have here")


class ResourceNotFound(WaypostError):
    """There is no such object here: of `type` `key`, `member`, `workspace`, `report` or `override`, by its `name`."""

    def __init__(self, type: str, name: str) -> None:
        self.type = type
        self.name = name
        super().__init__(f"no {type} {name!r} here")


class MemberExists(WaypostError):
    """Somebody with this subject is a member of the workspace."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"{subject!r} is a member of this workspace")


class LastOwner(WaypostError):
    """The member is the workspace's only owner: nobody would be left to manage it."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"{subject!r} is the only owner of this workspace: make somebody else one first")


class TooMany(WaypostError):
    """There are `limit` objects of this `type` (`key`, `member`, `override`), and `owner` may have no more."""

    def __init__(self, type: str, limit: int, owner: str = "this workspace") -> None:
        self.type = type
        self.limit = limit
        super().__init__(f"{owner} has {limit:,} {type}s already, and may have no more")


class RateLimited(WaypostError):
    """The caller is over the limit that the rule names; the same call is admitted after `retry_after` seconds.

    None: it never is, since it asks for more at once than the limit has. `budget`: what more is known of the limit.
    """

    def __init__(self, rule: str, retry_after: float | None, budget: Budget | None = None) -> None:
        self.rule = rule
        self.retry_after = retry_after
        self.budget = budget
        super().__init__(
            f"too many at once: the limit {rule!r} never admits so many; ask for fewer"
            if retry_after is None
            else f"too many requests: the limit {rule!r} admits the next one in {retry_after:.3f} s"
        )


class Overloaded(WaypostError):
    """The server has `max_in_flight` calls under way and takes no more just now."""

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.retry_after = 1.0
        super().__init__(f"the server is busy with {max_in_flight} calls; try again shortly")


class DependencyUnavailable(WaypostError):
    """A dependency (`postgres`, `ratelimiter`) does not answer; try again after `retry_after` seconds."""

    def __init__(self, dependency: str, retry_after: float = 1.0) -> None:
        self.dependency = dependency
        self.retry_after = retry_after
        super().__init__(f"{dependency} does not answer; try again in {retry_after:g} s")


class Draining(WaypostError):
    """The server is shutting down and takes no new calls."""

    def __init__(self) -> None:
        self.retry_after = 0.1
        super().__init__("the server is shutting down; try again, another one will answer")


class DeadlineExceeded(WaypostError):
    """The call's time, `timeout` seconds, was up before the answer was ready."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        super().__init__(f"the call did not finish within its {timeout:.3f} s")


class RouteNotFound(WaypostError):
    """The HTTP interface has nothing at this path, or not with this method."""

    def __init__(self) -> None:
        super().__init__("nothing is served at this path with this method")


class UnknownMethod(WaypostError):
    """The server has no such method, or (`stream`) not on a port for unary calls."""

    def __init__(self, method: str, *, stream: bool = False) -> None:
        self.method = method
        super().__init__(
            f"{method} is a stream: call it on the service's control port" if stream else f"unknown method {method}"
        )


class StoreUnavailable(Exception):
    """The store of rate limit counters did not answer in time; no caller sees this, each rule says what follows."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
