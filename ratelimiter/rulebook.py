"""The rules in force, which version of them they are, and what is wrong with a newer one."""

from __future__ import annotations

from datetime import datetime

from ratelimiter.rules import Rules


class RuleBook:
    """What everybody reads the rules from, since a reload replaces them."""

    def __init__(self, rules: Rules, loaded_at: datetime) -> None:
        self.rules = rules
        self.loaded_at = loaded_at
        self.generation = 1
        """Counts up with each version that is loaded."""
        self.problems: tuple[str, ...] = ()
        """What is wrong with the folder as it is now; empty: what is in force is what it says."""

    def replace(self, rules: Rules, loaded_at: datetime) -> None:
        """Puts a new version in force."""
        self.rules = rules
        self.loaded_at = loaded_at
        self.generation += 1
        self.problems = ()
