"""`waypost limits check` and `explain` with a folder of rules at hand: what the rate limiter itself makes of it.

Only the service knows rules, and this package imports no service: its program is asked, and answers in JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from waypost.cli.output import FAILED, WRONG_USAGE, counted, fail, fail_lines, json_text, printable
from waypost.cli.settings import CliSettings
from waypost.settings import BadSettings
from waypost.supervisor.environment import known_names

PROGRAM = "ratelimiter.offline"

# More than the most rules take that may be loaded.
SECONDS = 300


def check(env: Mapping[str, str], folder: str | None, *, as_json: bool) -> int:
    """Prints what is in the folder, or what is wrong with it; returns the exit code."""
    try:
        answer = _ask(env, "check", *([] if folder is None else [folder]))
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)
    except ProgramFailed as error:
        return fail(FAILED, str(error), as_json)
    if answer["problems"]:
        return _refused(answer, as_json)
    if as_json:
        click.echo(json_text(answer))
        return 0
    domains = answer["domains"]
    rules = sum(domain["rules"] for domain in domains)
    click.echo(f"{printable(answer['folder'])}: {counted(len(domains), 'domain')}, {counted(rules, 'rule')}")
    for domain in domains:
        reference = ", counted as envoyproxy/ratelimit does" if domain["compat"] else ""
        files = ", ".join(map(printable, domain["files"]))
        click.echo(f"  {printable(domain['domain'])}: {counted(domain['rules'], 'rule')} in {files}{reference}")
    return 0


def explain(env: Mapping[str, str], folder: str, domain: str, entries: Sequence[str], *, as_json: bool) -> int:
    """Prints which rule a descriptor meets and why; returns the exit code."""
    try:
        answer = _ask(env, "explain", folder, domain, *entries)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json)
    except ProgramFailed as error:
        return fail(FAILED, str(error), as_json)
    if answer["problems"]:
        return _refused(answer, as_json)
    if as_json:
        del answer["problems"]
        click.echo(json_text(answer))
        return 0
    click.echo(printable(answer["reason"]))
    for step in answer["path"]:
        entry = f"{step['key']}={step['value']}"
        click.echo(f"  {printable(entry)}: {printable(step['says'])}")
    if answer["rule"] is not None:
        for limit in answer["limits"]:
            click.echo(f"  {printable(limit['says'])}")
        for mode in answer["modes"]:
            click.echo(f"  {printable(mode)}")
        if answer["counter"]:
            click.echo(f"  counter of {printable(' '.join(answer['counter']))}")
    return 0


class ProgramFailed(Exception):
    """The rate limiter's program gave no answer; `str()` says why."""


def _ask(env: Mapping[str, str], *words: str) -> Any:
    """The program's answer. Raises `BadSettings`, also for names that are no settings, and `ProgramFailed`."""
    CliSettings.from_env(env, known_names())
    try:
        done = subprocess.run(
            # -P: not what lies by that name in the folder where somebody stands.
            [sys.executable, "-P", "-m", PROGRAM, *words],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"the rules were not loaded within {SECONDS} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = printable(lines[-1]) if lines else f"exit code {done.returncode}"
        raise ProgramFailed(f"the rate limiter's program failed: {why}") from None


def _refused(answer: Any, as_json: bool) -> int:
    problems = [printable(problem) for problem in answer["problems"]]
    if as_json:
        return fail(WRONG_USAGE, "the rules are not good", as_json, problems=problems)
    return fail_lines(WRONG_USAGE, problems)
