"""What `waypost up` says while it runs.

On a terminal: one plain line an event, on standard output, only ever appended. Anywhere else: one JSON object an event
(`ts`, `level`, `event`, and what belongs to it) on standard error, in the manner of the services' own logs. Either way
standard output gets the line `waypost: ready <address>` once everything is ready, for scripts that wait for it. An
error that ends `waypost up` is one line on standard error: see `up.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO

from waypost.supervisor.program import Change, State

LEVELS = {State.DEGRADED: "warning", State.RESTARTING: "warning", State.FAILED: "error"}
COLOURS = {State.READY: "green", State.DEGRADED: "yellow", State.RESTARTING: "yellow", State.FAILED: "red"}


@dataclass(frozen=True, slots=True)
class Welcome:
    """What people need first: the address, a first call either way, where things lie."""

    url: str
    grpc: str
    data: str
    logs: str
    call: str = ""
    """The address to call, if that of `url` is not one that the certificate is for."""
    anonymous: bool = True
    """Whether links may be made without credentials."""

    new_key: str = field(default="", repr=False)
    """The first operator key, if this start has made it: shown this once."""
    key_file: str = ""
    """Where it lies, if it does."""

    def lines(self) -> Sequence[tuple[str, str]]:
        """Labels and texts, in order."""
        body = """'{"url": "https://example.com"}'"""
        kept = bool(self.key_file) and Path(self.key_file).exists()
        key = f"$(cat {shlex.quote(self.key_file)})" if kept else "$WAYPOST_API_KEY"
        header = "" if self.anonymous else f'-H "x-api-key: {key}" '
        return (
            ("shorten", f"curl -s {header}{self.call or self.url}/api/v1/shorten -d {body}"),
            (
                "by gRPC",
                f"{_program('grpcurl')} -plaintext {header}-d {body} {self.grpc} waypost.api.v1.LinkService/CreateLink",
            ),
            ("key", f"{self.new_key}  (for operators; shown once)" if self.new_key else ""),
            ("key file", self.key_file if kept else ""),
            ("data", self.data),
            ("logs", self.logs),
        )


def _program(name: str) -> str:
    """How people call a program: by its name if they can, else where it lies beside this Python."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).with_name(name)
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


class Console(Protocol):
    """Where the supervisor says what happens; never raises."""

    def change(self, change: Change, address: str) -> None:
        """A process came into another state; `address` is where it listens, for people."""
        ...

    def notice(self, event: str, text: str, level: str = "info") -> None:
        """Something else happened: a word for programs, a sentence for people."""
        ...

    def ready(self, welcome: Welcome) -> None:
        """Everything is ready."""
        ...


class TerminalConsole:
    """Lines for people."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console as Rich  # only people pay for colours

        self._out = out
        # Rich only paints. It would end the whole program when it writes and nobody reads any more.
        self._page = io.StringIO()
        self._rich = Rich(
            file=self._page, force_terminal=out.isatty(), highlight=False, markup=False, emoji=False, soft_wrap=True
        )

    def change(self, change: Change, address: str) -> None:
        # Everything starts, and says so by being ready; everything that stops was told to, or is said to fail.
        if change.state in (State.STARTING, State.STOPPING):
            return
        where = address if change.state is State.READY else ""
        took = f"in {change.seconds:.1f} s" if change.seconds is not None else ""
        rest = "  ".join(part for part in (where, took, change.detail) if part)
        state = f"{change.state:<11} " if rest else change.state.value
        self._line(f"  {change.process:<12} ", state, COLOURS.get(change.state, ""), rest)

    def notice(self, event: str, text: str, level: str = "info") -> None:
        # The line that Ctrl-C leaves behind is not ours to go on with.
        before = "\n" if event == "stopping" else ""
        self._line(f"{before}waypost: ", text, "" if level == "info" else "yellow", "")

    def ready(self, welcome: Welcome) -> None:
        self._line("", f"\nwaypost: ready {welcome.url}", "bold green", "\n")
        for label, text in welcome.lines():
            if not text:
                continue
            self._line(f"  {label:<8} ", "", "", text)
        self._line("\n  Ctrl-C stops everything.", "", "", "\n")

    def _line(self, before: str, middle: str, style: str, after: str) -> None:
        from rich.text import Text

        self._rich.print(Text.assemble(before, (middle, style), after))
        _write(self._out, self._page.getvalue())
        self._page.seek(0)
        self._page.truncate()


class JsonConsole:
    """Lines for programs."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def change(self, change: Change, address: str) -> None:
        self._event(
            LEVELS.get(change.state, "info"),
            "process",
            process=change.process,
            state=change.state.value,
            detail=change.detail,
            address=address,
            pid=change.pid or None,
            seconds=round(change.seconds, 3) if change.seconds is not None else None,
        )

    def notice(self, event: str, text: str, level: str = "info") -> None:
        self._event(level, event, detail=text if text != event else "")

    def ready(self, welcome: Welcome) -> None:
        self._event("info", "ready", url=welcome.url, grpc=welcome.grpc, data=welcome.data, logs=welcome.logs)
        if welcome.new_key:
            # On standard output, for whoever started it, and not among the log lines of standard error.
            _write(self._out, f"waypost: first operator key {welcome.new_key} (also in {welcome.key_file})\n")
        _write(self._out, f"waypost: ready {welcome.url}\n")

    def _event(self, level: str, event: str, **fields: object) -> None:
        line: dict[str, object] = {"ts": datetime.now(UTC).isoformat(), "level": level}
        line |= {"service": "waypost", "event": event}
        line |= {name: value for name, value in fields.items() if value not in (None, "")}
        _write(self._err, json.dumps(line, ensure_ascii=False) + "\n")


def console_for(out: TextIO, err: TextIO) -> Console:
    """The console that fits where `out` leads."""
    return TerminalConsole(out) if out.isatty() else JsonConsole(out, err)


def _write(file: TextIO, text: str) -> None:
    try:
        file.write(text)
        file.flush()
    except (OSError, ValueError):  # nobody reads any more: no reason to stop serving
        pass
