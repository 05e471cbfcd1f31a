"""One rule file: from YAML in envoyproxy/ratelimit's format, and what this product adds, to a checked tree of rules.

What is not known is refused: a limit that silently does not hold is worse than a start that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import yaml

from ratelimiter.rulefields import Fields, Problems
from ratelimiter.rulelimits import LIMIT_KEYS, OURS, read_blocks
from ratelimiter.ruletree import MAX_DOMAIN_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Node, Rule
from ratelimiter.ruleyaml import parse_yaml

MAX_DEPTH = 32
MAX_DESCRIPTORS = 100_000
"""In all files together; what an alias repeats counts each time."""

ROOT_KEYS = ("domain", "descriptors", "compat")
DESCRIPTOR_KEYS = (
    "key", "value", "rate_limit", "limits", "descriptors", "shadow_mode", "quota_mode", "share_threshold",
    "detailed_metric", "value_to_metric", "metadata",
)  # fmt: skip
ELSEWHERE = {
    **dict.fromkeys((*LIMIT_KEYS, *OURS, "unlimited"), "in rate_limit"),
    "compat": "at the top of the file",
    "domain": "at the top of the file",
}


class Compat(StrEnum):
    """Whose accounting a domain has."""

    NONE = "none"
    ENVOYPROXY = "envoyproxy"
    """That of envoyproxy/ratelimit: every descriptor is counted, also in a request that is refused."""


@dataclass(slots=True)
class Budget:
    """How many descriptors may still be read."""

    left: int = MAX_DESCRIPTORS


@dataclass(slots=True)
class RuleFile:
    """A file's domain and the tree of its rules; of no use if it has added any problems."""

    name: str
    problems: Problems
    budget: Budget = field(default_factory=Budget)
    domain: str = ""
    compat: Compat = Compat.NONE
    root: Node = field(default_factory=Node)
    rules: int = 0
    _metadata: dict[int, dict[str, object] | None] = field(default_factory=dict)

    def read(self, text: str) -> None:
        """Reads the file's text."""
        try:
            content = parse_yaml(text)
        except (yaml.YAMLError, RecursionError) as error:
            where, cause = _yaml_problem(error)
            self._problem(f"is not valid YAML: {cause}", where)
            return
        if not isinstance(content, dict):
            self._problem("must be a mapping with the keys domain and descriptors")
            return
        fields = Fields(content, self.name, "", self.problems)
        fields.check_keys(ROOT_KEYS, {"key": "in the list of descriptors", "value": "in the list of descriptors"})
        self.domain = fields.text("domain", MAX_DOMAIN_BYTES, required=True)
        self.compat = fields.choice("compat", Compat, Compat.NONE)
        self.root.key = self.domain
        self._descriptors(fields, self.root, ())

    def _problem(self, sentence: str, place: str = "") -> None:
        self.problems.add(self.name, place, sentence)

    def _descriptors(self, parent: Fields, node: Node, path: tuple[Node, ...]) -> None:
        """Adds the descriptors that `parent` nests to `node`; `path` leads there from below the root."""
        items = parent.items("descriptors", "must be a mapping with a key")
        if len(path) == MAX_DEPTH and items:
            parent.wrong("descriptors", f"descriptors nest at most {MAX_DEPTH} deep")
            return
        places: dict[tuple[str, str], str] = {}
        for item in items:
            if self.budget.left <= 0:
                return
            self.budget.left -= 1
            if self.budget.left == 0:
                self._problem(f"there are more than {MAX_DESCRIPTORS} descriptors in all files", item.place)
                return
            child = self._descriptor(item, path)
            if not child.key:
                continue
            if node.add(child):
                places[child.key, child.value] = item.place
            else:
                item.wrong("", duplicate(child, f"is in {places[child.key, child.value]} already"))

    def _descriptor(self, fields: Fields, above: tuple[Node, ...]) -> Node:
        """One descriptor and what it nests."""
        fields.check_keys(DESCRIPTOR_KEYS, ELSEWHERE)
        node = Node(
            key=fields.text("key", MAX_KEY_BYTES, required=True),
            value=fields.text("value", MAX_VALUE_BYTES),
            share_threshold=fields.flag("share_threshold"),
            value_to_metric=fields.flag("value_to_metric"),
        )
        if node.share_threshold and "*" not in node.key + node.value:
            fields.wrong("share_threshold", "needs a value with a '*', whose values share one counter")
        path = (*above, node)
        node.rule = self._rule(fields, path)
        self._descriptors(fields, node, path)
        return node

    def _rule(self, fields: Fields, path: tuple[Node, ...]) -> Rule | None:
        flags = {name: fields.flag(name) for name in ("shadow_mode", "quota_mode", "detailed_metric")}
        # What an alias repeats is made once, or a small file would fill the memory.
        written = id(fields.mapping.get("metadata"))
        if written not in self._metadata:
            self._metadata[written] = fields.metadata("metadata")
        names = (self.domain, *(text for node in path for text in (node.key, node.value)))
        blocks = read_blocks(fields, names, reference=self.compat is Compat.ENVOYPROXY)
        if blocks is None:
            return None
        self.rules += 1
        return Rule(
            place=".".join((self.domain, *(node.text for node in path))),
            limits=tuple(blocks.limits),
            name=blocks.name,
            replaces=frozenset(blocks.replaces),
            reference=self.compat is Compat.ENVOYPROXY,
            metadata=self._metadata[written],
            **flags,
        )


def _yaml_problem(error: Exception) -> tuple[str, str]:
    """Where in a file and why it is no YAML."""
    if isinstance(error, RecursionError):
        return "", "nests too deep"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        return "" if mark is None else f"line {mark.line + 1}", str(error.problem or error.context)
    return "", " ".join(str(error).split())


def duplicate(node: Node, where: str) -> str:
    """The sentence for a key and value that is there twice."""
    value = f" and value {node.value!r}" if node.value else ""
    return f"key {node.key!r}{value} {where}"
