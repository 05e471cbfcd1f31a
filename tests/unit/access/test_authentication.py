"""Who calls: by key, by token or by neither, in which workspace, and what is refused how."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_credentials import NOW, PEPPER, MemoryCredentials, NamedTokens
from waypost.access.api_keys import ApiKey, new_key
from waypost.access.authentication import MAX_AGE, Authenticator, Presented
from waypost.access.failures import Failures
from waypost.access.identity import ANONYMOUS, ROLE_SCOPES, Identity, Membership, Role, Scope
from waypost.errors import (
    DependencyUnavailable,
    InvalidFields,
    Overloaded,
    RateLimited,
    ResourceNotFound,
    Unauthenticated,
    WaypostError,
)
from waypost.model import DEFAULT_WORKSPACE

ADDRESS = "192.0.2.7"
OTHER = UUID(int=2)
ALLOWED = 5
"""Wrong credentials for which an address is listened to."""


AGED = MAX_AGE + 0.001


class Clock:
    """A time of day that stands still until it is told."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


class World:
    """An authenticator and everything it asks, in memory; `seconds` is the time by which what it knows gets old."""

    def __init__(self, peppers: tuple[bytes, ...] = (PEPPER,), *, database: bool = True, tokens: bool = True) -> None:
        self.store = MemoryCredentials(workspaces={DEFAULT_WORKSPACE, OTHER})
        self.tokens = NamedTokens()
        self.clock = Clock()
        self.seconds = 1000.0
        self.authenticator = Authenticator(
            self.store if database else None,
            peppers,
            self.tokens if tokens else None,
            frozenset({"root"}),
            self.clock,
            Failures(ALLOWED, lambda: int(self.seconds * 1_000_000)),
        )
        for cache in (self.authenticator._keys, self.authenticator._memberships, self.authenticator._workspaces):
            cache._now = lambda: self.seconds

    async def by_key(self, key: ApiKey | str, workspace: str = "", address: str = ADDRESS) -> Identity:
        text = key if isinstance(key, str) else key.text
        return await self.authenticator.identify(Presented(key=text, workspace=workspace), address)

    async def by_token(self, subject: str, workspace: str = "", address: str = ADDRESS) -> Identity:
        return await self.authenticator.identify(Presented(token=f"token-of-{subject}", workspace=workspace), address)


@pytest.fixture
async def world() -> World:
    return World()


async def turn() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


# What was presented


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ([], Presented()),
        ([("user-agent", "x"), ("x-api-keys", "y")], Presented()),
        ([("x-api-key", "k")], Presented(key="k")),
        ([("x-api-key", "k"), ("x-api-key", "k")], Presented(key="k")),
        ([("x-api-key", b"k")], Presented(key="k")),
        ([("authorization", "Bearer t")], Presented(token="t")),
        ([("authorization", "bearer t")], Presented(token="t")),
        ([("authorization", "BEARER  t ")], Presented(token="t")),
        ([("x-workspace", "w"), ("x-workspace", "w")], Presented(workspace="w")),
        ([("authorization", "Bearer t"), ("x-workspace", "w")], Presented(token="t", workspace="w")),
        ([("x-workspace", "")], Presented()),
    ],
)
def test_credentials_are_read_from_their_headers(metadata: list[tuple[str, str | bytes]], found: Presented) -> None:
    assert Presented.of(metadata) == found


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ([("x-api-key", "secret-a"), ("x-api-key", "secret-b")], "x-api-key comes with two values"),
        ([("x-api-key", "secret-a"), ("x-api-key", "")], "x-api-key comes with two values"),
        ([("authorization", "Bearer secret-a"), ("authorization", "Bearer secret-b")], "authorization comes with two"),
        ([("authorization", "Bearer secret-a"), ("authorization", "bearer secret-a")], "authorization comes with two"),
        ([("x-api-key", "secret-k"), ("authorization", "Bearer secret-t")], "came together"),
        ([("x-api-key", "secret-k"), ("authorization", "Basic secret-t")], "came together"),
        ([("authorization", "Basic secret-t")], "must be `Bearer <token>`"),
        ([("authorization", "secret-t")], "must be `Bearer <token>`"),
        ([("authorization", "Bearer")], "must be `Bearer <token>`"),
        ([("authorization", "Bearer ")], "must be `Bearer <token>`"),
        ([("authorization", " ")], "authorization is empty"),
        ([("authorization", "")], "authorization is empty"),
        ([("x-api-key", "")], "x-api-key is empty"),
        ([("x-api-key", "secret-k"), ("authorization", "")], "authorization is empty"),
        ([("authorization", " Bearer secret-t")], "must be `Bearer <token>`"),
        ([("authorization", "Bearer\tsecret-t")], "must be `Bearer <token>`"),
        ([("authorization", "Bearer\u00a0secret-t")], "must be `Bearer <token>`"),
        ([("authorization", "Token secret-t")], "an API key goes in x-api-key"),
    ],
)
def test_what_is_not_clear_is_refused_without_a_word_of_it(metadata: list[tuple[str, str | bytes]], why: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        Presented.of(metadata)
    assert why in caught.value.why
    assert "secret" not in str(caught.value)


def test_two_workspaces_are_a_wrong_field() -> None:
    with pytest.raises(InvalidFields) as caught:
        Presented.of([("x-workspace", "a"), ("x-workspace", "b")])
    assert [violation.field for violation in caught.value.violations] == ["x-workspace"]


names = st.sampled_from(["x-api-key", "authorization", "x-workspace", "user-agent", "X-Api-Key"])
values = st.one_of(st.text(max_size=20), st.binary(max_size=20), st.sampled_from(["Bearer t", "bearer t", "", "k"]))


@given(st.lists(st.tuples(names, values), max_size=6))
def test_any_metadata_is_read_or_refused(metadata: list[tuple[str, str | bytes]]) -> None:
    try:
        found = Presented.of(metadata)
    except (Unauthenticated, InvalidFields):
        return
    assert not (found.key and found.token), "never both"
    given_keys = {
        value if isinstance(value, str) else value.decode("latin-1") for name, value in metadata if name == "x-api-key"
    }
    assert given_keys <= {found.key}, "never one of two"


# Nobody


async def test_without_credentials_the_caller_is_anonymous(world: World) -> None:
    assert await world.authenticator.identify(Presented(), ADDRESS) == Identity(ANONYMOUS, address=ADDRESS)
    assert world.store.reads == 0


async def test_who_names_a_workspace_meant_to_bring_credentials(world: World) -> None:
    with pytest.raises(Unauthenticated, match="x-workspace names a workspace"):
        await world.authenticator.identify(Presented(workspace=str(DEFAULT_WORKSPACE)), ADDRESS)


# Keys


@pytest.mark.parametrize("role", Role)
async def test_a_key_stands_for_its_workspace_and_scopes(world: World, role: Role) -> None:
    key = world.store.add_key(role, OTHER, scopes=[Scope.LINKS_READ])
    expected = Identity(f"key:{key.key_id}", OTHER, role, frozenset({Scope.LINKS_READ}), ADDRESS)
    assert await world.by_key(key) == expected


async def test_an_unknown_key_and_a_wrong_secret_are_told_the_same(world: World) -> None:
    known = world.store.add_key()
    said = set()
    for key in (new_key(), ApiKey(known.key_id, new_key().secret)):
        with pytest.raises(Unauthenticated) as caught:
            await world.by_key(key)
        said.add(caught.value.why)
    assert said == {"the API key is not known"}


async def test_what_looks_like_no_key_does_not_reach_the_store(world: World) -> None:
    for text in ("x", "wp_short.secret", "Bearer x", "wp_" + "a" * 16 + "." + "b" * 42):
        with pytest.raises((Unauthenticated, RateLimited)):
            await world.by_key(text)
    assert world.store.reads == 0


async def test_a_revoked_key_is_refused_within_the_bound(world: World) -> None:
    key = world.store.add_key()
    await world.by_key(key)
    world.store.revoke(key)
    world.seconds += AGED
    with pytest.raises(Unauthenticated, match="has been revoked"):
        await world.by_key(key)


async def test_a_key_of_which_one_knows_the_id_only_is_not_told_to_be_revoked(world: World) -> None:
    key = world.store.add_key()
    world.store.revoke(key)
    with pytest.raises(Unauthenticated, match="is not known"):
        await world.by_key(ApiKey(key.key_id, new_key().secret))


async def test_an_expired_key_is_refused_at_its_instant_though_it_is_cached(world: World) -> None:
    key = world.store.add_key(expires_at=NOW + timedelta(seconds=60))
    await world.by_key(key)
    reads = world.store.reads
    world.clock.time = NOW + timedelta(seconds=60)
    with pytest.raises(Unauthenticated, match="has expired"):
        await world.by_key(key)
    assert world.store.reads == reads


async def test_a_new_key_counts_at_once_though_it_was_asked_for_before(world: World) -> None:
    key = world.store.add_key()
    record = world.store.keys.pop(key.key_id)
    with pytest.raises(Unauthenticated):
        await world.by_key(key)
    world.store.keys[key.key_id] = record
    assert await world.by_key(key)


async def test_keys_that_there_are_not_push_out_none_that_there_is(world: World) -> None:
    key = world.store.add_key()
    await world.by_key(key)
    for number in range(20):
        with pytest.raises(Unauthenticated):
            await world.by_key(new_key(), address=f"192.0.2.{number}")
    assert len(world.authenticator._keys) == 1


async def test_peppers_can_be_changed_while_keys_of_both_count() -> None:
    old, new = b"o" * 32, b"n" * 32
    world = World((new, old))
    assert await world.by_key(world.store.add_key(pepper=old))
    assert await world.by_key(world.store.add_key(pepper=new))
    world = World((new,))
    assert await world.by_key(world.store.add_key(pepper=new))
    with pytest.raises(Unauthenticated):
        await world.by_key(world.store.add_key(pepper=old))


async def test_without_a_pepper_or_without_a_database_no_key_counts() -> None:
    world = World(())
    with pytest.raises(Unauthenticated):
        await world.by_key(world.store.add_key())
    world = World(database=False)
    with pytest.raises(Unauthenticated, match="no database"):
        await world.by_key(world.store.add_key())


async def test_while_the_store_is_away_known_keys_count_for_their_age_and_others_are_not_refused_as_wrong(
    world: World,
) -> None:
    known, other = world.store.add_key(), world.store.add_key()
    await world.by_key(known)
    world.store.away = True
    assert await world.by_key(known)
    for _ in range(2 * ALLOWED):
        with pytest.raises(DependencyUnavailable):
            await world.by_key(other)
    world.seconds += AGED
    with pytest.raises(DependencyUnavailable):
        await world.by_key(known)
    world.store.away = False
    assert await world.by_key(other), "nothing was counted against the address"


# Guesses


async def test_guesses_of_an_address_are_bounded_and_known_keys_still_pass(world: World) -> None:
    key = world.store.add_key()
    await world.by_key(key)
    for _ in range(ALLOWED):
        with pytest.raises(Unauthenticated):
            await world.by_key(new_key())
    reads = world.store.reads
    with pytest.raises(RateLimited) as caught:
        await world.by_key(new_key())
    assert caught.value.rule == "failed_credentials"
    assert (caught.value.retry_after or 0) > 0
    assert world.store.reads == reads, "the store is not asked"
    assert await world.by_key(key), "who shares the address and is known passes"
    world.seconds += AGED
    assert await world.by_key(key), "also when it is to be read again"
    with pytest.raises(Unauthenticated):
        await world.by_key(new_key(), address="198.51.100.1")


@pytest.mark.parametrize("kind", ["malformed", "secret", "token"])
async def test_every_kind_of_guess_counts(world: World, kind: str) -> None:
    known = world.store.add_key()

    async def guess() -> None:
        match kind:
            case "malformed":
                await world.by_key("wp_no.key")
            case "secret":
                await world.by_key(ApiKey(known.key_id, new_key().secret))
            case "token":
                await world.authenticator.identify(Presented(token="forged"), ADDRESS)

    for _ in range(ALLOWED):
        with pytest.raises(Unauthenticated):
            await guess()
    with pytest.raises(RateLimited):
        await guess()


async def test_who_has_the_secret_of_a_key_that_counts_no_more_guesses_nothing(world: World) -> None:
    key = world.store.add_key()
    world.store.revoke(key)
    for _ in range(2 * ALLOWED):
        with pytest.raises(Unauthenticated, match="has been revoked"):
            await world.by_key(key)


async def test_guesses_at_once_are_bounded_as_those_one_after_the_other(world: World) -> None:
    world.store.go.clear()
    guesses = [asyncio.create_task(world.by_key(new_key())) for _ in range(10 * ALLOWED)]
    await turn()
    world.store.go.set()
    found = await asyncio.gather(*guesses, return_exceptions=True)
    assert [type(one) for one in found].count(Unauthenticated) == ALLOWED
    assert [type(one) for one in found].count(RateLimited) == 9 * ALLOWED


async def test_who_never_waits_for_the_answer_guesses_no_more_often(world: World) -> None:
    world.store.go.clear()
    for _ in range(10 * ALLOWED):
        guess = asyncio.create_task(world.by_key(new_key()))
        await turn()
        guess.cancel()
        with contextlib.suppress(asyncio.CancelledError, RateLimited):
            await guess
    assert len(world.authenticator._keys._reads) <= ALLOWED
    world.store.go.set()


async def test_strangers_from_everywhere_wait_in_a_line_that_ends(world: World) -> None:
    world.store.go.clear()
    strangers = [asyncio.create_task(world.by_key(new_key(), address=f"10.0.{n // 256}.{n % 256}")) for n in range(500)]
    await turn()
    assert len(world.authenticator._keys._reads) <= 100
    world.store.go.set()
    found = {type(one) for one in await asyncio.gather(*strangers, return_exceptions=True)}
    assert found == {Unauthenticated, Overloaded}


async def test_strangers_take_few_of_the_connections_and_known_keys_need_not_wait_for_them(world: World) -> None:
    key = world.store.add_key()
    await world.by_key(key)
    world.store.go.clear()
    world.store.most_at_a_time = 0
    strangers = [asyncio.create_task(world.by_key(new_key(), address=f"192.0.2.{n}")) for n in range(50)]
    await turn()
    assert world.store.at_a_time == 2
    world.seconds += AGED
    again = asyncio.create_task(world.by_key(key))
    await turn()
    assert world.store.at_a_time == 3, "read at once, past the strangers"
    world.store.go.set()
    assert await again
    for stranger in strangers:
        with pytest.raises(Unauthenticated):
            await stranger


async def test_secrets_stand_in_no_error(world: World) -> None:
    known = world.store.add_key()
    wrong = ApiKey(known.key_id, new_key().secret)
    malformed = known.text + "x"
    for text in (wrong.text, malformed):
        with pytest.raises(Unauthenticated) as caught:
            await world.by_key(text)
        shown = "".join(traceback.format_exception(caught.value))
        assert wrong.secret not in shown
        assert known.secret not in shown
    with pytest.raises(Unauthenticated) as caught:
        await world.authenticator.identify(Presented(token="forged-secret"), ADDRESS)
    assert "forged-secret" not in str(caught.value)


# Workspaces


async def test_a_key_runs_in_its_own_workspace_only(world: World) -> None:
    for role in (Role.VIEWER, Role.EDITOR, Role.OWNER):
        key = world.store.add_key(role)
        assert (await world.by_key(key, str(DEFAULT_WORKSPACE))).workspace_id == DEFAULT_WORKSPACE
        for elsewhere in (OTHER, UUID(int=99)):
            with pytest.raises(ResourceNotFound) as caught:
                await world.by_key(key, str(elsewhere))
            assert caught.value.type == "workspace", "there or not: told the same"


async def test_an_operators_key_runs_in_any_workspace_that_there_is(world: World) -> None:
    key = world.store.add_key(Role.OPERATOR)
    assert (await world.by_key(key)).workspace_id == DEFAULT_WORKSPACE
    found = await world.by_key(key, str(OTHER))
    assert (found.workspace_id, found.role) == (OTHER, Role.OPERATOR)
    with pytest.raises(ResourceNotFound):
        await world.by_key(key, str(UUID(int=99)))


@pytest.mark.parametrize("named", ["default", "1", "x" * 36, "{00000000-0000-0000-0000-000000000001}", "' OR true --"])
async def test_a_workspace_is_named_by_its_id(world: World, named: str) -> None:
    world.store.members["ada"] = [Membership(DEFAULT_WORKSPACE, Role.OWNER)]
    for call in (
        world.by_key(world.store.add_key(), named),
        world.by_token("ada", named),
        world.by_token("root", named),
    ):
        with pytest.raises(InvalidFields) as caught:
            await call
        assert [violation.field for violation in caught.value.violations] == ["x-workspace"]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.OWNER])
async def test_a_member_of_one_workspace_is_in_it(world: World, role: Role) -> None:
    world.store.members["ada"] = [Membership(OTHER, role)]
    expected = Identity("user:ada", OTHER, role, ROLE_SCOPES[role], ADDRESS)
    assert await world.by_token("ada") == expected
    assert await world.by_token("ada", str(OTHER)) == expected


async def test_a_member_of_several_names_one(world: World) -> None:
    world.store.members["ada"] = [Membership(DEFAULT_WORKSPACE, Role.VIEWER), Membership(OTHER, Role.OWNER)]
    assert await world.by_token("ada") == Identity("user:ada", address=ADDRESS, workspaces=2)
    assert (await world.by_token("ada", str(OTHER))).role is Role.OWNER
    assert (await world.by_token("ada", str(DEFAULT_WORKSPACE))).role is Role.VIEWER


async def test_somebody_elses_workspace_is_as_one_that_is_not_there(world: World) -> None:
    world.store.members["ada"] = [Membership(DEFAULT_WORKSPACE, Role.OWNER)]
    for subject in ("ada", "nobody"):
        for elsewhere in (OTHER, UUID(int=99)):
            with pytest.raises(ResourceNotFound):
                await world.by_token(subject, str(elsewhere))


async def test_a_member_of_none_is_known_and_in_none(world: World) -> None:
    assert await world.by_token("nobody") == Identity("user:nobody", address=ADDRESS)


async def test_an_operator_is_one_in_every_workspace_that_there_is(world: World) -> None:
    world.store.members["root"] = [Membership(OTHER, Role.VIEWER)]
    found = await world.by_token("root")
    assert (found.workspace_id, found.role, found.scopes) == (DEFAULT_WORKSPACE, Role.OPERATOR, frozenset(Scope))
    assert (await world.by_token("root", str(OTHER))).role is Role.OPERATOR
    with pytest.raises(ResourceNotFound):
        await world.by_token("root", str(UUID(int=99)))


async def test_an_operator_is_one_without_a_database_too() -> None:
    """A rate limiter by itself has none, but rules to be listed and counters to be reset."""
    world = World(database=False)
    found = await world.by_token("root")
    assert (found.workspace_id, found.role, found.scopes) == (DEFAULT_WORKSPACE, Role.OPERATOR, frozenset(Scope))
    with pytest.raises(Unauthenticated, match="no database"):
        await world.by_token("root", str(OTHER))


async def test_who_is_no_member_any_more_is_refused_within_the_bound(world: World) -> None:
    world.store.members["ada"] = [Membership(DEFAULT_WORKSPACE, Role.OWNER)]
    assert (await world.by_token("ada")).role is Role.OWNER
    world.store.members["ada"] = []
    world.seconds += AGED
    assert (await world.by_token("ada")).role is None


async def test_the_names_of_people_and_keys_cannot_be_taken_for_each_other(world: World) -> None:
    key = world.store.add_key()
    principals = {(await world.by_key(key)).principal, (await world.by_token(f"key:{key.key_id}")).principal}
    assert principals == {f"key:{key.key_id}", f"user:key:{key.key_id}"}
    assert (await world.by_token(ANONYMOUS)).principal == "user:anonymous"


async def test_without_an_issuer_there_are_no_tokens() -> None:
    with pytest.raises(Unauthenticated, match="use an API key in x-api-key"):
        await World(tokens=False).by_token("ada")


async def test_without_a_database_a_person_is_a_member_of_nothing() -> None:
    assert await World(database=False).by_token("ada") == Identity("user:ada", address=ADDRESS)


# When keys were used


async def test_used_keys_are_noted_once_together_and_wrong_ones_never(world: World) -> None:
    keys = [world.store.add_key() for _ in range(3)]
    for key in [*keys, *keys]:
        await world.by_key(key)
    with contextlib.suppress(WaypostError):
        await world.by_key(new_key())
    await world.authenticator.note_used()
    await world.authenticator.note_used()
    assert world.store.used == [sorted(key.key_id for key in keys)]


async def test_what_could_not_be_noted_is_noted_the_next_time(world: World) -> None:
    first, second = world.store.add_key(), world.store.add_key()
    await world.by_key(first)
    await world.by_key(second)
    world.store.away = True
    await world.authenticator.note_used()
    world.store.away = False
    await world.authenticator.note_used()
    assert world.store.used == [sorted([first.key_id, second.key_id])]
