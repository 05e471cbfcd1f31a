"""What an error of the PostgreSQL driver means: is the connection lost, and may the caller know?"""

from __future__ import annotations

from enum import Enum

import asyncpg


class Fault(Enum):
    """What to do about an error of a statement."""

    LOST = "lost"
    """The server did not answer or the session is over: the connection is no good."""
    REFUSED = "refused"
    """The server answers but cannot do it now (a lock, a time limit, a full disk, a schema not migrated yet)."""
    REJOIN = "rejoin"
    """As REFUSED, and this connection must not be used again (a standby, plans of an older schema)."""
    DEFECT = "defect"
    """Our own mistake."""


# Classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST_CLASSES = ("08",)
_LOST_CODES = {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04"}
_REFUSED_CLASSES = ("40", "53", "58")
_REFUSED_CODES = {
    "55P03",  # lock_not_available
    "57014",  # query_canceled: statement_timeout
    "42P01",
    "42703",
    "42883",
    "3F000",
    "42501",  # a table, column, function, schema or grant that a migration brings
}
_REJOIN_CODES = {
    "25006",  # read_only_sql_transaction: after a failover the old primary is a standby
    "0A000",  # feature_not_supported: "cached plan must not change result type", after a migration
}


def fault_of(error: BaseException, *, connection_closed: bool) -> Fault:
    """Which fault an error raised by asyncpg is."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        if code in _LOST_CODES or code.startswith(_LOST_CLASSES):
            return Fault.LOST
        if code in _REJOIN_CODES:
            return Fault.REJOIN
        if code in _REFUSED_CODES or code.startswith(_REFUSED_CLASSES):
            return Fault.REFUSED
        return Fault.LOST if connection_closed else Fault.DEFECT
    if isinstance(error, TimeoutError | OSError):
        return Fault.LOST
    if isinstance(error, asyncpg.InternalClientError):
        return Fault.LOST
    # InterfaceError is both "the connection is closed" and "wrong number of arguments".
    return Fault.LOST if connection_closed else Fault.DEFECT
