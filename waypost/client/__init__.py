"""A typed asynchronous client of a running Waypost.

    import asyncio, os, waypost

    async def main() -> None:
        async with waypost.Client("localhost:8080", api_key=os.environ["WAYPOST_API_KEY"]) as client:
            link = await client.create("https://example.com/", alias="talk", tags=["a"])
            async for link in client.list(filter="tag = a"):
                print(link.short_url, link.original_url)

    asyncio.run(main())

Errors are those of `waypost.errors` and the three of its own below, all of them `WaypostError`.
"""

from waypost.client.abuse_model import BlockedLink, Report, ReportCategory
from waypost.client.client import Client
from waypost.client.errors import ClientClosed, RemoteError, Unreachable
from waypost.client.filters import link_filter
from waypost.client.identity_model import AuditEvent, Caller, Key, Member, NewKey, Role, Workspace
from waypost.client.limits_model import (
    Entries,
    ExplainedDescriptor,
    ExplainedLimit,
    LimitAnswer,
    LimitExplanation,
    LimitOverride,
    LimitRule,
    LimitRules,
    LimitStatus,
    LimitUnit,
    RuleLimit,
)
from waypost.client.links import MAX_BATCH
from waypost.client.model import UNSET, DestinationFlag, Link, LinkState, NewLink, Page, Resolution, Unset
from waypost.client.service import Listed

__all__ = [
    "MAX_BATCH",
    "UNSET",
    "AuditEvent",
    "BlockedLink",
    "Caller",
    "Client",
    "ClientClosed",
    "DestinationFlag",
    "Entries",
    "ExplainedDescriptor",
    "ExplainedLimit",
    "Key",
    "LimitAnswer",
    "LimitExplanation",
    "LimitOverride",
    "LimitRule",
    "LimitRules",
    "LimitStatus",
    "LimitUnit",
    "Link",
    "LinkState",
    "Listed",
    "Member",
    "NewKey",
    "NewLink",
    "Page",
    "RemoteError",
    "Report",
    "ReportCategory",
    "Resolution",
    "Role",
    "RuleLimit",
    "Unreachable",
    "Unset",
    "Workspace",
    "link_filter",
]
