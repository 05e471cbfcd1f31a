"""What keeps `waypost up` from starting or going on."""

from __future__ import annotations

from pathlib import Path


class CannotStart(Exception):
    """`waypost up` cannot go on; `str()` is the one line that people read, `exit_code` what the process ends with.

    Exit code 2: something that the person at the keyboard can mend (a setting, a port, the data directory). Exit code
    1: a process that ends again and again for a reason of its own.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class DataDirectoryInUse(CannotStart):
    """Another supervisor holds the lock of the data directory; `holder` names it as well as we can."""

    def __init__(self, path: Path, holder: str) -> None:
        self.holder = holder
        super().__init__(f"another waypost uses this data directory ({holder}): {path}")


class DataDirectoryTooNew(CannotStart):
    """A newer Waypost wrote the data directory; this one would not understand it."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"the data directory {path} was written by a newer Waypost: it has format {found}, this one knows {known}"
        )


class PortInUse(CannotStart):
    """Something listens already on the port that `setting` names."""

    def __init__(self, setting: str, port: int, holder: str) -> None:
        by = f" by {holder}" if holder else ""
        super().__init__(f"port {port} ({setting}) is already in use{by}; free it or set {setting} to another port")


class ProcessRefused(CannotStart):
    """A process said at its first start, by exit code 2, that its settings are wrong; `line` is its own sentence."""

    def __init__(self, name: str, line: str, log: Path) -> None:
        super().__init__(f"{name} refuses to start: {line or 'it gave no reason'} (log: {log})")


class ProcessKeepsFailing(CannotStart):
    """A process ended `times` times without ever having been ready."""

    def __init__(self, name: str, times: int, how: str, log: Path) -> None:
        super().__init__(
            f"{name} ended {times} times without becoming ready, last with {how} (log: {log})", exit_code=1
        )
