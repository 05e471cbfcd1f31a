"""How commands say what went wrong: a line for people or JSON for programs, on standard error, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

FAILED = 1
WRONG_USAGE = 2
NO_ANSWER = 3


def fail(exit_code: int, message: str, as_json: bool, **more: object) -> int:
    """Says why in one line, or as a JSON object with `message` and whatever else is known; returns the exit code."""
    if as_json:
        click.echo(json_text({"message": message, **more}), err=True)
    else:
        _line(message)
    return exit_code


def fail_lines(exit_code: int, messages: Sequence[str]) -> int:
    """Says several things that went wrong, one line each; returns the exit code."""
    for message in messages:
        _line(message)
    return exit_code


def json_text(value: object, *, indent: int | None = 2) -> str:
    """The value as JSON that is safe to look at: what a terminal would obey stands in it as `\\u001b`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # Line breaks are between values only: within them, JSON has escaped them already.
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def counted(count: int, noun: str) -> str:
    """`1 link`, `2 links`, `1,200 links`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """The text without what a terminal would obey: control characters, line breaks, marks that turn its direction."""
    return "".join(char if char.isprintable() else " " for char in text)


def _line(message: str) -> None:
    # Servers and drivers may say several lines.
    click.echo(f"waypost: {' '.join(printable(message).split())}", err=True)
