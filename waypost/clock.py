"""The clocks: the machine's own, and one that follows the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SystemClock:
    """This machine's UTC time."""

    def now(self) -> datetime:
        """The time, with its zone."""
        return datetime.now(UTC)


class ServerClock:
    """This machine's time corrected by what the database's clock was last seen to differ.

    Replicas then agree on the second in which a link expires, though their own clocks may not.
    """

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """The database's time as far as it is known; before the first reading, this machine's."""
        return datetime.now(UTC) + self._offset

    def observe(self, server: datetime, before: datetime, after: datetime) -> None:
        """Takes a reading of the database's clock made between `before` and `after` of this machine's."""
        self._offset = server - (before + (after - before) / 2)
