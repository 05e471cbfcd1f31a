"""Protobuf to values and back, for LinkService. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.handlers import CreateLink
from gateway.redirects import Answer
from waypost.api.v1 import link_service_pb2 as pb
from waypost.convert import LINK_STATES
from waypost.errors import FieldViolation


def create_from_proto(request: pb.CreateLinkRequest) -> CreateLink:
    """The request as values; a timestamp that is none is `malformed`, to be reported beside whatever else is wrong."""
    expires_at: datetime | None = None
    malformed: tuple[FieldViolation, ...] = ()
    if request.WhichOneof("expiry") == "expires_at":
        try:
            expires_at = request.expires_at.ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            malformed = (FieldViolation("expires_at", "is no valid time between the years 1 and 9999"),)
    return CreateLink(
        url=request.url,
        alias=request.alias,
        expires_at=expires_at,
        ttl_seconds=request.ttl_seconds if request.WhichOneof("expiry") == "ttl_seconds" else None,
        redirect_status=request.redirect_status,
        malformed=malformed,
    )


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
