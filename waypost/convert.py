"""The model as the contract has it: plain values to protobuf messages, pure."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from waypost.api.v1 import event_pb2, link_service_pb2
from waypost.model import DestinationFlag, EventType, Link, LinkEvent, LinkState

LINK_STATES = {
    LinkState.ACTIVE: link_service_pb2.LINK_STATE_ACTIVE,
    LinkState.EXPIRED: link_service_pb2.LINK_STATE_EXPIRED,
    LinkState.BLOCKED: link_service_pb2.LINK_STATE_BLOCKED,
    LinkState.DELETED: link_service_pb2.LINK_STATE_DELETED,
    LinkState.EXHAUSTED: link_service_pb2.LINK_STATE_EXHAUSTED,
    LinkState.WARNED: link_service_pb2.LINK_STATE_WARNED,
}

DESTINATION_FLAGS = {
    DestinationFlag.INTERNATIONAL_HOST: link_service_pb2.DESTINATION_FLAG_INTERNATIONAL_HOST,
    DestinationFlag.MIXED_SCRIPT: link_service_pb2.DESTINATION_FLAG_MIXED_SCRIPT,
    DestinationFlag.CONFUSABLE: link_service_pb2.DESTINATION_FLAG_CONFUSABLE,
    DestinationFlag.IP_ADDRESS: link_service_pb2.DESTINATION_FLAG_IP_ADDRESS,
    DestinationFlag.SHORTENER: link_service_pb2.DESTINATION_FLAG_SHORTENER,
    DestinationFlag.PRIVATE_HOST: link_service_pb2.DESTINATION_FLAG_PRIVATE_HOST,
}

EVENT_TYPES = {
    EventType.LINK_CREATED: event_pb2.EVENT_TYPE_LINK_CREATED,
    EventType.LINK_UPDATED: event_pb2.EVENT_TYPE_LINK_UPDATED,
    EventType.LINK_DELETED: event_pb2.EVENT_TYPE_LINK_DELETED,
}


def timestamp(at: datetime) -> Timestamp:
    """The instant `at` (with a time zone)."""
    result = Timestamp()
    result.FromDatetime(at)
    return result


def short_url(public_url: str, short_code: str) -> str:
    """The whole short address under `public_url`, which may end in a slash."""
    return f"{public_url.rstrip('/')}/{short_code}"


def etag(link: Link) -> str:
    """Names this state of the link; opaque to clients."""
    return f"v{link.version}"


def link_to_proto(link: Link, short_url: str, now: datetime) -> link_service_pb2.Link:
    """The link as callers see it at `now`."""
    return link_service_pb2.Link(
        short_code=link.short_code,
        short_url=short_url,
        original_url=link.destination.url,
        state=LINK_STATES[link.state(now)],
        created_at=timestamp(link.created_at),
        updated_at=timestamp(link.updated_at),
        expires_at=None if link.expires_at is None else timestamp(link.expires_at),
        redirect_status=link.redirect_status,
        etag=etag(link),
        destination_flags=[DESTINATION_FLAGS[flag] for flag in link.destination.flags],
        title=link.title,
        tags=link.tags,
        max_clicks=link.max_clicks,
        clicks_used=link.clicks_used,
        forward_query=link.forward_query,
    )


def dedupe_key(event: LinkEvent) -> str:
    """One key for one fact: a link has each version once."""
    return f"link/{event.link.short_code}/{event.link.version}"


def event_to_proto(event: LinkEvent, event_id: UUID, short_url: str) -> event_pb2.Event:
    """The event as consumers read it; it occurred when the link was last changed."""
    link = event.link
    return event_pb2.Event(
        id=str(event_id),
        type=EVENT_TYPES[event.type],
        occurred_at=timestamp(link.updated_at),
        subject=link.short_code,
        version=link.version,
        dedupe_key=dedupe_key(event),
        workspace_id=str(link.workspace_id),
        traceparent=event.traceparent,
        correlation_id=event.correlation_id,
        link=link_to_proto(link, short_url, link.updated_at),
    )
