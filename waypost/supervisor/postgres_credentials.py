"""The passwords of the embedded PostgreSQL: made once, kept in a file that only we can read."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from waypost.supervisor.cluster_errors import ClusterError


def load_or_make(path: Path, roles: Iterable[str]) -> dict[str, str]:
    """The password of every role, by role. What is missing is made and written before it is returned.

    The file has mode 0600 and is replaced as a whole. Raises `ClusterError` for a file that is no book of passwords.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read the database's passwords in {path}: {error}") from None
    if not isinstance(known, dict) or not all(isinstance(value, str) and value for value in known.values()):
        raise ClusterError(f"{path} does not hold the database's passwords")
    missing = [role for role in roles if role not in known]
    if missing:
        known |= {role: secrets.token_urlsafe(32) for role in missing}
        write_private(path, json.dumps(known, indent=2) + "\n")
    return known


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Replaces `path` by a file of mode 0600, owned by `owner` (user, group), whole and on disk when this returns."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        if owner is not None:
            os.fchown(fd, *owner)
        file.write(text)
        file.flush()
        os.fsync(fd)
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames and new names in `folder` last."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
