"""A command's dealings with a running Waypost: finds it, talks to it, and says what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from waypost.cli.access import Access, access_of
from waypost.cli.options import Target
from waypost.cli.output import WRONG_USAGE, fail
from waypost.cli.refusals import OPTIONS, refuse
from waypost.client import Client
from waypost.client.channel import Server
from waypost.errors import WaypostError
from waypost.settings import BadSettings

Work = Callable[[Client, Server], Awaitable[int]]


def run(
    env: Mapping[str, str], target: Target, work: Work, *, as_json: bool, names: Mapping[str, str] = OPTIONS
) -> int:
    """Does the work with a client of the Waypost that the options (`target`) or the environment name.

    Returns the work's exit code, or that of the error which ended it; `names` are the fields' on the command line.
    """
    try:
        access = access_of(env, target)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)

    async def main() -> int:
        async with access.client() as client:
            return await work(client, access.server)

    try:
        return asyncio.run(main())
    except WaypostError as error:
        return refused(error, access, as_json, names)


def refused(error: WaypostError, access: Access, as_json: bool, names: Mapping[str, str] = OPTIONS) -> int:
    """Says why a call failed, and if the credentials are why, which they were. Returns the exit code."""
    return refuse(error, access.server, as_json, names, hint=access.hint)
