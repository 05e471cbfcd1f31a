"""`waypost links list`: the links that match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from waypost.cli import listing
from waypost.cli.listing import Kind
from waypost.cli.options import Target
from waypost.cli.refusals import OPTIONS
from waypost.cli.show import link_object
from waypost.cli.table import Column
from waypost.client import Client, Link, Listed, link_filter

COLUMNS: Sequence[Column[Link]] = (
    Column("SHORT CODE", lambda link: link.short_code),
    Column("STATE", lambda link: link.state.value),
    Column("CREATED", lambda link: f"{link.created_at:%Y-%m-%d}", worth=3),
    Column("CLICKS", lambda link: f"{link.clicks_used}/{link.max_clicks}" if link.max_clicks else "", worth=2),
    Column("TAGS", lambda link: ", ".join(link.tags), least=8, worth=1),
    Column("TITLE", lambda link: link.title, least=10, worth=4),
    Column("DESTINATION", lambda link: link.original_url, least=16, worth=5),
)

LINKS = Kind("link", COLUMNS, link_object, page_size=500)


def show(
    env: Mapping[str, str],
    target: Target,
    *,
    as_json: bool,
    filter_text: str,
    state: str | None,
    tags: Sequence[str],
    text: str,
    order_by: str,
    limit: int | None,
    everything: bool,
) -> int:
    """Prints the links that match; returns the exit code."""
    short = link_filter(state=state or "", tags=tags, text=text)
    wanted = " AND ".join(part for part in (filter_text, short) if part)
    # Whoever wrote none of it is shown what the position in it refers to.
    names = {**OPTIONS, "filter": f"the filter {wanted}"} if short else OPTIONS

    async def page_after(client: Client, size: int, token: str) -> Listed[Link]:
        page = await client.list_page(filter=wanted, order_by=order_by, page_size=size, page_token=token)
        return Listed(page.links, page.next_page_token)

    return listing.show(
        env, target, LINKS, page_after, as_json=as_json, limit=limit, everything=everything, names=names
    )
