"""The rules in force: a folder of files, one for each domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ratelimiter.rulefile import RuleFile
from ratelimiter.ruletree import Match, Node, Rule
from waypost.model import LimitEntry

__all__ = ["Match", "Rule", "Rules", "RulesError"]


class RulesError(Exception):
    """Rule files are wrong; `str()` is one line that names the file, the place in it and the cause of each problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class Rules:
    """The rule trees by domain. Not changed once it is made: a reload makes another."""

    def __init__(self, domains: Mapping[str, Node]) -> None:
        self._domains = dict(domains)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the `*.yaml` and `*.yml` files of `folder` itself, but no hidden ones. Raises `RulesError`."""
        try:
            paths = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and not p.name.startswith("."))
        except OSError as error:
            raise RulesError([f"{folder}: the folder of rules cannot be read ({error.strerror})"]) from None
        texts: dict[str, str] = {}
        problems = []
        for path in paths:
            name = f"{folder.resolve().name}/{path.name}"
            try:
                texts[name] = path.read_text(encoding="utf-8")
            except OSError as error:
                problems.append(f"{name}: cannot be read ({error.strerror})")
            except UnicodeDecodeError:
                problems.append(f"{name}: is not UTF-8")
        if problems:
            raise RulesError(problems)
        if not texts:
            raise RulesError([f"{folder}: the folder of rules has no *.yaml or *.yml file"])
        return cls.parse(texts)

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Self:
        """The rules in these texts by file name. Raises `RulesError` with the problems of all files."""
        domains: dict[str, Node] = {}
        owners: dict[str, str] = {}
        problems = []
        for name, text in texts.items():
            file = RuleFile(name, text)
            problems += file.problems
            if file.domain in owners:
                problems.append(f"{name}: domain: {file.domain!r} is in {owners[file.domain]} already")
            elif file.domain:
                owners[file.domain] = name
                domains[file.domain] = file.root
        if problems:
            raise RulesError(problems)
        return cls(domains)

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of all domains that have rules."""
        return tuple(self._domains)

    def match(self, domain: str, entries: Sequence[LimitEntry]) -> Match | None:
        """The rule that applies to a descriptor; None if there is none, or no such domain."""
        root = self._domains.get(domain)
        return None if root is None else root.match(entries)
