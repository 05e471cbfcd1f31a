"""Whole requests: the vectors that every twin replays, and requests made up, decided by both tables alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native.table
from native.limits import MAX, Algorithm, Decision, Limit
from native.request import Elsewhere, Mode, Question, Verdict
from tests.unit.native.twins import TABLES, VECTORS, AnyTable, both_tables, elsewhere_of, questions_of, vectors

START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000


@both_tables
@pytest.mark.parametrize("case", list(vectors("requests")))
def test_vector(make: type[AnyTable], case: dict[str, Any]) -> None:
    table = make()
    for step in case["steps"]:
        verdict = table.decide(questions_of(step), step["at_us"], elsewhere_of(step))
        assert verdict == Verdict(step["admitted"], tuple(Decision(**one) for one in step["decisions"])), step


def test_vectors_stay_within_doubles_and_each_rule_within_its_algorithm_and_window() -> None:
    def parse_int(digits: str) -> int:
        assert int(digits) < 2**53
        return int(digits)

    for case in json.loads((VECTORS / "requests.json").read_text(), parse_int=parse_int)["cases"]:
        kinds: dict[tuple[str, ...], tuple[Algorithm, int]] = {}
        domains = set()
        for step in case["steps"]:
            for question in questions_of(step):
                kind = (question.limit.algorithm, question.limit.window_us)
                assert kinds.setdefault(question.rule, kind) == kind
                domains.add(question.rule[0])
        assert len(domains) <= 1


KINDS = [
    (Algorithm.FIXED_WINDOW, SECOND_US),
    (Algorithm.SLIDING_WINDOW, SECOND_US),
    (Algorithm.TOKEN_BUCKET, 3 * SECOND_US),
    (Algorithm.FIXED_WINDOW, 60 * SECOND_US),
]


@st.composite
def requests(draw: st.DrawFn) -> list[Question]:
    questions = []
    descriptor = 0
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.integers(0, len(KINDS) - 1))
        algorithm, window_us = KINDS[kind]
        descriptor += draw(st.booleans())
        mode = draw(st.integers(0, 7))
        burst = None
        if algorithm is Algorithm.FIXED_WINDOW:
            mode |= draw(st.sampled_from([0, 0, Mode.REFERENCE]))
        elif algorithm is Algorithm.TOKEN_BUCKET:
            burst = draw(st.sampled_from([None, 3, 9]))
        limit = Limit(algorithm, draw(st.sampled_from([0, 1, 3, 5, 7, MAX])), window_us, burst)
        hits = draw(st.sampled_from([1, 1, 1, 2, 3, 0, -1, -2, 8, MAX, -MAX]))
        values = ("name", draw(st.sampled_from("ab")))
        questions.append(Question(("domain", str(kind)), values, limit, hits, descriptor, Mode(mode)))
    return questions


gaps = st.sampled_from([0, 0, 1, -5, 1000, 100_000, 500_000, 1_000_000, -1_000_000, 3_000_000])
elsewheres = st.builds(Elsewhere, st.sampled_from([False, False, True]), st.integers(0, 2), st.integers(0, 2))


@pytest.mark.skipif("compiled" not in TABLES, reason="the compiled core is not there")
@given(st.lists(st.tuples(gaps, requests(), elsewheres, st.sampled_from(["decide"] * 4 + ["look", "take", "reset"]))))
def test_twins_agree(steps: list[tuple[int, list[Question], Elsewhere, str]]) -> None:
    plain, compiled = native.table.Table(1000), TABLES["compiled"](1000)
    now_us = START_US
    for gap_us, questions, elsewhere, operation in steps:
        now_us += gap_us
        if operation == "decide":
            assert compiled.decide(questions, now_us, elsewhere) == plain.decide(questions, now_us, elsewhere)
        elif operation == "look":
            assert compiled.look(questions, now_us) == plain.look(questions, now_us)
        elif operation == "take":
            plain.take(questions, now_us)
            compiled.take(questions, now_us)
        else:
            for question in questions[:1]:
                forgotten = plain.reset(question.rule, question.values)
                assert compiled.reset(question.rule, question.values) == forgotten
        assert len(compiled) == len(plain)


@both_tables
def test_a_decision_is_made_of_plain_types(make: type[AnyTable]) -> None:
    limit = Limit(Algorithm.FIXED_WINDOW, 1, SECOND_US)
    verdict = make().decide([Question(("rule",), ("a",), limit, 2)], START_US)
    (decision,) = verdict.decisions
    assert (type(verdict), type(verdict.admitted), type(decision)) == (Verdict, bool, Decision)
    assert repr(decision) == (f"Decision(allowed=False, remaining=1, reset_after_us={SECOND_US}, retry_after_us=None)")


@both_tables
@pytest.mark.parametrize(
    ("question", "now_us", "error"),
    [
        ({"hits": 2**63}, 0, OverflowError),
        ({"hits": -(2**63)}, 0, OverflowError),
        ({}, 2**63, OverflowError),
        ({}, -1, OverflowError),
        ({"values": ("\ud800",)}, 0, UnicodeEncodeError),
        ({"rule": ("\ud800",)}, 0, UnicodeEncodeError),
    ],
)
def test_what_is_out_of_range_is_refused_and_changes_nothing(
    make: type[AnyTable], question: dict[str, Any], now_us: int, error: type[Exception]
) -> None:
    table = make()
    good = Question(("rule",), ("a",), Limit(Algorithm.FIXED_WINDOW, 1, SECOND_US), 1)
    with pytest.raises(error):
        table.decide([good._replace(**question)], now_us)
    with pytest.raises(error):
        table.take([good._replace(**question)], now_us)
    assert len(table) == 0
    assert table.decide([good], 0).admitted


@both_tables
def test_a_request_of_many_questions_is_one_decision(make: type[AnyTable]) -> None:
    table = make()
    limit = Limit(Algorithm.FIXED_WINDOW, 1, SECOND_US)
    many = [Question(("rule",), (str(number),), limit, 1, number) for number in range(200)]
    assert table.decide(many, START_US).admitted
    again = table.decide([Question(("other",), ("a",), limit, 1, 200), *many[:1]], START_US)
    assert not again.admitted
    assert table.look([Question(("other",), ("a",), limit, 1)], START_US)[0].remaining == 1
