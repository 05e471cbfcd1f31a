"""The rules in force: a folder of files, each with the rules of a domain."""

from __future__ import annotations

import errno
import hashlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from native import RuleTree
from ratelimiter.rulefields import Problems
from ratelimiter.rulefile import Budget, Compat, RuleFile, duplicate
from ratelimiter.ruletree import Match, Node, Rule, metric_place
from waypost.model import LimitEntry

__all__ = ["Domain", "Match", "Numbered", "Rule", "Rules", "RulesError", "rule_paths"]

MAX_FILES = 1000
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_BYTES = 16 * 1024 * 1024
"""Of all files together."""

VERSION_BYTES = 8
_LENGTH_BYTES = 4


class RulesError(Exception):
    """Rule files are wrong; `str()` is one line that names the file, the place in it and the cause of each problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(slots=True)
class Domain:
    """The rules of one domain."""

    root: Node
    compat: Compat
    files: list[str]
    """Their names; several only where domains are merged."""
    rules: int
    """How many there are."""


class Rules:
    """The rules by domain. Not changed once they are made: a reload makes others.

    `version`: 8 bytes that are the same wherever the same files are in force.
    """

    def __init__(self, domains: Mapping[str, Domain], version: bytes) -> None:
        self.version = version
        self._domains = dict(domains)
        self._numbered: list[Numbered] = []
        self._numbers: dict[str, range] = {}
        for name, domain in self._domains.items():
            first = len(self._numbered)
            self._number(domain.root)
            self._numbers[name] = range(first, len(self._numbered))
        self._tree = RuleTree({name: domain.root for name, domain in self._domains.items()})

    @classmethod
    def load(cls, folder: Path, *, merge_domains: bool = False) -> Self:
        """Reads the `*.yaml` and `*.yml` files of `folder` itself, but no hidden ones. Raises `RulesError`.

        `merge_domains`: several files may have rules of one domain; else that is an error.
        """
        try:
            paths = rule_paths(folder)
        except OSError as error:
            raise RulesError([f"{folder}: the folder of rules cannot be read ({error.strerror})"]) from None
        if not paths:
            raise RulesError([f"{folder}: the folder of rules has no *.yaml or *.yml file"])
        if len(paths) > MAX_FILES:
            raise RulesError([f"{folder}: the folder of rules has more than {MAX_FILES} files"])
        texts: dict[str, str] = {}
        problems = Problems()
        room = MAX_BYTES
        # Under the folder's own name, wherever a link of that name leads.
        parent = folder.absolute().name
        for path in paths:
            name = f"{parent}/{path.name}"
            try:
                data = _read(path)
            except OSError as error:
                problems.add(name, "", f"cannot be read ({error.strerror})")
                continue
            room -= len(data)
            if len(data) > MAX_FILE_BYTES:
                problems.add(name, "", f"is larger than {MAX_FILE_BYTES // 1024**2} MiB")
            if room < 0:
                problems.add(name, "", f"the files are larger than {MAX_BYTES // 1024**2} MiB together")
                break
            try:
                texts[name] = data.decode()
            except UnicodeDecodeError:
                problems.add(name, "", "is not UTF-8")
        if problems:
            raise RulesError(problems.lines)
        return cls.parse(texts, merge_domains=merge_domains)

    @classmethod
    def parse(cls, texts: Mapping[str, str], *, merge_domains: bool = False) -> Self:
        """The rules in these texts by file name. Raises `RulesError` with the problems of all files."""
        domains: dict[str, Domain] = {}
        problems = Problems()
        budget = Budget()
        version = hashlib.blake2b(digest_size=VERSION_BYTES)
        for name, text in texts.items():
            data = text.encode()
            version.update(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
            file = RuleFile(name, problems, budget)
            file.read(text)
            if not file.domain:
                continue
            known = domains.get(file.domain)
            if known is None:
                domains[file.domain] = Domain(file.root, file.compat, [name], file.rules)
            elif merge_domains:
                _merge(known, file)
            else:
                sentence = (
                    f"{file.domain!r} is in {known.files[0]} already (WAYPOST_LIMITS_MERGE_DOMAINS=true joins them)"
                )
                problems.add(name, "domain", sentence)
        if problems:
            raise RulesError(problems.lines)
        return cls(domains, version.digest())

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of all domains that have rules."""
        return tuple(self._domains)

    @property
    def numbered(self) -> Sequence[Numbered]:
        """All rules, by the numbers that `tree` has for them."""
        return self._numbered

    @property
    def tree(self) -> RuleTree:
        """What finds the number of a descriptor's rule."""
        return self._tree

    def domain(self, name: str) -> Domain | None:
        """The rules of one domain; None: there are none."""
        return self._domains.get(name)

    def listed(self, domain: str = "", start: int = 0) -> Iterator[tuple[str, Rule]]:
        """The rules with their domains, in the order of the files; of one domain or, if it is empty, of all.

        `start`: so many are passed over.
        """
        for name in (domain,) if domain else self._domains:
            numbers = self._numbers.get(name, range(0))
            for number in numbers[start:]:
                yield name, self._numbered[number].rule
            start = max(0, start - len(numbers))

    def match(self, domain: str, entries: Sequence[LimitEntry]) -> Match | None:
        """The rule that applies to a descriptor; None if there is none, or no such domain."""
        found = self._tree.match(domain, entries)
        if found is None:
            return None
        number, values = found
        numbered = self._numbered[number]
        if not numbered.names_values:
            return Match(numbered.rule, values)
        return Match(numbered.rule, values, metric_place(self._domains[domain].root, numbered.rule, entries))

    def _number(self, root: Node) -> None:
        """Gives the rules of a domain the numbers by which the compiled tree knows them, in the order of the files."""
        # No deeper than rules nest, which is bounded.
        pending = [(root, False)]
        while pending:
            node, to_metric = pending.pop()
            to_metric = to_metric or node.value_to_metric
            if node.rule is not None:
                node.number = len(self._numbered)
                self._numbered.append(Numbered(node.rule, to_metric or node.rule.detailed_metric))
            pending.extend((child, to_metric) for child in reversed(node.children))


@dataclass(frozen=True, slots=True)
class Numbered:
    """A rule that the tree has by its number."""

    rule: Rule
    names_values: bool
    """Its metric has values of the request in its name."""


def rule_paths(folder: Path) -> list[Path]:
    """The files of a folder that have rules, in the order of their names. Raises `OSError`."""
    return sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))


def _read(path: Path) -> bytes:
    """A file's content, of one that is too large only so much that it shows."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        # Others may have no end, or wait for a writer.
        raise OSError(errno.EINVAL, "Is not a regular file")
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _merge(domain: Domain, file: RuleFile) -> None:
    """Adds the rules of another file of the same domain; descriptors are joined whole, not into each other."""
    if file.compat is not domain.compat:
        file.problems.add(file.name, "compat", f"must be the same as in {domain.files[0]}, which has the same domain")
    for node in file.root.children:
        if not domain.root.add(node):
            file.problems.add(
                file.name, "descriptors", duplicate(node, f"is in another file of {file.domain!r} already")
            )
    domain.files.append(file.name)
    domain.rules += file.rules
