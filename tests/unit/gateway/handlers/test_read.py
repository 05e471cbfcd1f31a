"""Reading one link, and lists of them."""

from __future__ import annotations

from uuid import UUID

import pytest

from gateway.redirects import NOT_FOUND
from tests.support.memory_storage import NOW
from tests.unit.gateway.world import CALLER, World, fields_of
from waypost.errors import DependencyUnavailable, InvalidFields, LinkNotFound
from waypost.listing import Cursor, LinkFilter, ListQuery, Order
from waypost.model import DEFAULT_WORKSPACE, Link, LinkState, Redirect

# Reading


async def test_link_is_given_in_whatever_state(world: World) -> None:
    link = await world.create(alias="spring")
    assert await world.get("spring") == link
    deleted = await world.delete("spring")
    assert await world.get("spring") == deleted


async def test_unknown_link_is_not_found(world: World) -> None:
    await world.create(alias="spring")
    for code in ("summer", "Spring"):
        with pytest.raises(LinkNotFound):
            await world.get(code)
        with pytest.raises(LinkNotFound):
            await world.delete(code)
        assert await world.redirects.look(code) == NOT_FOUND


@pytest.mark.parametrize("code", ["ab", "x" * 65, "a b c", "-abc", "abc+", "abc/def", "abc\n", "abc\0", "ä" * 7, ".."])
async def test_hopeless_codes_do_not_touch_the_storage(world: World, code: str) -> None:
    with pytest.raises(LinkNotFound):
        await world.get(code)
    with pytest.raises(LinkNotFound):
        await world.delete(code)
    assert await world.redirects.look(code) == NOT_FOUND
    assert world.storage.asked == []


async def test_empty_code_is_a_wrong_field(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.get("")
    assert fields_of(caught.value) == ["short_code"]
    with pytest.raises(InvalidFields):
        await world.delete("")
    assert await world.redirects.look("") == NOT_FOUND


async def test_storage_that_is_away_is_said_so(world: World) -> None:
    async def away(workspace_id: UUID, short_code: str) -> Link | None:
        raise DependencyUnavailable("postgres")

    world.storage.get_link = away  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable):
        await world.get("spring")

    async def away_too(short_code: str) -> Redirect | None:
        raise DependencyUnavailable("postgres")

    world.storage.read_redirect = away_too  # type: ignore[method-assign]
    with pytest.raises(DependencyUnavailable):
        await world.redirects.look("spring")


# Lists


async def test_page_and_the_token_of_the_next(world: World) -> None:
    link = await world.create(alias="spring")
    asked = {"filter_text": "state = active", "order_by": "", "size": 1, "page_token": ""}
    links, token = await world.links.page(CALLER, **asked)  # type: ignore[arg-type]
    assert (list(links), token) == ([link], "")
    world.storage.next_page = Cursor(NOW, 17)
    _, token = await world.links.page(CALLER, **asked)  # type: ignore[arg-type]
    assert token
    await world.links.page(CALLER, **{**asked, "page_token": token})  # type: ignore[arg-type]
    query = ListQuery(LinkFilter(LinkState.ACTIVE), Order(), 1, Cursor(NOW, 17))
    assert world.storage.lists[-1] == (DEFAULT_WORKSPACE, query, NOW)


async def test_every_wrong_argument_of_a_list_is_named(world: World) -> None:
    with pytest.raises(InvalidFields) as caught:
        await world.links.page(CALLER, filter_text="colour = red", order_by="beauty", size=-1, page_token="")
    assert sorted(fields_of(caught.value)) == ["filter", "order_by", "page_size"]
    assert world.storage.lists == []
