"""What people and programs read."""

import io
import json

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


def test_a_reader_that_went_away_is_no_reason_to_stop() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    JsonConsole(Gone(), Gone()).ready(WELCOME)
    TerminalConsole(Gone()).ready(WELCOME)
