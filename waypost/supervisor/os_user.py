"""The operating system user that PostgreSQL runs as when we are root: PostgreSQL refuses to be root itself."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from waypost.supervisor.cluster_errors import ClusterError


@dataclass(frozen=True, slots=True)
class OsUser:
    """A user by name and numbers."""

    name: str
    uid: int
    gid: int


def database_user(name: str) -> OsUser | None:
    """None unless we are root; then the user `name`, made as a system user if there is none. Raises `ClusterError`."""
    if os.geteuid() != 0:
        return None
    user = _look_up(name)
    if user is None:
        _create(name)
        user = _look_up(name)
    if user is None:
        raise ClusterError(
            f"PostgreSQL cannot run as root and there is no user {name!r}: create it "
            f"(useradd --system {name}) or name another with WAYPOST_POSTGRES_USER"
        )
    if user.uid == 0:
        raise ClusterError(f"WAYPOST_POSTGRES_USER: PostgreSQL cannot run as {name}, which is root")
    return user


def can_pass(user: OsUser, path: Path) -> bool:
    """Whether `user` can get to `path` and read or enter it. Asks the kernel, which also knows of access lists.

    Raises `OSError` if that could not be found out.
    """
    # A folder is entered, a program run: both is the x bit. /bin/sh is where every user can reach it.
    test = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)],
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        cwd="/",
        check=False,
        capture_output=True,
        timeout=20,
    )
    if test.returncode not in (0, 1):
        raise OSError(f"sh ended with {test.returncode} when asked whether {user.name} can reach {path}")
    return test.returncode == 0


def _look_up(name: str) -> OsUser | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return OsUser(name, entry.pw_uid, entry.pw_gid)


def _create(name: str) -> None:
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if useradd is None:
        return
    # Another process may do the same at this moment; who wins does not matter, only that the user is there afterwards.
    subprocess.run(
        [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
        capture_output=True,
        timeout=60,
        check=False,
    )
