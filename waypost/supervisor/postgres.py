"""The embedded PostgreSQL: a private cluster in a folder of the data directory. Synchronous; spawns no server itself.

Below the folder: `data/` (the cluster), `socket/` (0700), `credentials.json` (0600) and, where needed, a copy of the
programs. As root the cluster and the socket belong to another user, since PostgreSQL refuses to run as root; nothing
else changes hands, and folders above are never touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from waypost.adapters.roles import JOB_ROLES
from waypost.supervisor import postgres_config, postgres_programs
from waypost.supervisor.cluster_errors import ClusterError
from waypost.supervisor.os_user import OsUser, can_pass, database_user
from waypost.supervisor.postgres_credentials import load_or_make, sync_folder, write_private
from waypost.supervisor.postgres_leftover import pid_in, stop_leftover

__all__ = ["DATABASE", "OWNER", "ClusterError", "PostgresCluster"]

OWNER = "waypost"
"""The superuser, who owns the schema."""
DATABASE = "waypost"
MAX_SOCKET_PATH = 107
"""Bytes of `sun_path` without its closing NUL, unix(7)."""
READY_SECONDS = 90.0
"""For a start, including the recovery from a crash."""


class PostgresCluster:
    """One cluster. `port`: also listen on 127.0.0.1 there; None: only on the unix socket. `bin_dir`: the programs of
    any PostgreSQL 15+; None: the bundled ones. `os_user`: who runs it when we are root. `settings` go over the
    defaults. `sync=False` leaves the disk to its own pace while the cluster is made: for tests only.
    """

    stop_signal = signal.SIGINT
    """Fast shutdown."""

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        bin_dir: Path | None = None,
        *,
        os_user: str = "waypost",
        settings: Mapping[str, str] | None = None,
        sync: bool = True,
    ) -> None:
        self.folder = data_dir.absolute()
        self.data = self.folder / "data"
        self.port = port
        self._bin_dir = bin_dir
        self._os_user = os_user
        self._extra = dict(settings or {})
        self._sync = sync
        self._user: OsUser | None = None
        self._programs: postgres_programs.Programs | None = None
        self._known_passwords: dict[str, str] = {}
        self._process_group: int | None = None

    def initialise(self, process_group: int | None = None) -> None:
        """Makes the cluster if there is none, and the files that a start needs. Safe to repeat, also after a crash.

        `process_group`: where the programs run that it needs; whoever watches that group then sees to their end.
        Takes seconds the first time. The caller holds the lock of the data directory. Raises `ClusterError`.
        """
        self._process_group = process_group
        programs = postgres_programs.find(self._bin_dir)
        self._user = database_user(self._os_user)
        try:
            self._make_folder()
            if self._user is not None and not can_pass(self._user, self.folder):
                raise ClusterError(
                    f"WAYPOST_DATA_DIR: the user {self._user.name}, whom PostgreSQL runs as, cannot reach "
                    f"{self.folder}; choose a folder below ones that everybody may pass (mode o+x)"
                )
            self._programs = postgres_programs.reachable(programs, self._user, self.folder)
            self._check_version()
            if not self.data.exists():
                self._create()
            self._private_folder(self.socket_dir)
            self._configure()
        except OSError as error:
            raise ClusterError(f"WAYPOST_DATA_DIR: cannot use {self.folder}: {error}") from None

    def check_leftover(self) -> bool:
        """Stops a server of this cluster that an earlier run left behind; True if there was one. See
        `stop_leftover`."""
        return stop_leftover(self.data, [self.socket])

    def command(self) -> list[str]:
        """What to run, as the user `run_as()`; the cluster has been initialised."""
        return [str(self._require_programs()["postgres"]), "-D", str(self.data)]

    def run_as(self) -> tuple[int, int] | None:
        """User and group id to run `command()` as; None: as we are."""
        return None if self._user is None else (self._user.uid, self._user.gid)

    def env(self) -> dict[str, str]:
        """The environment to run `command()` in: ours, without what would talk PostgreSQL into something."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "WAYPOST_"))}
        return kept | {"LANG": "C"}

    def wait_ready(self, timeout: float = READY_SECONDS, alive: Callable[[], bool] = lambda: True) -> None:
        """Blocks until the server takes connections. Raises `ClusterError` after `timeout` s or when `alive()` is
        false."""
        deadline = time.monotonic() + timeout
        while not self.ready():
            if not alive():
                raise ClusterError("PostgreSQL ended while it was starting; its log says why")
            if time.monotonic() >= deadline:
                raise ClusterError(f"PostgreSQL was not ready within {timeout:g} s; its log says what it is doing")
            time.sleep(0.02)

    def ready(self) -> bool:
        """Whether the server says of itself that it takes connections."""
        # Line 8 of the file is the state, as pg_ctl reads it. A file left by a crash is gone: see `check_leftover`.
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def pid(self) -> int | None:
        """The process id that the running server has noted."""
        return pid_in(self.data / "postmaster.pid")

    def url(self, role: str = OWNER, database: str = DATABASE) -> str:
        """Address for `role` over the unix socket; known before the cluster is. Raises `ClusterError`."""
        return (
            f"postgresql://{quote(role, safe='')}:{quote(self._passwords[role], safe='')}@/{quote(database, safe='')}"
            f"?host={quote(str(self.socket_dir), safe='/')}&port={self.socket.name.rpartition('.')[2]}"
        )

    def role_passwords(self) -> dict[str, str]:
        """The passwords of the job roles, to be set once the roles exist."""
        return {role: self._passwords[role] for role in JOB_ROLES}

    @property
    def socket_dir(self) -> Path:
        """The folder of the unix socket: in the data directory unless that path is too long for a socket."""
        folder = self.folder / "socket"
        if len(os.fsencode(folder / self._socket_name)) <= MAX_SOCKET_PATH:
            return folder
        # Always the same for one data directory. Its owner and mode are checked: others may write beside it.
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        short = Path(tempfile.gettempdir()) / f"waypost-{name}"
        if len(os.fsencode(short / self._socket_name)) > MAX_SOCKET_PATH:
            short = Path("/tmp") / short.name  # noqa: S108 - its owner is checked
        return short

    @property
    def socket(self) -> Path:
        """The unix socket."""
        return self.socket_dir / self._socket_name

    @property
    def _socket_name(self) -> str:
        return f".s.PGSQL.{self.port or postgres_config.DEFAULT_PORT}"

    @property
    def _passwords(self) -> dict[str, str]:
        if not self._known_passwords:
            try:
                self._make_folder()
                self._known_passwords = load_or_make(self.folder / "credentials.json", (OWNER, *JOB_ROLES))
            except OSError as error:
                raise ClusterError(f"WAYPOST_DATA_DIR: cannot use {self.folder}: {error}") from None
        return self._known_passwords

    def _require_programs(self) -> postgres_programs.Programs:
        if self._programs is None:
            raise RuntimeError("initialise() comes first")
        return self._programs

    def _make_folder(self) -> None:
        # The other user passes through to its own folder but can list nothing.
        try:
            self.folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True)
        except FileExistsError:
            return
        if os.geteuid() == 0:
            self.folder.chmod(0o711)  # whatever the umask took away

    def _check_version(self) -> None:
        try:
            made_by = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            if self.data.exists():
                raise ClusterError(f"{self.data} is no PostgreSQL data directory (it has no PG_VERSION)") from None
            return
        programs = self._require_programs()
        if made_by != str(programs.major):
            raise ClusterError(
                f"{self.data} was made by PostgreSQL {made_by}; {programs.folder} is {programs.version}: "
                f"set WAYPOST_POSTGRES_BIN to a PostgreSQL {made_by}"
            )

    def _create(self) -> None:
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        self._private_folder(partial)
        programs = self._require_programs()
        password_file = partial.with_name("password.partial")
        password_file.unlink(missing_ok=True)
        fd = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, f"{self._passwords[OWNER]}\n".encode())
            if self._user is not None:
                os.fchown(fd, self._user.uid, self._user.gid)
            # Byte order and plain C rules for letters: the same on every machine and after every upgrade of its
            # libraries.
            locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if programs.major >= 17 else ["--locale=C"]
            if programs.major >= 17:
                locale += ["--lc-collate=C", "--lc-ctype=C"]
            self._run(
                [
                    str(programs["initdb"]),
                    "-D",
                    str(partial),
                    f"--username={OWNER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    *locale,
                    "--data-checksums",
                    "--no-instructions",
                    *([] if self._sync else ["--no-sync"]),
                ],
            )
        finally:
            os.close(fd)
            password_file.unlink(missing_ok=True)
        self._run(
            [str(programs["postgres"]), "--single", "-D", str(partial), "postgres"],
            stdin=f"CREATE DATABASE {DATABASE};\n",
        )
        fd = os.open(partial / "postgresql.conf", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        with os.fdopen(fd, "w") as file:
            file.write("\ninclude_if_exists = 'waypost.conf'  # written anew at every start; what follows here wins\n")
        partial.rename(self.data)
        sync_folder(self.folder)

    def _run(self, command: list[str], stdin: str = "") -> None:
        user = self._user
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            cwd="/",
            env=self.env(),
            timeout=300,
            check=False,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            process_group=self._process_group,
        )
        if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            silent = [f"it gave no reason, exit code {done.returncode}"]
            lines = (done.stderr or done.stdout).strip().splitlines() or silent
            signs = ("rror:", "ERROR", "FATAL", "PANIC", "could not")
            reason = next((line for line in lines if any(sign in line for sign in signs)), lines[-1])
            program = Path(command[0]).name
            raise ClusterError(f"{program} could not make the database in {self.folder}: {reason.strip()}")

    def _private_folder(self, folder: Path) -> None:
        """Makes `folder` with mode 0700 for the user of the cluster, or checks that it is so."""
        uid = os.geteuid() if self._user is None else self._user.uid
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
                raise ClusterError(
                    f"{folder} belongs to somebody else; remove it or choose another WAYPOST_DATA_DIR"
                ) from None
        folder.chmod(0o700)
        if self._user is not None:
            os.chown(folder, self._user.uid, self._user.gid, follow_symlinks=False)

    def _configure(self) -> None:
        text = postgres_config.render(self.socket_dir, self.port, self._extra)
        write_private(self.data / "waypost.conf", text, owner=self.run_as())
