from collections.abc import Iterable
from typing import TypeAlias

from typing_extensions import disjoint_base

from native._server import Server

_Answer: TypeAlias = tuple[bytes, list[tuple[str, str]]] | None

@disjoint_base
class HealthAnswers:
    """Answers `grpc.health.v1.Health/Check` for these services, of which none serves before it is said.

    And none does, whatever is said of it, `seconds` after the last `beat`. Others are left to the servicer, as are
    calls of recorded traces where there is somebody to record them (`traced`).
    """

    def __new__(cls, services: Iterable[str], *, seconds: float = 2.0, traced: bool = False) -> HealthAnswers: ...
    def register(self, server: Server) -> None:
        """Before the server starts."""
    def set(self, service: str, serving: bool) -> None:
        """Says whether one of them serves; `KeyError` for others."""
    def beat(self) -> None:
        """The process is alive."""
    def answer(self, message: bytes, metadata: Iterable[tuple[str, str]] = (), timeout_us: int = -1) -> _Answer:
        """For tests: what a call is answered, and its trailing metadata; None: it goes up."""
