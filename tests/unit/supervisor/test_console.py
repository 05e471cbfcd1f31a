"""What people and programs read."""

import io
import json
from dataclasses import replace
from pathlib import Path

from waypost.supervisor.console import JsonConsole, TerminalConsole, Welcome, console_for
from waypost.supervisor.program import Change, State

WELCOME = Welcome("http://127.0.0.1:8080", "127.0.0.1:50051", "/data", "/data/logs")


def test_a_terminal_gets_one_line_an_event() -> None:
    out = io.StringIO()
    console = TerminalConsole(out)
    console.change(Change("gateway", State.STARTING), "grpc 50051")
    console.change(Change("gateway", State.READY, seconds=0.91), "grpc 50051")
    console.change(Change("workers", State.RESTARTING, "exit code 1: [oops]; again in 0.2 s"), "grpc 50053")
    console.ready(WELCOME)
    lines = out.getvalue().splitlines()
    assert lines[0] == "  gateway      ready       grpc 50051  in 0.9 s"
    assert lines[1] == "  workers      restarting  exit code 1: [oops]; again in 0.2 s"
    assert "waypost: ready http://127.0.0.1:8080" in lines
    assert any("curl -s http://127.0.0.1:8080/api/v1/shorten" in line for line in lines)
    assert any("grpcurl" in line and "127.0.0.1:50051" in line for line in lines)
    assert "\x1b" not in out.getvalue()


def test_programs_get_json_and_the_one_line_they_wait_for() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = console_for(out, err)
    assert isinstance(console, JsonConsole)
    console.change(Change("gateway", State.DEGRADED, "postgres: away", 7), "grpc 50051")
    console.notice("stopping", "stopping")
    console.ready(WELCOME)
    assert out.getvalue() == "waypost: ready http://127.0.0.1:8080\n"
    first, second, third = (json.loads(line) for line in err.getvalue().splitlines())
    assert (first["level"], first["event"], first["state"], first["pid"]) == ("warning", "process", "degraded", 7)
    assert second["event"] == "stopping"
    assert third["url"] == "http://127.0.0.1:8080"


KEY = "wp_0123456789abcdef.secret"


def test_a_new_key_is_shown_to_people_once(tmp_path: Path) -> None:
    out, file = io.StringIO(), tmp_path / "operator key"
    file.touch()
    welcome = replace(WELCOME, key_file=str(file))
    TerminalConsole(out).ready(replace(welcome, new_key=KEY))
    lines = out.getvalue().splitlines()
    assert f"  key      {KEY}  (for operators; shown once)" in lines
    assert f"  key file {file}" in lines
    again = io.StringIO()
    TerminalConsole(again).ready(welcome)
    assert [line for line in lines if KEY not in line] == again.getvalue().splitlines()


def test_a_new_key_is_one_line_for_programs_and_no_event(tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    JsonConsole(out, err).ready(replace(WELCOME, new_key=KEY, key_file="/data/operator-key"))
    assert out.getvalue().splitlines() == [
        f"waypost: first operator key {KEY} (also in /data/operator-key)",
        "waypost: ready http://127.0.0.1:8080",
    ]
    assert "wp_" not in err.getvalue()


def test_a_key_is_in_no_representation() -> None:
    assert KEY not in repr(replace(WELCOME, new_key=KEY))


def test_the_first_call_brings_a_key_where_it_takes_one(tmp_path: Path) -> None:
    file = tmp_path / "operator key"
    closed = replace(WELCOME, anonymous=False, key_file=str(file))
    for there, key in ((False, "$WAYPOST_API_KEY"), (True, f"$(cat '{file}')")):
        if there:
            file.touch()
        shown = dict(closed.lines())
        for label in ("shorten", "by gRPC"):
            assert f'-H "x-api-key: {key}" ' in shown[label]
        assert shown["key file"] == (str(file) if there else "")
    assert "x-api-key" not in str(WELCOME.lines())


def test_a_reader_that_went_away_is_no_reason_to_stop() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    JsonConsole(Gone(), Gone()).ready(WELCOME)
    TerminalConsole(Gone()).ready(WELCOME)
