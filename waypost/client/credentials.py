"""Who calls: what goes with each call to say so, and where it may be sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from waypost.client.channel import Server

# What the value of a header can hold. Anything else would be refused by gRPC in words that repeat it.
_VISIBLE = re.compile(r"[!-~]+")

MAX_BYTES = 8192
"""Of a key or a token: servers take no more, and say so by hanging up."""

Token = str | Callable[[], str]
"""A token, or a function that returns the present one: it is asked before each call, so it should only look it up."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key or a token, and the workspace to work in, by its id; what is empty is not sent.

    Raises `ValueError` for what can be none of these; no message has any part of a key or token.
    """

    api_key: str = field(default="", repr=False)
    token: Token = field(default="", repr=False)
    workspace: str = ""

    def __post_init__(self) -> None:
        if self.api_key and self.token:
            raise ValueError("api_key and token exclude each other: a call has one caller")
        if self.api_key and not (self.api_key.startswith("wp_") and _VISIBLE.fullmatch(self.api_key)):
            raise ValueError("api_key must be a whole key: it begins with wp_ and has neither spaces nor line breaks")
        if len(self.api_key) > MAX_BYTES:
            raise ValueError(f"api_key must be at most {MAX_BYTES:,} bytes")
        if isinstance(self.token, str) and self.token:
            _check_token(self.token)
        if self.workspace:
            object.__setattr__(self, "workspace", _workspace_id(self.workspace))

    @property
    def secret(self) -> bool:
        """Whether there is anything in it that others must not see."""
        return bool(self.api_key or self.token)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with a call. Raises `ValueError` if the function of the token returns none."""
        pairs = []
        if self.api_key:
            pairs.append(("x-api-key", self.api_key))
        if self.token:
            token = self.token if isinstance(self.token, str) else _check_token(self.token())
            pairs.append(("authorization", f"Bearer {token}"))
        if self.workspace:
            pairs.append(("x-workspace", self.workspace))
        return tuple(pairs)

    def safe_with(self, server: Server) -> bool:
        """Whether nobody on the way to the server can read them: by TLS, or on this machine's loopback."""
        return not self.secret or server.tls or server.loopback

    def must_be_safe_with(self, server: Server) -> None:
        """Raises `ValueError` if they are not."""
        if not self.safe_with(server):
            raise ValueError(
                f"no key or token is sent to {server.address} without TLS, where others could read it: give the server "
                "as https://…, or allow it with insecure_credentials=True if the way there is safe by itself"
            )


def _check_token(token: str) -> str:
    if not _VISIBLE.fullmatch(token):
        raise ValueError("token must be a whole token, without `Bearer`, spaces and line breaks")
    if len(token) > MAX_BYTES:
        raise ValueError(f"token must be at most {MAX_BYTES:,} bytes")
    return token


def _workspace_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"workspace must be a workspace's id, which is a UUID, not {text!r}") from None
