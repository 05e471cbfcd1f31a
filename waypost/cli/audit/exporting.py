"""`waypost audit export`: what it writes, what it says and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from waypost.cli.access import Access, access_of
from waypost.cli.audit.events import PAGE_SIZE, Conditions, event_object
from waypost.cli.audit.exported import ExportFile, Reached, Unusable
from waypost.cli.options import Target
from waypost.cli.output import FAILED, WRONG_USAGE, counted, fail, fail_lines, json_text
from waypost.cli.patience import patiently
from waypost.cli.session import refused
from waypost.cli.show import timestamp
from waypost.cli.usage import WrongUsage
from waypost.client import AuditEvent, Client, Listed
from waypost.errors import WaypostError
from waypost.settings import BadSettings

INTERRUPTED = 128 + signal.SIGINT

Write = Callable[[Sequence[str]], None]


class _Progress:
    """What has been written."""

    def __init__(self) -> None:
        self.count = 0
        self.last: AuditEvent | None = None


def export(env: Mapping[str, str], target: Target, *, as_json: bool, output: str, resume: bool, **wanted: Any) -> int:
    """Exports events to a file, or to standard output for `-`; returns the exit code."""
    try:
        conditions = Conditions.of(**wanted)
        if resume and output == "-":
            raise WrongUsage("--resume goes on with a file: give it by --output")
        access = access_of(env, target)
    except (WrongUsage, BadSettings) as error:
        return fail(WRONG_USAGE, str(error), as_json)
    progress = _Progress()
    try:
        if output == "-":
            asyncio.run(_export(access, conditions, _to_standard_output, progress, frozenset()))
        else:
            with ExportFile(Path(output), resume=resume) as file:
                narrowed, written = _behind(conditions, file.reached)
                asyncio.run(_export(access, narrowed, file.write, progress, written))
    except FileExistsError:
        return fail(WRONG_USAGE, f"{output} is there already: go on with it by --resume, or give another file", as_json)
    except Unusable as error:
        return fail(WRONG_USAGE, str(error), as_json)
    except BrokenPipeError:
        # Whoever reads has enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = "standard output" if output == "-" else output
        why = f"{where} cannot be written: {error.strerror or error}"
        return _cut_off(fail(FAILED, why, as_json), progress, output, as_json)
    except WaypostError as error:
        return _cut_off(refused(error, access, as_json), progress, output, as_json)
    except KeyboardInterrupt:
        return _cut_off(fail(INTERRUPTED, "interrupted", as_json), progress, output, as_json)
    said = f"exported {counted(progress.count, 'event')}"
    if as_json:
        said = json_text({"exported": progress.count, "file": output})
    elif output != "-":
        said += f" to {output}"
    # Events on standard output are not to be mixed with anything.
    click.echo(said, err=output == "-")
    return 0


def _behind(conditions: Conditions, reached: Reached | None) -> tuple[Conditions, frozenset[str]]:
    """What is left of the events, but for those with the ids that come with it."""
    if reached is None:
        return conditions, frozenset()
    # Several events may have one time, and perhaps not all of them were written.
    end = reached.at + timedelta(microseconds=1)
    if conditions.until is not None:
        end = min(end, conditions.until)
    return replace(conditions, until=end), reached.ids


async def _export(
    access: Access, conditions: Conditions, write: Write, progress: _Progress, written: frozenset[str]
) -> None:
    async with access.client() as client:
        page = await _page(conditions, client, "")
        while True:
            events = [event for event in page.items if event.event_id not in written]
            if events:
                write([json_text(event_object(event), indent=None) for event in events])
                progress.count += len(events)
                progress.last = events[-1]
            if not page.next_page_token:
                return
            page = await _page(conditions, client, page.next_page_token)


async def _page(conditions: Conditions, client: Client, token: str) -> Listed[AuditEvent]:
    return await patiently(lambda: conditions.page_after(client, PAGE_SIZE, token), "so many pages of events")


def _to_standard_output(lines: Sequence[str]) -> None:
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
    sys.stdout.buffer.flush()


def _cut_off(exit_code: int, progress: _Progress, output: str, as_json: bool) -> int:
    """Says how to go on with what was cut off; returns the exit code."""
    if as_json or progress.last is None:
        return exit_code
    if output != "-":
        said = f"{output} has {counted(progress.count, 'event')} more: go on with --resume"
    else:
        end = timestamp(progress.last.occurred_at + timedelta(microseconds=1))
        said = f"{counted(progress.count, 'event')} were written: go on with --until {end} (the last may come again)"
    return fail_lines(exit_code, [said])
