"""One rule file: from YAML in envoyproxy/ratelimit's format to a checked tree of rules.

Beyond that format `rate_limit` takes `algorithm`, `burst` and `multiplier`. What is not known, or not supported yet, is
refused: a limit that silently does not hold is worse than a start that fails.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import get_close_matches

import yaml

from native.limits import Algorithm, Limit
from ratelimiter.ruletree import MAX_DOMAIN_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Node, Rule, RuleLimit
from ratelimiter.ruleyaml import parse_yaml

UNITS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 30 * 86_400,
    "year": 365 * 86_400,
}
"""Seconds of each unit; a month has 30 days and a year 365, as in the reference."""

MAX_DEPTH = 32
MAX_UINT32 = 2**32 - 1
MAX_WINDOW_SECONDS = 100 * UNITS["year"]

ROOT_KEYS = ("domain", "descriptors")
DESCRIPTOR_KEYS = (
    "key", "value", "rate_limit", "descriptors", "shadow_mode", "quota_mode", "share_threshold",
)  # fmt: skip
RATE_LIMIT_KEYS = (
    "unit", "requests_per_unit", "unlimited", "name", "replaces", "algorithm", "burst", "multiplier",
)  # fmt: skip
UNSUPPORTED = {
    "compat", "consistency", "count_rejected", "detailed_metric", "limits", "metadata", "on_store_failure",
    "value_to_metric",
}  # fmt: skip
"""Keys with a meaning that this version does not have."""

YAML_TRUE = {"true", "yes", "on", "y"}
YAML_FALSE = {"false", "no", "off", "n"}


class RuleFile:
    """A file's `domain`, the `root` of its tree, and the `problems` found in it: with any, the tree is of no use."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self.problems: list[str] = []
        self.domain = ""
        self.root = Node()
        try:
            content = parse_yaml(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = "" if mark is None else f"line {mark.line + 1}"
            self._problem(where, f"is not valid YAML: {error.problem or error.context}")
            return
        except yaml.YAMLError as error:
            self._problem("", f"is not valid YAML: {' '.join(str(error).split())}")
            return
        except RecursionError:
            self._problem("", "is not valid YAML: nests too deep")
            return
        if not isinstance(content, dict):
            self._problem("", "must be a mapping with the keys domain and descriptors")
            return
        self._check_keys(content, "", ROOT_KEYS)
        self.domain = self._text(content, "domain", "", MAX_DOMAIN_BYTES, required=True)
        self._descriptors(content, "", self.root, ())

    def _problem(self, place: str, sentence: str) -> None:
        self.problems.append(f"{self._name}: {place}: {sentence}" if place else f"{self._name}: {sentence}")

    def _descriptors(
        self, parent: dict[object, object], parent_place: str, node: Node, path: tuple[tuple[str, str], ...]
    ) -> None:
        """Adds the descriptors that `parent` nests to `node`; `path` leads to it from the domain."""
        place = _join(parent_place, "descriptors")
        descriptors = parent.get("descriptors")
        if descriptors is None:
            return
        if not isinstance(descriptors, list):
            self._problem(place, "must be a list")
            return
        if len(path) == MAX_DEPTH and descriptors:
            self._problem(place, f"descriptors nest at most {MAX_DEPTH} deep")
            return
        seen: dict[tuple[str, str], int] = {}
        for index, descriptor in enumerate(descriptors):
            here = f"{place}[{index}]"
            if not isinstance(descriptor, dict):
                self._problem(here, "must be a mapping with a key")
                continue
            pair = self._descriptor(descriptor, here, node, path)
            if pair in seen:
                value = f" and value {pair[1]!r}" if pair[1] else ""
                self._problem(here, f"key {pair[0]!r}{value} is in {place}[{seen[pair]}] already")
            elif pair[0]:
                seen[pair] = index

    def _descriptor(
        self, descriptor: dict[object, object], place: str, parent: Node, path: tuple[tuple[str, str], ...]
    ) -> tuple[str, str]:
        """Adds one descriptor and what it nests to `parent`; its key and value."""
        self._check_keys(descriptor, place, DESCRIPTOR_KEYS)
        key = self._text(descriptor, "key", place, MAX_KEY_BYTES, required=True)
        value = self._text(descriptor, "value", place, MAX_VALUE_BYTES)
        if "*" in key:
            self._problem(f"{place}.key", "a '*' in a key is not supported in this version, only in a value")
        shared = self._flag(descriptor, "share_threshold", place)
        if shared and "*" not in value:
            self._problem(f"{place}.share_threshold", "needs a value with a '*'")
        path = (*path, (key, value))
        node = Node(shared_value=value if shared else "")
        shadow_mode = self._flag(descriptor, "shadow_mode", place)
        quota_mode = self._flag(descriptor, "quota_mode", place)
        if "rate_limit" in descriptor:
            node.rule = self._rule(descriptor["rate_limit"], f"{place}.rate_limit", path, shadow_mode, quota_mode)
        self._descriptors(descriptor, place, node, path)
        parent.add(key, value, node)
        return key, value

    def _rule(
        self, block: object, place: str, path: tuple[tuple[str, str], ...], shadow_mode: bool, quota_mode: bool
    ) -> Rule | None:
        if not isinstance(block, dict):
            self._problem(place, "must be a mapping with unit and requests_per_unit, or unlimited")
            return None
        self._check_keys(block, place, RATE_LIMIT_KEYS)
        name = self._text(block, "name", place, MAX_VALUE_BYTES)
        replaces = self._replaces(block, place, name)
        limit = None
        if self._flag(block, "unlimited", place):
            self._check_unlimited(block, place)
        else:
            limit = self._limit(block, place)
        kind = ("unlimited",) if limit is None else (limit.algorithm.value, str(limit.window_us))
        identity = (self.domain, *(text for pair in path for text in pair), *kind)
        return Rule(
            place=".".join((self.domain, *(f"{key}_{value}" if value else key for key, value in path))),
            limits=() if limit is None else (RuleLimit(limit, identity),),
            name=name,
            replaces=replaces,
            shadow_mode=shadow_mode,
            quota_mode=quota_mode,
        )

    def _check_unlimited(self, block: dict[object, object], place: str) -> None:
        # The reference lets requests_per_unit stand beside `unlimited`, but no unit.
        for field in ("unit", "algorithm", "burst", "multiplier"):
            if field in block:
                self._problem(f"{place}.{field}", "has no place in a rule that is unlimited")

    def _limit(self, block: dict[object, object], place: str) -> Limit | None:
        before = len(self.problems)
        algorithm = self._algorithm(block, place)
        unit = self._unit(block, place)
        requests = self._number(block, "requests_per_unit", place, 0, MAX_UINT32)
        multiplier = self._number(block, "multiplier", place, 1, MAX_WINDOW_SECONDS // unit, default=1)
        burst = self._number(block, "burst", place, 1, MAX_UINT32, default=0) or None
        if burst is not None and algorithm is not Algorithm.TOKEN_BUCKET:
            self._problem(f"{place}.burst", f"only a token_bucket has a burst, this is a {algorithm}")
        if len(self.problems) > before:
            return None
        return Limit(algorithm, requests, unit * multiplier * 1_000_000, burst)

    def _algorithm(self, block: dict[object, object], place: str) -> Algorithm:
        text = self._text(block, "algorithm", place, MAX_VALUE_BYTES) or Algorithm.FIXED_WINDOW
        try:
            return Algorithm(text)
        except ValueError:
            self._problem(f"{place}.algorithm", f"unknown algorithm {text!r} ({', '.join(Algorithm)})")
            return Algorithm.TOKEN_BUCKET

    def _unit(self, block: dict[object, object], place: str) -> int:
        """Seconds of the unit; 1 if it is wrong."""
        text = self._text(block, "unit", place, MAX_VALUE_BYTES, required=True)
        if text and text.lower() not in UNITS:
            self._problem(f"{place}.unit", f"unknown unit {text!r} ({', '.join(UNITS)})")
        return UNITS.get(text.lower(), 1)

    def _replaces(self, block: dict[object, object], place: str, own_name: str) -> frozenset[str]:
        place = f"{place}.replaces"
        replaces = block.get("replaces") or []
        if not isinstance(replaces, list):
            self._problem(place, "must be a list")
            return frozenset()
        names = []
        for index, item in enumerate(replaces):
            here = f"{place}[{index}]"
            if not isinstance(item, dict):
                self._problem(here, "must be a mapping with a name")
                continue
            self._check_keys(item, here, ("name",))
            names.append(self._text(item, "name", here, MAX_VALUE_BYTES, required=True))
            if names[-1] and names[-1] == own_name:
                self._problem(here, "a rule cannot replace itself")
        return frozenset(names)

    def _check_keys(self, mapping: dict[object, object], place: str, known: Collection[str]) -> None:
        for key in mapping:
            if key in known:
                continue
            if key in UNSUPPORTED:
                # Switched off, it asks for nothing.
                if mapping[key] is not None and str(mapping[key]).lower() not in YAML_FALSE:
                    self._problem(_join(place, str(key)), "is not supported in this version")
                continue
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else ", ".join(known)
            self._problem(place, f"unknown key {key!r} ({hint})")

    def _text(
        self, mapping: dict[object, object], field: str, place: str, max_bytes: int, *, required: bool = False
    ) -> str:
        here = _join(place, field)
        text = mapping.get(field)
        if text is None:
            text = ""
        if not isinstance(text, str):
            self._problem(here, "must be a text")
            return ""
        if required and not text:
            self._problem(here, "must not be empty" if field in mapping else "is missing")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            self._problem(here, "has half a surrogate pair in it, which no request can carry")
            return ""
        if size > max_bytes:
            self._problem(here, f"must be at most {max_bytes} bytes")
        return text

    def _flag(self, mapping: dict[object, object], field: str, place: str) -> bool:
        text = str(mapping.get(field) or "false").lower()
        if text not in YAML_TRUE | YAML_FALSE:
            self._problem(_join(place, field), "must be true or false")
        return text in YAML_TRUE

    def _number(
        self, mapping: dict[object, object], field: str, place: str, low: int, high: int, default: int | None = None
    ) -> int:
        here = _join(place, field)
        if field not in mapping:
            if default is None:
                self._problem(here, "is missing")
            return low if default is None else default
        text = mapping[field]
        if isinstance(text, str) and re.fullmatch(r"0|[1-9][0-9_]{0,19}", text):
            number = int(text.rstrip("_"))
            if low <= number <= high:
                return number
        self._problem(here, f"must be a whole number from {low} to {high}")
        return low


def _join(place: str, field: str) -> str:
    return f"{place}.{field}" if place else field
