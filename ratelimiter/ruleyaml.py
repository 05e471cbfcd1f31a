"""YAML as the reference reads it: every scalar keeps the text it is written in, and no key stands twice.

A descriptor's value may look like a number or a date (`value: 007`); it is compared with what requests bring, so it
must stay as written.
"""

from __future__ import annotations

from typing import Any

import yaml


def parse_yaml(text: str) -> object:
    """The file's one document, of dicts, lists, texts and None. Raises `yaml.YAMLError`."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader


class _Loader(yaml.SafeLoader):
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


def _as_written(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


for _type in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_type}", _as_written)
