"""`waypost links export`: what it says and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import click

from waypost.cli.access import Access, access_of
from waypost.cli.options import Target
from waypost.cli.output import FAILED, WRONG_USAGE, counted, fail
from waypost.cli.session import refused
from waypost.cli.transfer.exporter import Shape, write_links
from waypost.cli.transfer.whole_file import written_whole
from waypost.errors import WaypostError
from waypost.settings import BadSettings

INTERRUPTED = 128 + signal.SIGINT
PAGE_SIZE = 500


def export_links(
    env: Mapping[str, str], target: Target, *, as_json: bool, shape: Shape, filter_text: str, output: str
) -> int:
    """Exports links to a file, or to standard output for `-`; returns the exit code."""
    try:
        access = access_of(env, target)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)
    try:
        with _output(output) as file:
            count = asyncio.run(_export(access, file, shape, filter_text))
    except WaypostError as error:
        return refused(error, access, as_json)
    except BrokenPipeError:
        # Whoever reads has enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(FAILED, f"{output} cannot be written: {error.strerror}", as_json)
    except KeyboardInterrupt:
        return fail(INTERRUPTED, "interrupted", as_json)
    said = json.dumps({"exported": count, "file": output}) if as_json else f"exported {counted(count, 'link')}"
    # Links on standard output are not to be mixed with anything.
    click.echo(said if as_json or output == "-" else f"{said} to {output}", err=output == "-")
    return 0


async def _export(access: Access, file: TextIO, shape: Shape, filter_text: str) -> int:
    async with access.client() as client:
        return await write_links(client.list(filter=filter_text, page_size=PAGE_SIZE), file, shape)


@contextlib.contextmanager
def _output(path: str) -> Iterator[TextIO]:
    if path != "-":
        with written_whole(Path(path)) as file:
            yield file
        return
    file = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        yield file
        file.flush()
    finally:
        with contextlib.suppress(BrokenPipeError):
            file.detach()
