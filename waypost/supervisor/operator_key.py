"""The secrets of identity that `waypost up` makes by itself: the pepper of key digests, and the first operator key.

Both lie in the data directory with mode 0600. The file of the key is written before the key is stored, and is what is
stored: whenever a start was cut off between the two, the next one goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from waypost.access.api_keys import ApiKey, new_key, parse_key
from waypost.supervisor.data_dir import DataDir
from waypost.supervisor.errors import CannotStart
from waypost.supervisor.postgres_credentials import write_private

PEPPER_SETTING = "WAYPOST_KEY_PEPPER"

Tell = Callable[[str], None]
"""Takes a key that has just been made, in the clear, to show it this once."""


def pepper_of(data: DataDir, env: Mapping[str, str]) -> str:
    """What the services get as WAYPOST_KEY_PEPPER: what the user has set, else the pepper of this data directory.

    That is made when there is none. Losing it makes every key count for nothing. Raises `CannotStart`.
    """
    if given := env.get(PEPPER_SETTING, "").strip():
        return given
    path = data.key_pepper
    try:
        if not path.exists():
            write_private(path, secrets.token_hex(32) + "\n")
        pepper = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot read the pepper of API keys in {path}: {error}") from None
    if len(pepper) < 32:
        raise CannotStart(f"{path} does not hold the pepper of API keys; with another one no key would count")
    return pepper


async def first_operator_key(url: str, data: DataDir, pepper: str, tell: Tell) -> None:
    """Sees to it that there is an operator key: makes one, into `operator-key`, if there is neither file nor key.

    `url` is the database's for its owner, `pepper` as WAYPOST_KEY_PEPPER has it. Raises `CannotStart`,
    `asyncpg.PostgresError`, `OSError`.
    """
    from waypost.adapters.first_key import has_operator_key, is_kept_under, keep_operator_key

    peppers = [part.encode() for one in pepper.split(",") if (part := one.strip())]
    key = _kept(data)
    if key is None:
        if await has_operator_key(url):
            return
        key = new_key()
        write_private(data.operator_key, key.text + "\n")
    if await keep_operator_key(url, key, peppers[0]):
        tell(key.text)
    elif not await is_kept_under(url, key, peppers):
        raise CannotStart(
            f"no API key counts any more: the key in {data.operator_key} was stored under another pepper than there is "
            f"now. Put the old one back, into {data.key_pepper} or as {PEPPER_SETTING}=<new>,<old>; if it is lost, see "
            "docs/troubleshooting.md"
        )


def _kept(data: DataDir) -> ApiKey | None:
    try:
        text = data.operator_key.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot read the operator key in {data.operator_key}: {error}") from None
    key = parse_key(text)
    if key is None:
        raise CannotStart(
            f"{data.operator_key} does not hold an API key; move it away to have one made if there is none"
        )
    return key
