"""The data directory: who may enter it, which format it has, and where things lie in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from waypost.supervisor.errors import CannotStart, DataDirectoryTooNew

FORMAT = 1
"""Number of the layout below; a change that an older Waypost would not understand raises it."""


@dataclass(frozen=True, slots=True)
class DataDir:
    """`<data>`: VERSION, lock, key-pepper, operator-key, logs/, postgres/, envoy/, jwt/.

    As root the folder is 0711: PostgreSQL runs as another user and must pass through to its own subfolder, but can list
    nothing. Otherwise it is 0700.
    """

    path: Path

    @property
    def version(self) -> Path:
        return self.path / "VERSION"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def key_pepper(self) -> Path:
        return self.path / "key-pepper"

    @property
    def operator_key(self) -> Path:
        return self.path / "operator-key"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def envoy(self) -> Path:
        return self.path / "envoy"

    @property
    def jwt(self) -> Path:
        """The key of `waypost dev-token`, private and public."""
        return self.path / "jwt"

    def prepare(self) -> None:
        """Creates what is missing and checks what is there.

        A folder that is neither empty nor ours is left alone: a slip in the setting must not fill somebody's home.
        Raises `CannotStart`.
        """
        try:
            self.path.mkdir(mode=self._mode, parents=True, exist_ok=True)
            self._check_format()
            for folder in (self.logs, self.envoy):
                folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise CannotStart(f"WAYPOST_DATA_DIR: {error.filename} is not a folder") from None
        except OSError as error:
            raise CannotStart(f"WAYPOST_DATA_DIR: cannot use {self.path}: {error.strerror or error}") from None

    @property
    def _mode(self) -> int:
        return 0o711 if os.geteuid() == 0 else 0o700

    def _check_format(self) -> None:
        try:
            text = self.version.read_text().strip()
        except FileNotFoundError:
            # Two first starts at the same moment may see each other's half-made things.
            if {p.name for p in self.path.iterdir()} - {"lock", "logs", "envoy"} - {p.name for p in self._leftovers()}:
                raise CannotStart(
                    f"WAYPOST_DATA_DIR: {self.path} is neither empty nor a Waypost data directory (no VERSION in it)"
                ) from None
            # mkdir's mode is narrowed by the umask, and the folder may have been there before.
            self.path.chmod(self._mode)
            self._write_format()
            return
        if not text.isdecimal():
            raise CannotStart(f"the file {self.version} does not hold a format number: {text[:40]!r}")
        if int(text) > FORMAT:
            raise DataDirectoryTooNew(self.path, int(text), FORMAT)

    def _leftovers(self) -> list[Path]:
        return list(self.path.glob("VERSION*"))

    def _write_format(self) -> None:
        # Renamed into place, so that a reader never sees half a file.
        partial = self.path / f"VERSION.{os.getpid()}"
        partial.write_text(f"{FORMAT}\n")
        partial.chmod(0o644)
        partial.replace(self.version)
