"""Bringing the schema up to date, with a database that the test plays."""

from collections.abc import Awaitable, Callable, Iterable

import asyncpg
import pytest

from waypost.adapters import migrate as module
from waypost.backoff import Backoff
from waypost.supervisor import schema
from waypost.supervisor.errors import CannotStart


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """What the database answers to one try after the other; None: it does what it is asked."""
    left: list[Exception | None] = []

    async def migrate(_: str) -> list[str]:
        if (answer := left.pop(0)) is not None:
            raise answer
        return []

    monkeypatch.setattr(module, "migrate", migrate)
    monkeypatch.setattr(schema, "RETRIES", Backoff(base=0, cap=0))
    return left


def _first_key(urls: list[str], failures: Iterable[Exception] = ()) -> Callable[[str], Awaitable[None]]:
    """Notes for which database it was asked for a first key, after it has failed as told."""
    left = list(failures)

    async def first_key(url: str) -> None:
        if left:
            raise left.pop(0)
        urls.append(url)

    return first_key


async def test_a_database_that_is_not_there_yet_is_tried_again(answers: list[Exception | None]) -> None:
    answers += [ConnectionRefusedError(), TimeoutError(), asyncpg.CannotConnectNowError("starting up"), None]
    notes: list[str] = []
    urls: list[str] = []
    await schema.bring_up_to_date("postgresql://", {}, notes.append, _first_key(urls))
    assert notes == [
        "the database (ConnectionRefusedError)",
        "the database (TimeoutError)",
        "the database (starting up)",
    ]
    # Once the schema is what it should be, and not before.
    assert urls == ["postgresql://"]


async def test_a_database_that_goes_before_the_first_key_is_made_is_tried_again(
    answers: list[Exception | None],
) -> None:
    answers += [None, None]
    notes: list[str] = []
    urls: list[str] = []
    failures = [ConnectionResetError("gone")]
    await schema.bring_up_to_date("postgresql://", {}, notes.append, _first_key(urls, failures))
    assert (notes, urls) == (["the database (gone)"], ["postgresql://"])


async def test_what_keeps_the_first_key_from_being_made_is_told(answers: list[Exception | None]) -> None:
    answers.append(None)
    failures = [CannotStart("operator-key does not hold an API key")]
    with pytest.raises(CannotStart, match="operator-key"):
        await schema.bring_up_to_date("postgresql://", {}, pytest.fail, _first_key([], failures))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (lambda: module.SchemaTooNew(9, 4), 2, "newer Waypost"),
        (lambda: module.MigrationTimedOut("0001_roles", 60), 1, "did not get its locks"),
        (lambda: asyncpg.InvalidPasswordError("wrong"), 2, "WAYPOST_DATABASE_URL: wrong"),
        (lambda: asyncpg.InvalidCatalogNameError("no such"), 2, "WAYPOST_DATABASE_URL: no such"),
        (lambda: asyncpg.InsufficientPrivilegeError("denied"), 2, "needs to own the database"),
    ],
)
async def test_what_waiting_does_not_mend_is_told(
    answers: list[Exception | None], error: Callable[[], Exception], code: int, words: str
) -> None:
    answers.append(error())
    with pytest.raises(CannotStart, match=words) as caught:
        await schema.bring_up_to_date("postgresql://", {}, pytest.fail, _first_key([]))
    assert caught.value.exit_code == code
