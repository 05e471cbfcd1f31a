"""`waypost config`: the settings that each process would get."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping

import click

from waypost.cli.output import WRONG_USAGE, fail
from waypost.cli.settings import CliSettings
from waypost.settings import BadSettings, Settings, reserved_in_use
from waypost.supervisor import environment
from waypost.supervisor.settings import SupervisorSettings


def show(env: Mapping[str, str], *, as_json: bool) -> int:
    """Prints them, or what is wrong with them."""
    try:
        shown = effective(env)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json, problems=error.problems)
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return 0
    for process, values in shown.items():
        click.echo(f"# {process}")
        for name, value in values.items():
            click.echo(f"{name}={value}{'' if name not in env else '    # set'}")
        click.echo()
    for sentence in reserved_in_use(env):
        click.echo(f"# {sentence}")
    return 0


def effective(env: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Setting names and values by process, secrets masked. Raises `BadSettings`."""
    known = environment.known_names()
    supervisor = SupervisorSettings.from_env(env, known)
    environment.check(env, supervisor)
    data = supervisor.data_path(env)
    result = {"waypost up": {**supervisor.effective(), "WAYPOST_DATA_DIR": str(data)}}
    # What stands for the embedded database's own, which only `waypost up` knows; masked like any other.
    role_urls = {role: "postgresql://" for urls in environment.DATABASE_ROLES.values() for role in urls.values()}
    for service in environment.SERVICES:
        settings_class: type[Settings] = importlib.import_module(f"{service}.settings").Settings
        own = environment.for_service(
            service, environment.names_of(service), env, supervisor, data, role_urls, environment.SOME_PEPPER
        )
        result[service] = settings_class.from_env(own).effective()
    result["waypost commands"] = CliSettings.from_env(env).effective()
    return result
