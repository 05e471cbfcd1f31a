"""`waypost limits explain`, `rules` and `reset`: one call each, and what it says."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence

import click

from waypost.cli.limits.show import (
    entries_of,
    entries_text,
    explanation_lines,
    explanation_object,
    modes_text,
    rule_text,
    rules_object,
)
from waypost.cli.options import Target
from waypost.cli.output import counted, json_text, printable
from waypost.cli.refusals import OPTIONS
from waypost.cli.session import run
from waypost.cli.table import Column, Table
from waypost.client import Client, LimitRule
from waypost.client.channel import Server

Env = Mapping[str, str]

NAMES = {
    **OPTIONS,
    "domain": "DOMAIN",
    "entries": "KEY=VALUE",
    "hits_addend": "--hits",
    "workspace_id": "--of",
    "requests_per_unit": "--limit",
    "unit": "--per",
    "burst": "--burst",
    "unlimited": "--unlimited",
    "override_id": "OVERRIDE_ID",
}
"""What a field of a request is called on the command line."""

COLUMNS: Sequence[Column[LimitRule]] = (
    Column("RULE", lambda rule: rule.rule),
    Column("LIMITS", rule_text, least=16, worth=2),
    Column("MODE", modes_text, worth=1),
)


def explain(env: Env, target: Target, *, as_json: bool, domain: str, words: Sequence[str], hits: int) -> int:
    """Prints what a check would answer and why. Returns the exit code, as all of these."""

    async def work(client: Client, _: Server) -> int:
        explanation = await client.limits.explain(domain, entries_of(words), hits=hits)
        if as_json:
            click.echo(json_text(explanation_object(explanation)))
        else:
            for line in explanation_lines(explanation):
                click.echo(line)
        return 0

    return run(env, target, work, as_json=as_json, names=NAMES)


def rules(env: Env, target: Target, *, as_json: bool, domain: str) -> int:
    """Prints the rules in force, and what is wrong with a newer version of them."""

    async def work(client: Client, _: Server) -> int:
        found = await client.limits.rules(domain)
        if as_json:
            click.echo(json_text(rules_object(found)))
            return 0
        if found.rules:
            table = Table(COLUMNS, found.rules, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
            click.echo(table.head())
            for rule in found.rules:
                click.echo(table.row(rule))
        else:
            click.echo("no rules", err=True)
        # Not among the rules: whatever reads them wants nothing else.
        for problem in found.problems:
            click.echo(printable(f"a newer version is not in force: {problem}"), err=True)
        return 0

    return run(env, target, work, as_json=as_json, names=NAMES)


def reset(env: Env, target: Target, *, as_json: bool, domain: str, words: Sequence[str], workspace: str) -> int:
    """Forgets what a descriptor has used; prints how many counters there were."""

    async def work(client: Client, _: Server) -> int:
        entries = entries_of(words)
        counters = await client.limits.reset(domain, entries, workspace=workspace)
        said = f"{counted(counters, 'counter')} of {entries_text(entries)} forgotten"
        click.echo(json_text({"counters": counters}) if as_json else printable(said))
        return 0

    return run(env, target, work, as_json=as_json, names=NAMES)
