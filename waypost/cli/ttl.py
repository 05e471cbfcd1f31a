"""How long a link lives, as people write it."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TEXT = re.compile(r"([0-9]{1,10})([smhd]?)")


class Ttl(click.ParamType[int]):
    """`90`, `90s`, `15m`, `12h`, `7d`: seconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds; ends the command with its usage if it is no time. Whether it is too long, the API says."""
        if isinstance(value, int):
            return value
        match = _TEXT.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no time: write it like 90, 90s, 15m, 12h or 7d", param, ctx)
        # The contract's field has 32 bits; what does not fit is too long just the same.
        return min(int(match[1]) * _UNITS[match[2]], 2**31 - 1)
