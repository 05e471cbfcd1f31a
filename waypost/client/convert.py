"""The client's values as the contract has them, and back: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from waypost.api.v1 import link_service_pb2 as pb
from waypost.client.model import DestinationFlag, Link, LinkState, NewLink, Page, Resolution, Unset
from waypost.errors import FieldViolation, InvalidFields

MAX_INT32 = 2**31 - 1

Value = str | int | bool | datetime | timedelta | Sequence[str] | None

_STATES: Mapping[int, LinkState] = {
    pb.LINK_STATE_ACTIVE: LinkState.ACTIVE,
    pb.LINK_STATE_EXPIRED: LinkState.EXPIRED,
    pb.LINK_STATE_BLOCKED: LinkState.BLOCKED,
    pb.LINK_STATE_DELETED: LinkState.DELETED,
    pb.LINK_STATE_EXHAUSTED: LinkState.EXHAUSTED,
    pb.LINK_STATE_WARNED: LinkState.WARNED,
}

_FLAGS: Mapping[int, DestinationFlag] = {
    pb.DESTINATION_FLAG_INTERNATIONAL_HOST: DestinationFlag.INTERNATIONAL_HOST,
    pb.DESTINATION_FLAG_MIXED_SCRIPT: DestinationFlag.MIXED_SCRIPT,
    pb.DESTINATION_FLAG_CONFUSABLE: DestinationFlag.CONFUSABLE,
    pb.DESTINATION_FLAG_IP_ADDRESS: DestinationFlag.IP_ADDRESS,
    pb.DESTINATION_FLAG_SHORTENER: DestinationFlag.SHORTENER,
    pb.DESTINATION_FLAG_PRIVATE_HOST: DestinationFlag.PRIVATE_HOST,
}


def create_to_proto(new: NewLink, request_id: str = "") -> pb.CreateLinkRequest:
    """The request for a link. Raises `InvalidFields` for what no message can hold, as all of these."""
    request = pb.CreateLinkRequest()
    values: dict[str, Value] = {
        "request_id": request_id,
        "url": new.url,
        "alias": new.alias,
        "title": new.title,
        "tags": new.tags,
        "max_clicks": new.max_clicks,
        "redirect_status": new.redirect_status,
        "forward_query": new.forward_query,
        "expires_at": new.expires_at,
        "ttl_seconds": new.ttl,
    }
    fill(request, {name: value for name, value in values.items() if value is not None})
    return request


def batch_to_proto(links: Iterable[NewLink], request_id: str) -> pb.BatchCreateLinksRequest:
    """The request for many links; what is wrong is named as `requests[3].url`."""
    requests, violations = [], []
    for index, new in enumerate(links):
        try:
            requests.append(create_to_proto(new))
        except InvalidFields as error:
            violations += [FieldViolation(f"requests[{index}].{v.field}", v.description) for v in error.violations]
    if violations:
        raise InvalidFields(violations)
    batch = pb.BatchCreateLinksRequest(requests=requests)
    fill(batch, {"request_id": request_id})
    return batch


def update_to_proto(
    short_code: str, changes: Mapping[str, Value | Unset], etag: str = "", request_id: str = ""
) -> pb.UpdateLinkRequest:
    """The request to change the fields that are not `UNSET`, by the contract's names.

    The mask names each of them, also those that None leaves absent in the message: these are cleared.
    """
    given: dict[str, Value] = {name: value for name, value in changes.items() if not isinstance(value, Unset)}
    if not given:
        raise InvalidFields.one("update_mask", "must name a field: there is nothing to change")
    request = pb.UpdateLinkRequest()
    fill(request, {"short_code": short_code, "etag": etag, "request_id": request_id, **given})
    request.update_mask.paths.extend(given)
    return request


def fill(message: Any, values: Mapping[str, Value]) -> None:
    """Puts values into the message's fields of these names; None leaves one absent."""
    violations = []
    if values.keys() >= {"expires_at", "ttl_seconds"}:
        violations.append(FieldViolation("ttl_seconds", "excludes expires_at: give one of them"))
    for name, value in values.items():
        try:
            _put(message, name, value)
        except ValueError as error:
            violations.append(FieldViolation(name, str(error)))
    if violations:
        raise InvalidFields(violations)


def _put(message: Any, name: str, value: Value) -> None:
    """Raises `ValueError` with a sentence that mends it."""
    match value:
        case None:
            return
        case datetime():
            if value.utcoffset() is None:
                raise ValueError("must have a time zone, for example datetime.now(UTC)")
            getattr(message, name).FromDatetime(value)
        case timedelta():
            # More seconds than the field can hold are too many just the same, and refused there.
            seconds = math.ceil(value / timedelta(seconds=1))
            setattr(message, name, max(-MAX_INT32, min(seconds, MAX_INT32)))
        case bool():
            setattr(message, name, value)
        case int():
            if abs(value) > MAX_INT32:
                raise ValueError(f"must not be beyond {MAX_INT32:,}")
            setattr(message, name, value)
        case str() if name in ("tags", "scopes"):
            raise ValueError(f"must be a list of texts, for example [{value!r}]")
        case str():
            setattr(message, name, _text(value))
        case _:
            getattr(message, name).extend([_text(one) for one in value])


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode, without half of a surrogate pair") from None
    return value


def link_from_proto(link: pb.Link) -> Link:
    """The link; what this version has no name for becomes `UNKNOWN`."""
    return Link(
        short_code=link.short_code,
        short_url=link.short_url,
        original_url=link.original_url,
        title=link.title,
        tags=tuple(link.tags),
        state=state_from_proto(link.state),
        created_at=time_from_proto(link.created_at),
        updated_at=time_from_proto(link.updated_at),
        expires_at=time_from_proto(link.expires_at) if link.HasField("expires_at") else None,
        max_clicks=link.max_clicks,
        clicks_used=link.clicks_used,
        redirect_status=link.redirect_status,
        forward_query=link.forward_query,
        etag=link.etag,
        destination_flags=tuple(_FLAGS.get(flag, DestinationFlag.UNKNOWN) for flag in link.destination_flags),
    )


def state_from_proto(state: int) -> LinkState:
    """What a link does."""
    return _STATES.get(state, LinkState.UNKNOWN)


def page_from_proto(page: pb.ListLinksResponse) -> Page:
    """A page of links."""
    return Page(tuple(map(link_from_proto, page.links)), page.next_page_token)


def resolution_from_proto(answer: pb.ResolveLinkResponse) -> Resolution:
    """What a redirect would do."""
    return Resolution(
        short_code=answer.short_code,
        http_status=answer.http_status,
        location=answer.location,
        state=state_from_proto(answer.state) if answer.state else None,
        valid_for=answer.valid_for.ToTimedelta() if answer.HasField("valid_for") else None,
    )


def time_from_proto(at: Timestamp) -> datetime:
    """The instant, in UTC."""
    return at.ToDatetime(UTC)
