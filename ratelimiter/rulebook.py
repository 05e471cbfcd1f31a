"""The rules in force, which version of them they are, and what is wrong with a newer one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ratelimiter.rules import Rules


class RulesNotInForce(Exception):
    """The folder of rules has mistakes; `str()` is one line: what goes on serving, and the first of them."""

    def __init__(self, generation: int, problems: Sequence[str]) -> None:
        self.generation = generation
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"generation {generation} goes on serving; {problems[0]}{more}")


class RuleBook:
    """What everybody reads the rules from, since a reload replaces them."""

    def __init__(self, rules: Rules, loaded_at: datetime) -> None:
        self.rules = rules
        self.loaded_at = loaded_at
        self.generation = 1
        """Counts up with each version that is loaded."""
        self.problems: tuple[str, ...] = ()
        """What is wrong with the folder as it is now; empty: what is in force is what it says."""
        self.failures = 0
        """How many versions were refused so far."""

    def replace(self, rules: Rules, loaded_at: datetime) -> None:
        """Puts a new version in force."""
        self.rules = rules
        self.loaded_at = loaded_at
        self.generation += 1
        self.problems = ()

    def refuse(self, problems: Sequence[str]) -> None:
        """Notes what is wrong with a new version; the last good one stays in force."""
        self.problems = tuple(problems)
        self.failures += 1

    async def probe(self) -> None:
        """For the health check. Raises `RulesNotInForce` while the folder has mistakes."""
        if self.problems:
            raise RulesNotInForce(self.generation, self.problems)

    def describe(self) -> str:
        """Which version is in force, for people."""
        return f"generation {self.generation}, loaded at {self.loaded_at.isoformat(timespec='seconds')}"
