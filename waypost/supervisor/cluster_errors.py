"""What keeps the embedded PostgreSQL from running."""

from __future__ import annotations

from waypost.supervisor.errors import CannotStart


class ClusterError(CannotStart):
    """The embedded PostgreSQL cannot be made or started; `str()` is one line that says how to mend it."""
