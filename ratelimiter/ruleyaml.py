"""YAML as the reference reads it: every scalar keeps the text it is written in, and no key stands twice.

A descriptor's value may look like a number or a date (`value: 007`); it is compared with what requests bring, so it
must stay as written.

Where PyYAML has libyaml, that takes texts apart, in a fraction of the time; what its events mean is decided here by the
same Python either way, which also bounds how deep they nest. Whatever it refuses is read once more without it, so that
mistakes are told in the same words and places everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

MAX_KEYS = 1000
"""Of one mapping, after merges."""

_UNLIKE = re.compile("^(?! *#).*(?:[\t?!\ufeff]|[|>][-+0-9]*#)|\r(?!\n)|[\x85\u2028\u2029]", re.MULTILINE)
"""What libyaml takes where PyYAML does not, or otherwise: tabs, marks of keys, of tags and of byte order, and blocks of
text whose mark runs into a comment, outside of comments; and ends of lines that a comment may seem to have inside."""


def parse_yaml(text: str) -> object:
    """The file's one document, of dicts, lists, texts and None. Raises `yaml.YAMLError`, `RecursionError`."""
    if QuickLoader is not None and not _UNLIKE.search(text):
        try:
            return yaml.load(text, Loader=QuickLoader)  # noqa: S506 - constructs as SafeLoader does
        except (yaml.YAMLError, RecursionError):
            pass
    return yaml.load(text, Loader=PlainLoader)  # noqa: S506 - derives from SafeLoader


class Written(str):
    """A scalar that looks like a number or a flag, as it is written; `meant` is what it looks like."""

    meant: float | bool

    __slots__ = ("meant",)


class _Rules(yaml.composer.Composer, yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """What rule files may hold, whoever takes their text apart."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not when it is constructed: a merge (`<<`) may by then have put the keys it overrides beside its own.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be a text", key.start_mark)
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        # Merges of merges grow without end.
        if len(node.value) > MAX_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a mapping has at most {MAX_KEYS} keys", node.start_mark
            )


class PlainLoader(_Rules, yaml.SafeLoader):
    """Without libyaml."""


QuickLoader: type[yaml.CSafeLoader] | None = None
"""With libyaml; None: PyYAML was built without."""

if yaml.__with_libyaml__:

    class _QuickLoader(_Rules, yaml.CSafeLoader):
        # Its parser composes, too, but knows neither of duplicate keys nor of a bound of depth: `Composer` comes first.
        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            yaml.composer.Composer.__init__(self)

    QuickLoader = _QuickLoader


def _number(loader: Any, node: yaml.ScalarNode) -> str:
    return _written(node, loader.construct_yaml_int)


def _float(loader: Any, node: yaml.ScalarNode) -> str:
    return _written(node, loader.construct_yaml_float)


def _bool(loader: Any, node: yaml.ScalarNode) -> str:
    return _written(node, loader.construct_yaml_bool)


def _text(loader: Any, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _written(node: yaml.ScalarNode, meaning: Callable[[yaml.ScalarNode], float | bool]) -> str:
    text = Written(node.value)
    try:
        text.meant = meaning(node)
        if not math.isfinite(text.meant):
            return str(node.value)
    except (ValueError, KeyError, OverflowError):
        # Tagged as what it does not look like, or larger than the numbers of an answer, which are doubles.
        return str(node.value)
    return text


for _type, _construct in {"bool": _bool, "int": _number, "float": _float, "timestamp": _text}.items():
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{_type}", _construct)
    if QuickLoader is not None:
        QuickLoader.add_constructor(f"tag:yaml.org,2002:{_type}", _construct)
