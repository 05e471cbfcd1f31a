"""`waypost links batch`: a link for each line of a file, many to a call, with a result for each in their order."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

import click

from waypost.cli.options import Target
from waypost.cli.output import FAILED, WRONG_USAGE, counted, fail, fail_lines, json_text
from waypost.cli.patience import patiently
from waypost.cli.refusals import OPTIONS, described, refuse, sentences
from waypost.cli.session import run
from waypost.cli.show import link_object
from waypost.cli.usage import WrongUsage, instant
from waypost.client import MAX_BATCH, Client, Link, NewLink
from waypost.client.channel import Server
from waypost.client.convert import create_to_proto
from waypost.errors import InvalidFields, WaypostError

MAX_LINE = 64 * 1024
"""Bytes of a line: more than any link needs."""

MAX_BYTES = 5 * 512 * 1024
"""Bytes of the lines of one call, below the 3 MiB that it may have."""

TIMEOUT = 60.0
"""Seconds that a call may take."""

FIELDS: Mapping[str, type] = {
    "url": str,
    "alias": str,
    "title": str,
    "tags": list,
    "ttl_seconds": int,
    "expires_at": str,
    "max_clicks": int,
    "redirect_status": int,
    "forward_query": bool,
}
"""What a line of JSON may have."""

NOT_UTF_8 = "is not UTF-8"
SHOWN = 20
"""Lines in another encoding that are told, for people: the others have the same cause."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_KINDS = {str: "a text", list: "a list of texts", int: "a whole number", bool: "true or false"}

# A line has fields, not options; a line that is a URL alone has no other.
_NAMES = {name: name for name in OPTIONS}


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its number and size in bytes: a link to make, or a sentence about why there is none in it."""

    number: int
    size: int
    link: NewLink | str


def create_all(env: Mapping[str, str], target: Target, *, as_json: bool, file: BinaryIO, request_id: str | None) -> int:
    """Makes the links and prints what became of each; returns the exit code."""

    async def work(client: Client, where: Server) -> int:
        return await make_all(client, where, file, as_json=as_json, request_id=request_id)

    return run(env, target, work, as_json=as_json)


async def make_all(client: Client, where: Server, file: BinaryIO, *, as_json: bool, request_id: str | None) -> int:
    """The same with a client of the Waypost at `where`."""
    try:
        found = text_lines(file)
    except WrongUsage as error:
        return fail(WRONG_USAGE, str(error), as_json)
    failures = made = undecodable = 0
    for number, batch in enumerate(batches(found)):
        usable = [line.link for line in batch if isinstance(line.link, NewLink)]
        try:
            outcomes = iter(await _made(client, usable, None if request_id is None else f"{request_id}/{number}"))
        except WaypostError as error:
            if not as_json:
                fail_lines(FAILED, [f"nothing was made of line {batch[0].number} and those after it:"])
            return refuse(error, where, as_json)
        for line in batch:
            outcome = line.link if isinstance(line.link, str) else next(outcomes)
            undecodable += outcome == NOT_UTF_8
            if as_json or outcome != NOT_UTF_8 or undecodable <= SHOWN:
                _print(line.number, outcome, where, as_json)
            made += isinstance(outcome, Link)
            failures += not isinstance(outcome, Link)
    if failures and not as_json:
        said = f"{failures:,} of {counted(made + failures, 'link')} {'was' if failures == 1 else 'were'} not made"
        left = undecodable - SHOWN
        more = [f"{counted(left, 'more line')} {'is' if left == 1 else 'are'} not UTF-8"] if left > 0 else []
        return fail_lines(FAILED, [*more, said])
    return FAILED if failures else 0


async def _made(client: Client, links: Sequence[NewLink], request_id: str | None) -> Sequence[Link | WaypostError]:
    """What becomes of the links of a call; waits for the caller's own limit as long as the server says."""
    if not links:
        return []
    return await patiently(
        lambda: client.batch_create(links, request_id=request_id, timeout=TIMEOUT), "so many links at once"
    )


def _print(number: int, outcome: Link | WaypostError | str, where: Server, as_json: bool) -> None:
    if as_json:
        if isinstance(outcome, Link):
            result: dict[str, Any] = {"link": link_object(outcome)}
        elif isinstance(outcome, str):
            result = {"error": {"message": outcome, "code": "INVALID_ARGUMENT", "details": []}}
        else:
            result = {"error": described(outcome, where)}
        click.echo(json_text({"line": number, **result}, indent=None))
    elif isinstance(outcome, Link):
        click.echo(outcome.short_url)
    else:
        said = [outcome] if isinstance(outcome, str) else sentences(outcome, where, _NAMES)
        fail_lines(FAILED, [f"line {number}: {sentence}" for sentence in said])


def text_lines(file: BinaryIO) -> Iterator[Line]:
    """Its lines. Raises `WrongUsage` for a program, an image or text in UTF-16: that is no list with faults in it."""
    first = file.readline(MAX_LINE + 1)
    if b"\0" in first or first.startswith(_UTF_16):
        raise WrongUsage("the file is not text in UTF-8: nothing was made of it")
    return lines(file, first)


def lines(file: BinaryIO, first: bytes | None = None) -> Iterator[Line]:
    """The lines that are neither empty nor a comment (`#`); `first` has been read already."""
    number = 0
    while data := file.readline(MAX_LINE + 1) if number or first is None else first:
        number += 1
        if len(data) > MAX_LINE:
            while data and not data.endswith(b"\n"):
                data = file.readline(MAX_LINE)
            yield Line(number, 0, f"is longer than {MAX_LINE // 1024} KiB")
            continue
        try:
            text = data.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield Line(number, 0, NOT_UTF_8)
            continue
        if text and not text.startswith("#"):
            try:
                new = _new_link(text)
                # Refused here, it refuses nothing but itself.
                create_to_proto(new)
                yield Line(number, len(data), new)
            except (WrongUsage, InvalidFields) as error:
                yield Line(number, 0, str(error))


def batches(found: Iterator[Line]) -> Iterator[list[Line]]:
    """As many lines as one call takes."""
    batch: list[Line] = []
    size = 0
    for line in found:
        if batch and (len(batch) == MAX_BATCH or size + line.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.size
    if batch:
        yield batch


def _texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _new_link(text: str) -> NewLink:
    """What a line asks for. Raises `WrongUsage`."""
    if not text.startswith("{"):
        return NewLink(url=text)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"is no JSON: {error}") from None
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if name not in FIELDS:
            raise WrongUsage(f"{name!r} is no field of a link: there are {', '.join(FIELDS)}")
        # `type`, since a bool is an int too.
        if type(value) is not FIELDS[name] or (name == "tags" and not _texts(value)):
            raise WrongUsage(f"{name} must be {_KINDS[FIELDS[name]]}")
    if "url" not in given:
        raise WrongUsage("url is missing")
    if "expires_at" in given:
        given["expires_at"] = instant("expires_at", given["expires_at"])
    if "ttl_seconds" in given:
        if "expires_at" in given:
            raise WrongUsage("ttl_seconds and expires_at exclude each other: give one")
        given["ttl"] = timedelta(seconds=max(-(10**9), min(given.pop("ttl_seconds"), 10**10)))
    return NewLink(**given)
