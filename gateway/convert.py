"""Protobuf to values and back, for LinkService. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from google.protobuf.message import Message

from gateway.redirects import Answer
from gateway.requests import CHANGEABLE, Content, CreateLink, UpdateLink
from waypost.api.v1 import link_service_pb2 as pb
from waypost.convert import LINK_STATES
from waypost.errors import FieldViolation

_IN_BATCH = FieldViolation("request_id", "must be left out inside of a batch: the batch has its own")
_CAPITAL = re.compile("[A-Z]")


def create_from_proto(request: pb.CreateLinkRequest, *, in_batch: bool = False) -> CreateLink:
    """The request as values; a timestamp that is none is `malformed`, to be reported beside whatever else is wrong."""
    malformed = [_IN_BATCH] if in_batch and request.request_id else []
    return CreateLink(_content(request, malformed), request.alias)


def update_from_proto(request: pb.UpdateLinkRequest) -> UpdateLink:
    """The request as values: what the mask names is to be changed, or without one what is there."""
    malformed: list[FieldViolation] = []
    changes = _masked(request, malformed) if request.update_mask.paths else _present(request)
    content = _content(request, malformed if "expires_at" in changes else [])
    if not changes and not malformed:
        malformed.append(
            FieldViolation(
                "update_mask",
                f"is absent, and so is every field that could be changed: give one of {', '.join(CHANGEABLE)} "
                "(null, an empty list and unknown names do not count), or name one here to clear it",
            )
        )
    return UpdateLink(request.short_code, replace(content, malformed=tuple(malformed)), changes, request.etag)


def fingerprinted(request: Message) -> bytes:
    """The bytes that tell a request from another one under the same idempotency key."""
    copy = type(request)()
    copy.CopyFrom(request)
    copy.ClearField("request_id")
    return copy.SerializeToString(deterministic=True)


def resolve_to_proto(short_code: str, answer: Answer) -> pb.ResolveLinkResponse:
    """The foretold redirect."""
    response = pb.ResolveLinkResponse(
        short_code=short_code,
        http_status=answer.status,
        location=answer.location,
        state=LINK_STATES[answer.state] if answer.state is not None else pb.LINK_STATE_UNSPECIFIED,
    )
    if answer.valid_for is not None:
        response.valid_for.FromTimedelta(answer.valid_for)
    return response


def _content(request: pb.CreateLinkRequest | pb.UpdateLinkRequest, malformed: list[FieldViolation]) -> Content:
    expires_at: datetime | None = None
    if request.WhichOneof("expiry") == "expires_at":
        try:
            expires_at = request.expires_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            malformed.append(FieldViolation("expires_at", "is no valid time between the years 1 and 9999"))
    return Content(
        url=request.url,
        title=request.title,
        tags=tuple(request.tags),
        expires_at=expires_at,
        ttl_seconds=request.ttl_seconds if request.WhichOneof("expiry") == "ttl_seconds" else None,
        max_clicks=request.max_clicks,
        redirect_status=request.redirect_status,
        forward_query=request.forward_query,
        malformed=tuple(malformed),
    )


def _present(request: pb.UpdateLinkRequest) -> frozenset[str]:
    """The fields that a request without a mask has. An empty list is no field: who means it names it in a mask."""
    singular = ("url", "title", "max_clicks", "redirect_status", "forward_query")
    found = {name for name in singular if request.HasField(name)}  # type: ignore[arg-type] # the stubs want literals
    if request.tags:
        found.add("tags")
    if request.WhichOneof("expiry") is not None:
        found.add("expires_at")
    return frozenset(found)


def _masked(request: pb.UpdateLinkRequest, malformed: list[FieldViolation]) -> frozenset[str]:
    found: set[str] = set()
    for path in request.update_mask.paths:
        # JSON has paths in camel case; gRPC and people write them as in the contract, and perhaps spaces after commas.
        name = _CAPITAL.sub(lambda capital: f"_{capital.group().lower()}", path.strip())
        if name == "*":
            found.update(CHANGEABLE)
        elif name == "ttl_seconds":
            found.add("expires_at")
        elif name in CHANGEABLE:
            found.add(name)
        else:
            known = ", ".join(CHANGEABLE)
            malformed.append(FieldViolation("update_mask", f"names {path[:64]!r}: give any of {known}, or *"))
            break
    return frozenset(found)
