"""Reads the lists of structured fields that limits are told in: strings with whole numbers as parameters (RFC 9651)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_PARAMETER = re.compile(r"; *([a-z*][a-z0-9_.*-]*)=(-?[0-9]{1,15})(?![0-9.])")
_COMMA = re.compile(r"[ \t]*,[ \t]*")


def parse_list(text: str) -> dict[str, dict[str, int]]:
    """The parameters of each string in a list. Raises `ValueError` for what is not such a list to its last byte."""
    found: dict[str, dict[str, int]] = {}
    at = 0
    while True:
        name = _STRING.match(text, at)
        if name is None:
            raise ValueError(f"no string at {at} of {text!r}")
        at = name.end()
        parameters: dict[str, int] = {}
        while (parameter := _PARAMETER.match(text, at)) is not None:
            parameters[parameter[1]] = int(parameter[2])
            at = parameter.end()
        found[re.sub(r"\\(.)", r"\1", name[1])] = parameters
        if at == len(text):
            return found
        comma = _COMMA.match(text, at)
        if comma is None:
            raise ValueError(f"neither a parameter nor a comma at {at} of {text!r}")
        at = comma.end()


def told_limit(headers: Mapping[str, str]) -> tuple[str, int, int, int, int]:
    """Name, limit, window, what is left, and the seconds until it is whole or the request is admitted.

    That is, if both forms say the same; else `AssertionError`.
    """
    ((name, left),) = parse_list(headers["ratelimit"]).items()
    ((policy, quota),) = parse_list(headers["ratelimit-policy"]).items()
    assert name == policy
    assert (sorted(left), sorted(quota)) == (["r", "t"], ["q", "w"])
    limit = re.fullmatch(r'(\d+), (\d+);w=(\d+)(?:;name="([^"]*)")?', headers["x-ratelimit-limit"])
    assert limit is not None, headers["x-ratelimit-limit"]
    assert (int(limit[1]), int(limit[2]), int(limit[3])) == (quota["q"], quota["q"], quota["w"])
    assert limit[4] in (None, name)
    assert (headers["x-ratelimit-remaining"], headers["x-ratelimit-reset"]) == (str(left["r"]), str(left["t"]))
    return name, quota["q"], quota["w"], left["r"], left["t"]
