"""The client: the link API's calls, and the services that stand beside it."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self
from uuid import UUID

from waypost.client.abuse import Abuse
from waypost.client.audit import Audit
from waypost.client.channel import Server
from waypost.client.connection import Connection
from waypost.client.credentials import Credentials, Token
from waypost.client.keys import Keys
from waypost.client.limits import Limits
from waypost.client.links import Links
from waypost.client.members import Members
from waypost.client.overrides import Overrides
from waypost.client.workspaces import Workspaces


class Client(Links):
    """A Waypost at `server`: `host:port`, `http://host[:port]`, or `https://host[:port]` for one behind TLS.

        async with Client("localhost:8080", api_key=key) as client:
            link = await client.create("https://example.com/", alias="talk")
            key = await client.keys.create("a program", role="editor")

    The calls for links are its own; the others are those of `workspaces`, `members`, `keys`, `audit`, `abuse`,
    `limits` and `overrides`.

    Who calls is said by an `api_key` (`wp_…`) or a `token` of an identity provider, never both. Tokens are short-lived:
    in their place may stand a function that returns the present one, which is called before each call. `workspace` is
    the id of the one to work in, for those who may choose. Keys and tokens are in no `repr` and in no error, and are
    sent to other machines by TLS only: `insecure_credentials` lifts that, for networks that are safe by themselves.

    It reads no settings: WAYPOST_SERVER, WAYPOST_API_KEY and so on are for the `waypost` command, and `Client()` talks
    to `localhost:8080` without credentials whatever those say.

    Any number of tasks may share one; `channels` connections take calls in turn. `root_certificates` (PEM) are trusted
    in place of the usual ones.

    A call has `timeout` seconds in all. Within them it is made up to four times, with growing pauses, when nobody
    answers, but not throughout a lasting outage. That is safe, since whatever changes a link carries a `request_id` of
    its own. Give one yourself if your program may be started again in the middle: for 24 hours the same request under
    the same id is done once. Calls of the other services that would do twice what is asked for twice (make a workspace
    or a key, add or remove a member, report a link, count against a limit) are made once only: if such a call ends with
    `Unreachable` or `DeadlineExceeded`, look before you make it again.

    Every failure is a `WaypostError`: those of `waypost.errors` that the server sends, `DeadlineExceeded` of the same
    when the time is up, and three of `waypost.client.errors`: `Unreachable` when nobody listens there, `ClientClosed`,
    and `RemoteError` for whatever else a server may say. `Unauthenticated` and `PermissionDenied` may come of any call.
    """

    def __init__(
        self,
        server: str | Server = "localhost:8080",
        *,
        api_key: str = "",
        token: Token = "",
        workspace: str | UUID = "",
        insecure_credentials: bool = False,
        channels: int = 1,
        timeout: float = 10.0,
        root_certificates: bytes | None = None,
    ) -> None:
        where = Server.parse(server) if isinstance(server, str) else server
        if root_certificates is not None:
            where = replace(where, trust=root_certificates)
        credentials = Credentials(api_key, token, str(workspace))
        if not insecure_credentials:
            credentials.must_be_safe_with(where)
        connection = Connection(where, credentials, size=channels, timeout=timeout)
        super().__init__(connection)
        self.workspaces = Workspaces(connection)
        self.members = Members(connection)
        self.keys = Keys(connection)
        self.audit = Audit(connection)
        self.abuse = Abuse(connection)
        self.limits = Limits(connection)
        self.overrides = Overrides(connection)

    def __repr__(self) -> str:
        return f"<Client {self._connection.server.url}>"

    async def __aenter__(self) -> Self:
        self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections; calls under way fail with `ClientClosed`."""
        await self._connection.close()
