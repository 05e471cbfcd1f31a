"""What of the environment each process gets to see: a service its own settings, and nobody else's secrets."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter

from waypost.rpc.ports import address
from waypost.setting_names import SETTING_NAMES
from waypost.settings import PREFIX, BadSettings, Settings
from waypost.supervisor import dev_issuer
from waypost.supervisor.settings import SupervisorSettings

SERVICES = ("gateway", "ratelimiter", "workers")

DATABASE_ROLES: Mapping[str, Mapping[str, str]] = {
    "gateway": {
        "WAYPOST_DATABASE_API_URL": "waypost_api",
        "WAYPOST_DATABASE_REDIRECT_URL": "waypost_redirect",
        "WAYPOST_DATABASE_IDENTITY_URL": "waypost_identity",
        "WAYPOST_DATABASE_OPERATOR_URL": "waypost_operator",
    },
    "ratelimiter": {
        "WAYPOST_DATABASE_IDENTITY_URL": "waypost_identity",
        "WAYPOST_DATABASE_LIMITER_URL": "waypost_limiter",
    },
    "workers": {
        "WAYPOST_DATABASE_SWEEPER_URL": "waypost_sweeper",
        "WAYPOST_DATABASE_IDENTITY_URL": "waypost_identity",
    },
}
"""The login roles of each service, by the setting that takes the role's URL."""

USES_DATABASE = frozenset({"gateway", "ratelimiter", "workers"})


BEHIND_THE_EDGE: Mapping[str, str] = {
    # Envoy's connections carry many callers' calls: to close one because some of them cancel theirs would harm the
    # rest. It counts each caller's resets itself.
    "WAYPOST_HOT_MAX_RESETS": "100000",
    # Callers take their answers through Envoy, as slowly as they like; it cuts them off after so long.
    "WAYPOST_HOT_WRITE_SECONDS": "30",
}
"""Bounds of hot ports that nobody but Envoy is to reach, unless the user names others."""

SOME_PEPPER = "0" * 64
"""In place of the one in the data directory, which may not have been made yet."""


def names_of(service: str) -> frozenset[str]:
    """The settings that a service knows.

    Looked up by name while we run, never imported as a module that we depend on: this package imports no service.
    """
    return frozenset(info.env for info in _settings_of(service).infos())


def _settings_of(service: str) -> type[Settings]:
    return cast(type[Settings], importlib.import_module(f"{service}.settings").Settings)


def without_ours(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without any `WAYPOST_` name: what PostgreSQL, Envoy and the services have in common."""
    return {name: value for name, value in env.items() if not name.startswith(PREFIX)}


def check(env: Mapping[str, str], settings: SupervisorSettings) -> None:
    """Refuses what a service would refuse, and role URLs without the database that they belong to.

    Here it takes no time and touches nothing; a service says so when everything else has been started already. Raises
    `BadSettings`.
    """
    if settings.embedded:
        roles = sorted(name for urls in DATABASE_ROLES.values() for name in urls if env.get(name, "").strip())
        if roles:
            raise BadSettings([f"{name} is set, but WAYPOST_DATABASE_URL is not: set both or none" for name in roles])
    # In place of the embedded database's URLs, whose passwords may not have been made yet.
    urls = {role: "postgresql://" for roles in DATABASE_ROLES.values() for role in roles.values()}
    problems: list[str] = []
    for service in SERVICES:
        try:
            own = _settings_of(service)
        except ImportError:  # said where the service is to be started
            continue
        try:
            own.from_env(for_service(service, names_of(service), env, settings, Path(), urls, SOME_PEPPER))
        except BadSettings as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise BadSettings(problems)


def for_service(
    service: str,
    names: Collection[str],
    env: Mapping[str, str],
    settings: SupervisorSettings,
    data: Path,
    role_urls: Mapping[str, str],
    pepper: str,
) -> dict[str, str]:
    """The environment of one service.

    What the user set for it passes through; on top lies what the supervisor decides. `role_urls` are the embedded
    database's URLs by role; of them it gets its own. `pepper`: of the digests of API keys, if the user names none.
    """
    given = {name: value for name, value in env.items() if name in names and value.strip()}
    given.setdefault("WAYPOST_KEY_PEPPER", pepper)
    if settings.embedded:
        given.setdefault("WAYPOST_ANONYMOUS_CREATE", "true")
    limiter = settings.unary_calls("ratelimiter")
    given.setdefault(
        "WAYPOST_RATELIMITER_ADDRESS", f"unix:{limiter}" if isinstance(limiter, Path) else address(*limiter)
    )
    if settings.hot_host_is_private:
        for name, value in BEHIND_THE_EDGE.items():
            given.setdefault(name, value)
    decided = {
        **{listener.setting: str(listener.port) for listener in settings.listeners()},
        "WAYPOST_HOST": settings.host,
        "WAYPOST_PUBLIC_URL": settings.public_address,
        "WAYPOST_DATA_DIR": str(data),
        "WAYPOST_DRAIN_SECONDS": f"{settings.drain_seconds:g}",
    }
    if settings.dev_tokens:
        decided |= dev_issuer.settings(data)
    if settings.embedded:
        decided |= {name: role_urls[role] for name, role in DATABASE_ROLES[service].items() if role in role_urls}
    elif service in USES_DATABASE:
        decided["WAYPOST_DATABASE_URL"] = settings.database_url.get_secret_value()
    own = {name: value for name, value in {**given, **decided}.items() if name in names}
    # Log lines must be in the file when a process dies, not in its buffer.
    return {**without_ours(env), **own, "PYTHONUNBUFFERED": "1"}


def anonymous_create(env: Mapping[str, str], settings: SupervisorSettings) -> bool:
    """Whether links may be made without credentials; `env` has passed `check`."""
    given = env.get("WAYPOST_ANONYMOUS_CREATE", "").strip()
    return TypeAdapter(bool).validate_python(given) if given else settings.embedded


def known_names() -> frozenset[str]:
    """Every setting that any part of Waypost knows."""
    return SETTING_NAMES | {info.env for info in SupervisorSettings.infos()}
