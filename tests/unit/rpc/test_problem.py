"""Errors in JSON: a Status, or a problem that says the same and how HTTP calls it."""

from __future__ import annotations

import time
from http import HTTPStatus

import grpc
import orjson
import pytest
from google.protobuf import json_format
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.support.problems import ASKING, NASTY, NOT_ASKING
from waypost import errors
from waypost.errors import FieldViolation
from waypost.rpc.problem import TITLES, problem_json, status_json, wants_problem
from waypost.rpc.status import RpcStatus, to_status


@pytest.mark.parametrize("text", NASTY)
def test_a_problem_is_the_status_and_what_rfc_9457_adds(text: str) -> None:
    status = to_status(errors.InvalidFields([FieldViolation("title", text)]), "id")
    problem = orjson.loads(problem_json(status, 400))
    assert problem.pop("type") == "about:blank"
    assert problem.pop("title") == "Bad Request"
    assert problem.pop("status") == 400
    assert problem.pop("detail") == problem["message"] == f"title: {text}"
    assert problem.pop("reason") == problem["details"][0]["reason"] == "ERROR_REASON_INVALID_FIELD"
    assert problem == orjson.loads(status_json(status))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_either_form_can_be_read_back(text: str) -> None:
    status = to_status(errors.LinkNotFound(text), "id")
    for data in (status_json(status), problem_json(status, 404)):
        read = json_format.Parse(data, status_pb2.Status(), ignore_unknown_fields=True)
        assert read == status.to_proto()


def test_the_members_of_rfc_9457_come_first() -> None:
    data = problem_json(to_status(errors.LinkBlocked("abc"), "id"), 451)
    assert data.startswith(b'{"type":"about:blank","title":"Unavailable For Legal Reasons","status":451,"detail":')


def test_a_status_without_details_has_an_empty_list_of_them() -> None:
    bare = RpcStatus(grpc.StatusCode.UNKNOWN, "", ())
    assert orjson.loads(status_json(bare)) == {"code": 2, "message": "", "details": []}
    problem = orjson.loads(problem_json(bare, 500))
    assert "reason" not in problem
    assert (problem["detail"], problem["details"]) == ("", [])


def test_a_status_that_nobody_foresaw_has_a_title_too() -> None:
    assert orjson.loads(problem_json(to_status(errors.Draining(), "id"), 599))["title"] == "Error"


@pytest.mark.parametrize("accept", ASKING)
def test_who_names_it_asks_for_it(accept: str) -> None:
    assert wants_problem(accept)


@pytest.mark.parametrize("accept", NOT_ASKING)
def test_nobody_else_does(accept: str) -> None:
    assert not wants_problem(accept)


@pytest.mark.parametrize("part", [",", ";", " ", ";a   ", "application/problem+json;", "application/problem+json;q=0,"])
def test_a_long_header_is_read_in_no_time(part: str) -> None:
    accept = part * (32_000 // len(part)) + "!"
    started = time.process_time()
    wants_problem(accept)
    assert time.process_time() - started < 0.5


def test_titles_are_those_of_http() -> None:
    # This Python has older names of two of them; 499 is none of HTTP's.
    ours = {413: "Content Too Large", 414: "URI Too Long", 499: "Client Closed Request"}
    assert {status: ours.get(status) or HTTPStatus(status).phrase for status in TITLES} == TITLES
