"""Rules and overrides that change under the compiled handlers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from native import Table
from ratelimiter.overrides.live import LiveOverrides
from ratelimiter.reload import RuleWatch
from ratelimiter.rules import Rules
from tests.support.compiled import Compiled, Servicers, check_request, envoy_request, override_digest
from waypost.api.v1 import rate_limit_service_pb2 as pb
from waypost.model import LimitEntry
from waypost.overrides import LimitUnit, LiveOverride, OverrideNumbers, digest_of

RULES = "domain: test\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: LIMIT}}]\n"
MANY = 2**32 - 1


def rules(limit: int, *more: str) -> Rules:
    return Rules.parse(
        {"a.yaml": RULES.replace("LIMIT", str(limit))}
        | {f"{name}.yaml": RULES.replace("LIMIT", "1").replace("test", name) for name in more}
    )


def remaining(compiled: Compiled, hits: int = 1) -> int:
    return int(compiled.ask(False, check_request({"k": "x"}, hits=hits)).statuses[0].remaining)


def test_a_changed_number_keeps_the_count() -> None:
    compiled = Compiled(RULES.replace("LIMIT", "5"))
    assert remaining(compiled, 3) == 2
    compiled.checks.publish(rules(10))
    assert remaining(compiled) == 6
    assert compiled.ask(True, envoy_request({"k": "x"})).statuses[0].current_limit.requests_per_unit == 10


def test_rules_that_were_replaced_leave_nothing_behind() -> None:
    table = Table(1000)
    compiled = Compiled(RULES.replace("LIMIT", "5"), table=table)
    for number in range(100):
        compiled.checks.publish(rules(10 + number, f"d{number}"))
        compiled.checks.look()
    assert len(compiled.checks.answers.sweep()) == 1
    bytes_before = table.memory_bytes
    for number in range(100, 1000):
        compiled.checks.publish(rules(10 + number, f"d{number}"))
        compiled.checks.look()
    assert table.memory_bytes <= bytes_before + 20_000
    assert remaining(compiled) == 1008


def test_threads_answer_while_rules_are_replaced_and_no_decision_is_lost() -> None:
    table = Table(10_000)
    compiled = Compiled(RULES.replace("LIMIT", str(MANY)), table=table)
    compiled.checks.answers.set_time(compiled.limiter.now_us)
    done = Event()
    message = check_request({"k": "x"}).SerializeToString()
    # Many domains at once, so that the table's arrays of rules move under the threads.
    versions = [rules(MANY, *(f"d{number}x{other}" for other in range(10))) for number in range(40)]

    def ask() -> int:
        answered = 0
        while not done.is_set():
            answered += compiled.checks.answers.answer_without_gil(False, message, 5000)
        return answered

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for version in versions:
                compiled.checks.publish(version)
                compiled.checks.look()
                compiled.told.decisions()
        finally:
            done.set()
        answered = sum(one.result() for one in asking)
    compiled.checks.look()
    assert len(compiled.checks.answers.sweep()) == 1
    assert compiled.told.decisions() == {("test.k", "allowed", "local"): answered}
    assert remaining(compiled) == MANY - answered - 1


class Operators:
    """Sets overrides, in force at once."""

    def __init__(self) -> None:
        self.live = LiveOverrides(self)
        self.overrides: dict[bytes, LiveOverride] = {}

    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)

    def set(self, domain: str, limit: int, value: str = "x") -> None:
        numbers = OverrideNumbers(limit, LimitUnit.DAY)
        self.overrides[digest_of(domain, [LimitEntry("k", value)])] = LiveOverride(domain, numbers, None)
        self.live.replace(dict(self.overrides))

    def delete_all(self) -> None:
        self.overrides.clear()
        self.live.replace({})


async def test_descriptors_with_overrides_go_up_for_as_long_as_they_have_them() -> None:
    operators = Operators()
    operators.set("other", 3)
    text = RULES.replace("LIMIT", "5")
    table = Table()
    compiled = Compiled(text, text.replace("test", "other"), overrides=operators.live, table=table)
    servicers = Servicers(text, overrides=operators.live, table=table)
    assert compiled.answer(False, check_request({"k": "x"}, domain="other")) is None
    assert remaining(compiled, 2) == 3
    operators.set("test", 100)
    request = check_request({"k": "x"})
    assert compiled.answer(False, request) is None
    assert compiled.answer(True, envoy_request({"k": "y"}, {"k": "x"})) is None
    answer = await servicers.ask(False, request.SerializeToString())
    assert pb.CheckResponse.FromString(answer).statuses[0].remaining == 97
    assert compiled.answer(False, check_request({"k": "y"})) is not None
    # Rules change, overrides stay.
    compiled.checks.publish(rules(7))
    assert compiled.answer(False, request) is None
    operators.delete_all()
    assert remaining(compiled) == 3
    compiled.checks.look()
    assert len(compiled.checks.answers.sweep()) == 1


def test_each_of_many_overrides_is_found() -> None:
    operators = Operators()
    for number in range(40):
        operators.set("test", 100, f"{'v' * number * 20}{number}")
    compiled = Compiled(RULES.replace("LIMIT", "5"), overrides=operators.live)
    for number in range(40):
        value = f"{'v' * number * 20}{number}"
        assert compiled.answer(False, check_request({"k": value})) is None
        assert compiled.answer(False, check_request({"k": value + "0"})) is not None


@given(st.binary(max_size=255), st.binary(max_size=255), st.binary(max_size=600))
def test_descriptors_are_known_by_the_digests_of_overrides(domain: bytes, key: bytes, value: bytes) -> None:
    texts = [text.decode("latin-1") for text in (domain, key, value)]
    expected = digest_of(texts[0], [LimitEntry(texts[1], texts[2])])
    assert override_digest(*(text.encode() for text in texts)) == expected


async def test_a_reload_puts_new_rules_in_force_for_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULES.replace("LIMIT", "5"))
    watch = RuleWatch(tmp_path)
    compiled = Compiled(RULES.replace("LIMIT", "5"))
    watch.follow(compiled.checks.prepare)
    (tmp_path / "a.yaml").write_text(RULES.replace("LIMIT", "8"))
    watch.ask()
    await watch.look()
    assert watch.book.generation == 2
    assert remaining(compiled) == 7
    (tmp_path / "a.yaml").write_text("domain: [")
    watch.ask()
    await watch.look()
    assert (watch.book.generation, watch.book.failures) == (2, 1)
    assert remaining(compiled) == 6


async def test_what_cannot_be_put_in_force_for_both_is_so_for_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(RULES.replace("LIMIT", "5"))
    watch = RuleWatch(tmp_path)

    def fails(_: Rules) -> None:
        raise MemoryError

    watch.follow(fails)  # type: ignore[arg-type]
    before = watch.book.rules
    watch.ask()
    with structlog.testing.capture_logs() as logged:
        await watch.look()
    assert watch.book.rules is before
    assert (watch.book.generation, watch.book.failures) == (1, 1)
    assert "MemoryError" in watch.book.problems[0]
    assert {line["log_level"] for line in logged} == {"error"}
