"""What the limiter makes of a folder of rules, for programs.

Prints one JSON object: with `problems`, one text for each, or what was asked for. Exit code 0, or 2 with problems.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from native.limits import Algorithm
from ratelimiter.explain import Explanation, explain_match
from ratelimiter.rulefile import Compat
from ratelimiter.rules import Rules, RulesError
from ratelimiter.ruletree import Consistency, Rule, RuleLimit
from ratelimiter.settings import RuleSettings
from waypost.model import LimitEntry
from waypost.settings import BadSettings

USAGE = "python -m ratelimiter.offline check [FOLDER] | explain FOLDER DOMAIN KEY=VALUE..."
EXIT_PROBLEMS = 2


def main(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Does what `words` say and prints it; returns the exit code."""
    try:
        settings = RuleSettings.from_env(env)
        match list(words):
            case ["check", *given] if len(given) < 2:
                folder = Path(given[0]) if given else settings.rules_folder()
                return _answer(summary(folder, _load(folder, settings)))
            case ["explain", given, domain, *texts] if texts:
                entries = [LimitEntry(*_pair(text)) for text in texts]
                return _answer(explained(explain_match(_load(Path(given), settings), domain, entries)))
    except (BadSettings, RulesError) as error:
        return _answer({"problems": error.problems}, EXIT_PROBLEMS)
    sys.stderr.write(f"{USAGE}\n")
    return EXIT_PROBLEMS


def _load(folder: Path, settings: RuleSettings) -> Rules:
    return Rules.load(folder, merge_domains=settings.limits_merge_domains)


def summary(folder: Path, rules: Rules) -> dict[str, object]:
    """What is in a folder."""
    domains = [domain for name in rules.domains if (domain := rules.domain(name)) is not None]
    return {
        "problems": [],
        "folder": str(folder),
        "domains": [
            {
                "domain": domain.root.key,
                "rules": domain.rules,
                "compat": "" if domain.compat is Compat.NONE else domain.compat.value,
                "files": domain.files,
            }
            for domain in domains
        ],
    }


def explained(explanation: Explanation) -> dict[str, object]:
    """An explanation as JSON has it."""
    match = explanation.match
    return {
        "problems": [],
        "domain": explanation.domain,
        "rule": None if match is None else match.rule.place,
        "reason": explanation.reason,
        "path": [
            {
                "key": step.entry.key,
                "value": step.entry.value,
                "found": None if step.found is None else step.found.value,
                "descriptor": step.descriptor,
                "says": step.says,
            }
            for step in explanation.path
        ],
        "limits": [] if match is None else [_limit(limit) for limit in match.rule.limits],
        "modes": [] if match is None else list(_modes(match.rule)),
        "counter": [] if match is None or not match.rule.limits else list(match.values),
    }


def _limit(limit: RuleLimit) -> dict[str, object]:
    numbers = limit.limit
    return {
        "algorithm": numbers.algorithm.value,
        "limit": numbers.limit,
        "window_seconds": numbers.window_us // 1_000_000,
        "burst": numbers.burst,
        "consistency": limit.consistency.value,
        "on_store_failure": limit.on_store_failure.value,
        "count_rejected": limit.count_rejected,
        "says": limit_text(limit),
    }


def limit_text(limit: RuleLimit) -> str:
    """A limit in words: `30 each 60 s, token_bucket of 120, strict`."""
    numbers = limit.limit
    each = f"{numbers.limit} each {numbers.window_us // 1_000_000} s"
    burst = f" of {numbers.capacity}" if numbers.algorithm is Algorithm.TOKEN_BUCKET else ""
    words = [each, f"{numbers.algorithm}{burst}", limit.consistency.value]
    if limit.consistency is Consistency.STRICT:
        words.append(f"on_store_failure {limit.on_store_failure}")
    if limit.count_rejected:
        words.append("count_rejected")
    return ", ".join(words)


def _modes(rule: Rule) -> list[str]:
    modes = [name for name in ("shadow_mode", "quota_mode", "detailed_metric") if getattr(rule, name)]
    if rule.reference:
        modes.append("counted as envoyproxy/ratelimit does")
    if rule.name:
        modes.append(f"name {rule.name}")
    if rule.replaces:
        modes.append(f"replaces {', '.join(sorted(rule.replaces))}")
    return modes


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _answer(value: Mapping[str, object], exit_code: int = 0) -> int:
    sys.stdout.write(json.dumps(value) + "\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
