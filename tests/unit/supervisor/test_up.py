"""Every end of `waypost up` before anything runs is one line and an exit code."""

import json
from pathlib import Path

import pytest

import native
from tests.faults.supervisor.harness import environment
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.up import up


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on standard error but for events."""
    said = capsys.readouterr().err.splitlines(keepends=True)
    return "".join(line for line in said if not line.startswith("{"))


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CannotStart("no\nway"), 2, "waypost: no way\n"),
        (CannotStart("no", exit_code=1), 1, "waypost: no\n"),
    ],
)
def test_an_expected_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    assert up(environment(tmp_path), fail) == code  # type: ignore[arg-type]
    assert _line(capsys) == line


def test_a_defect_leaves_its_trace_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("oops")

    assert up(environment(tmp_path), fail) == 1  # type: ignore[arg-type]
    said = _line(capsys)
    assert said.startswith("waypost: RuntimeError: oops")
    assert said.count("\n") == 1
    assert "Traceback" in (tmp_path / "logs" / "supervisor.log").read_text()


def test_what_has_no_effect_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise CannotStart("enough")

    up({**environment(tmp_path), "WAYPOST_AMQP_URL": "amqp://"}, fail)  # type: ignore[arg-type]
    assert "WAYPOST_AMQP_URL has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "built", "level", "why"),
    [
        ("true", True, "", ""),
        ("true", False, "warning", "libnghttp2-dev"),
        ("false", True, "info", "WAYPOST_HOT_PORTS is off"),
        ("false", False, "info", "WAYPOST_HOT_PORTS is off"),
    ],
)
def test_a_mesh_without_hot_ports_says_so_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    built: bool,
    level: str,
    why: str,
) -> None:
    def fail(*_: object) -> None:
        raise CannotStart("enough")

    monkeypatch.setattr(native, "HOT_PORT", built)
    up({**environment(tmp_path), "WAYPOST_HOT_PORTS": wanted}, fail)  # type: ignore[arg-type]
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    said = [event for event in events if event["event"] == "hot_ports_absent"]
    assert [event["level"] for event in said] == ([level] if level else [])
    for event in said:
        assert why in event["detail"]
        assert "the control ports serve all calls" in event["detail"]


@pytest.mark.parametrize(
    ("host", "public_url", "said"),
    [
        ("0.0.0.0", "", True),  # noqa: S104
        ("0.0.0.0", "https://go.example", False),  # noqa: S104
        ("192.0.2.1", "", True),
        ("127.0.0.1", "", False),
        ("::1", "", False),
    ],
)
def test_others_are_not_sent_to_their_own_machines_unsaid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, public_url: str, said: bool
) -> None:
    def fail(*_: object) -> None:
        raise CannotStart("enough")

    up({**environment(tmp_path), "WAYPOST_HTTP_HOST": host, "WAYPOST_PUBLIC_URL": public_url}, fail)  # type: ignore[arg-type]
    assert ("WAYPOST_PUBLIC_URL is not set" in capsys.readouterr().err) is said
