"""`waypost abuse`."""

from __future__ import annotations

import re

from tests.unit.cli.conftest import Command, fresh
from tests.unit.cli.test_identity import NASTY, PLAIN


def test_reports(waypost: Command) -> None:
    code = fresh()
    address = f"https://go.example/{code}"
    report_id = waypost.said("abuse", "report", address, "--category", "phishing", "--comment", "a bank").strip()
    assert re.fullmatch(r"[0-9a-f-]{36}", report_id)
    assert set(waypost.json("abuse", "report", code)) == {"report_id"}
    table = waypost.said("abuse", "reports", "--link", f"{address}+")
    assert table.splitlines()[0].split() == ["ID", "LINK", "CATEGORY", "REPORTED", "COMMENT", "DESTINATION"]
    assert re.search(rf"^{report_id}  {code} +phishing +2031-01-01  a bank +https://example.com/$", table, re.MULTILINE)
    assert waypost.said("abuse", "close", report_id) == f"closed {report_id}, of {code}\n"
    assert waypost.json("abuse", "close", report_id)["category"] == "REPORT_CATEGORY_PHISHING"
    (closed,) = waypost.json("abuse", "reports", "--closed", "--link", code)
    assert (closed["report_id"], "closed_at" in closed) == (report_id, True)
    assert waypost.refused("abuse", "report", "nobody") == "no link has the short code 'nobody'"
    assert waypost.refused("abuse", "close", "none") == "no report 'none' here"


def test_blocking(waypost: Command) -> None:
    code = fresh()
    waypost.said("abuse", "report", code)
    assert waypost.said("abuse", "block", f"https://go.example/{code}", "--reason", "a bank") == f"blocked {code}\n"
    assert waypost.json("abuse", "reports", "--link", code) == []
    table = waypost.said("abuse", "blocked", "--all")
    assert table.splitlines()[0].split() == ["SHORT", "CODE", "BLOCKED", "REASON", "WORKSPACE", "DESTINATION"]
    assert re.search(rf"^{code} +2031-01-01  a bank ", table, re.MULTILINE)
    assert waypost.json("abuse", "block", code, "--reason", "another")["reason"] == "another"
    assert waypost.said("abuse", "unblock", code, "--reason", "a mistake") == f"unblocked {code}\n"
    assert code not in waypost.said("abuse", "blocked", "--all", "--json")
    assert waypost.refused("abuse", "block", code, "--reason", "") == "--reason must be 1 to 1,000 characters"
    assert waypost.refused("abuse", "unblock", "nobody", "--reason", "x") == "no link has the short code 'nobody'"
    assert waypost("abuse", "block", code).exit_code == 2


def test_strangers_words_do_nothing_to_a_terminal(waypost: Command) -> None:
    code = fresh()
    waypost.said("abuse", "report", code, "--comment", NASTY, "--contact", NASTY)
    table = waypost.said("abuse", "reports", "--link", code)
    assert table.count(PLAIN.strip()) == 2
    # One line for the head and one for the report: a line break in it makes no row of its own.
    assert len(table.splitlines()) == 2
    as_json = waypost.said("abuse", "reports", "--link", code, "--json")
    for text in (table, as_json):
        assert all(char.isprintable() or char == "\n" for char in text)
    (report,) = waypost.json("abuse", "reports", "--link", code)
    assert (report["comment"], report["contact"]) == (NASTY, NASTY)
