"""`waypost dev-token`: a token for the mesh of `waypost up` on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from waypost.access.claims import MAX_SUBJECT, is_subject
from waypost.cli.output import WRONG_USAGE, fail
from waypost.settings import BadSettings
from waypost.supervisor import dev_key
from waypost.supervisor.environment import known_names
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.settings import SupervisorSettings


def print_token(env: Mapping[str, str], *, subject: str, email: str | None, minutes: int, as_json: bool) -> int:
    """Prints it; returns the exit code."""
    try:
        data = _data(env)
        now = int(time.time())
        expires = now + 60 * minutes
        claims: dict[str, object] = {"sub": _checked("--subject", subject), "iat": now, "exp": expires}
        if email is not None:
            claims |= {"email": _address(email), "email_verified": True}
        token = dev_key.sign(data, claims)
    except BadSettings as error:
        return fail(WRONG_USAGE, str(error), as_json, problems=error.problems)
    except CannotStart as error:
        return fail(error.exit_code, str(error), as_json)
    if as_json:
        expires_at = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
        click.echo(json.dumps({"token": token, "subject": subject, "expires_at": expires_at}))
    else:
        click.echo(token)
    return 0


def _data(env: Mapping[str, str]) -> Path:
    settings = SupervisorSettings.from_env(env, known_names())
    if settings.takes_tokens:
        raise BadSettings(["WAYPOST_JWT_ISSUER is set: tokens come from that issuer, and ours would not be believed"])
    if not settings.embedded:
        raise BadSettings(
            ["WAYPOST_DATABASE_URL is set: `waypost up` makes a key for dev-token only with its own database"]
        )
    return settings.data_path(env)


def _checked(option: str, value: str) -> str:
    if not is_subject(value):
        raise BadSettings([f"{option} must be 1 to {MAX_SUBJECT} visible ASCII characters without spaces"])
    return value


def _address(value: str) -> str:
    if "@" not in value:
        raise BadSettings(["--email must be like ada@example.org"])
    return _checked("--email", value)
