"""A typed asynchronous client of a running Waypost.

    import asyncio, waypost

    async def main() -> None:
        async with waypost.Client("localhost:8080") as client:
            link = await client.create("https://example.com/", alias="talk", tags=["a"])
            async for link in client.list(filter="tag = a"):
                print(link.short_url, link.original_url)

    asyncio.run(main())

Errors are those of `waypost.errors` and the three of its own below, all of them `WaypostError`.
"""

from waypost.client.client import MAX_BATCH, Client
from waypost.client.errors import ClientClosed, RemoteError, Unreachable
from waypost.client.filters import link_filter
from waypost.client.model import UNSET, DestinationFlag, Link, LinkState, NewLink, Page, Resolution, Unset

__all__ = [
    "MAX_BATCH",
    "UNSET",
    "Client",
    "ClientClosed",
    "DestinationFlag",
    "Link",
    "LinkState",
    "NewLink",
    "Page",
    "RemoteError",
    "Resolution",
    "Unreachable",
    "Unset",
    "link_filter",
]
