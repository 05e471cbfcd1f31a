"""A short code as people have it at hand: alone, or as the whole short address that `create` printed."""

from __future__ import annotations

import re

import click

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^?#]*)")


class ShortCode(click.ParamType[str]):
    """`talk`, `https://go.example/talk`, and either with the `+` that shows where a link leads: `talk`."""

    name = "short_code"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The code; ends the command with its usage if an address has none. Whether it can be one, the API says."""
        text = str(value).strip()
        address = _ADDRESS.match(text)
        code = text if address is None else address[1].rstrip("/").rpartition("/")[2]
        # No code has a plus.
        code = code.removesuffix("+")
        if address is not None and not code:
            self.fail(f"{text!r} has no short code: give one, or a whole short address", param, ctx)
        return code
