from collections.abc import Iterable, Sequence
from typing import Any

from typing_extensions import disjoint_base

from native.server import ServerStats

BUCKETS: tuple[float, ...]

@disjoint_base
class Call:
    """A unary call that went up. It must be ended, once; one that nobody ends is INTERNAL to its caller."""

    method: str
    metadata: list[tuple[str, str | bytes]]
    peer: str
    timeout: float | None
    message: bytes | None
    task: Any
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def end(
        self,
        status: int,
        message: str = "",
        initial: Iterable[tuple[str, str | bytes]] = (),
        trailing: Iterable[tuple[str, str | bytes]] = (),
        body: bytes = b"",
    ) -> None:
        """Ends the call: `status` by number, metadata as it arrives; sent by `Server.flush`."""

@disjoint_base
class Server:
    """Serves unary gRPC on threads of its own. Bounds as in `h2_config`: sizes in bytes, times in milliseconds."""

    def __new__(cls, **bounds: int) -> Server: ...
    @property
    def up_fd(self) -> int:
        """Readable when there are calls to take."""
    def start(self, listener: int) -> None:
        """Serves connections of a listening, non-blocking socket, which stays the caller's; once. Raises `OSError`."""
    def drain(self) -> None:
        """Accepts no more connections, and asks clients to go when their calls are done."""
    def stop(self) -> None:
        """Closes all connections."""
    def take(self, most: int) -> Sequence[tuple[Call, bool]]:
        """At most so many pairs of a call and whether its caller is gone; one taken before comes again then."""
    def flush(self) -> None:
        """Sends the answers of the calls that were ended since the last time."""
    def stats(self) -> ServerStats:
        """What was counted since the start, and what is there now."""
