"""A key's id as people have it at hand: alone, or as the whole key that was found where it should not be."""

from __future__ import annotations

import click


class KeyId(click.ParamType[str]):
    """`Ab3…`, `wp_Ab3…` and `wp_Ab3….<secret>`: `Ab3…`. The secret goes no further than here."""

    name = "key_id"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id. Whether it can be one, the API says."""
        return str(value).strip().removeprefix("wp_").partition(".")[0]
