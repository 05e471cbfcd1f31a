"""A command's time with a running Waypost: finds it, talks to it, and says what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from waypost.cli.output import WRONG_USAGE, fail
from waypost.cli.refusals import OPTIONS, refuse
from waypost.cli.settings import server_of
from waypost.client import Client
from waypost.client.channel import Server
from waypost.errors import WaypostError
from waypost.settings import BadSettings

Work = Callable[[Client, Server], Awaitable[int]]


def run(
    env: Mapping[str, str], option: str | None, work: Work, *, as_json: bool, names: Mapping[str, str] = OPTIONS
) -> int:
    """Does the work with a client of the Waypost that `--server` (`option`) or the environment names.

    Returns the work's exit code, or that of the error which ended it; `names` are the fields' on the command line.
    """
    try:
        server = server_of(env, option)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)

    async def main() -> int:
        async with Client(server) as client:
            return await work(client, server)

    try:
        return asyncio.run(main())
    except WaypostError as error:
        return refuse(error, server, as_json, names)
