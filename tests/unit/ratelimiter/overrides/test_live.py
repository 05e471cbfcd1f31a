"""The overrides in force: found by exactly their descriptor, until their time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from native import Table
from ratelimiter.handlers import Checker
from ratelimiter.overrides.live import LiveOverrides
from ratelimiter.requests import Descriptor, LimitNumbers, LimitRequest
from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import Rules
from waypost.model import LimitEntry
from waypost.overrides import LimitUnit, LiveOverride, OverrideNumbers, digest_of

NOW = datetime(2031, 1, 1, tzinfo=UTC)
ALICE = (LimitEntry("route", "buy"), LimitEntry("key", "alice"))
BOB = (LimitEntry("route", "buy"), LimitEntry("key", "bob"))


class Standing:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


def live(*overrides: tuple[tuple[LimitEntry, ...], OverrideNumbers | None, datetime | None]) -> LiveOverrides:
    made = LiveOverrides(Standing())
    made.replace({digest_of("shop", one): LiveOverride("shop", numbers, end) for one, numbers, end in overrides})
    return made


def test_an_override_is_for_its_descriptor_alone() -> None:
    found = live((ALICE, OverrideNumbers(5, LimitUnit.DAY, 9), None), (BOB, None, None))
    assert found.find("shop", ALICE) == LimitNumbers(5, 86_400_000_000, 9)
    assert found.find("shop", BOB) == LimitNumbers(None, 0)
    assert found.find("other", ALICE) is None
    assert found.find("shop", ALICE[:1]) is None
    assert found.find("shop", ALICE[::-1]) is None
    assert found.find("shop", (*ALICE, LimitEntry("key", ""))) is None
    assert found.find("shop", (LimitEntry("routeb", "uy"), ALICE[1])) is None
    assert found.count() == 2
    found.replace({})
    assert (found.find("shop", ALICE), found.count()) == (None, 0)


def test_it_counts_for_nothing_from_the_instant_at_which_it_ends() -> None:
    clock = Standing()
    found = LiveOverrides(clock)
    numbers = OverrideNumbers(5, LimitUnit.DAY)
    found.replace({digest_of("shop", ALICE): LiveOverride("shop", numbers, NOW + timedelta(seconds=1))})
    assert found.find("shop", ALICE) is not None
    clock.at += timedelta(microseconds=999_999)
    assert (found.find("shop", ALICE) is not None, found.count()) == (True, 1)
    clock.at += timedelta(microseconds=1)
    assert (found.find("shop", ALICE), found.count()) == (None, 0)


def test_a_digest_is_that_of_earlier_releases() -> None:
    """It is stored: another one would be another override for the same descriptor."""
    assert digest_of("shop", ALICE).hex() == "9835f990f75df9d147585a38e31d5a78cb687f7be1e679bd575e79e5e855b861"


def test_units_are_those_of_rules() -> None:
    from ratelimiter.rulelimits import UNITS

    assert {unit.value: unit.seconds for unit in LimitUnit} == UNITS


async def test_decisions_go_by_it_and_the_count_goes_on() -> None:
    rule = "{unit: minute, requests_per_unit: 2}"
    rules = Rules.parse(
        {"shop.yaml": f"domain: shop\ndescriptors: [{{key: route, descriptors: [{{key: key, rate_limit: {rule}}}]}}]"}
    )
    found = live()
    checker = Checker(RuleBook(rules, NOW), Table(), lambda: 1_700_000_000_000_000, overrides=found)

    async def remaining(entries: tuple[LimitEntry, ...], domain: str = "shop") -> int | None:
        result = await checker.check(LimitRequest(domain, (Descriptor(entries),)))
        return result.statuses[0].remaining if result.allowed else None

    assert [await remaining(ALICE) for _ in range(3)] == [1, 0, None]
    found.replace({digest_of("shop", ALICE): LiveOverride("shop", OverrideNumbers(10, LimitUnit.MINUTE), None)})
    assert [await remaining(ALICE), await remaining(BOB)] == [7, 1]
    found.replace({digest_of("shop", ALICE): LiveOverride("shop", OverrideNumbers(0, LimitUnit.MINUTE), None)})
    assert [await remaining(ALICE), await remaining(BOB)] == [None, 0]
    found.replace({digest_of("shop", ALICE): LiveOverride("shop", None, None)})
    assert await remaining(ALICE) == 2**32 - 1
    found.replace({})
    assert await remaining(ALICE) is None


def test_how_many_there_are_is_exported() -> None:
    from ratelimiter.app import watch_overrides

    registry = CollectorRegistry()
    watch_overrides(registry, live((ALICE, None, None), (BOB, None, NOW)))
    assert registry.get_sample_value("ratelimit_overrides") == 1
