from collections.abc import Iterable
from typing import TypeAlias

from typing_extensions import disjoint_base

from native._plan import Plan
from native._questions import StoreQuestion
from native._rules import RuleTree
from native._server import Server
from native._table import Table
from native.plan import Event

LONGEST_MESSAGE: int
MOST_EVENTS: int

_Answer: TypeAlias = tuple[bytes, list[tuple[str, str]]] | None

def override_digest(domain: bytes, key: bytes, value: bytes) -> bytes:
    """For tests: how a descriptor of one entry is known among those that have overrides."""

@disjoint_base
class LimitAnswers:
    """Answers `ShouldRateLimit` and `RateLimitService.Check` by a plan. All but the answers is for one thread.

    The time is that of a clock which began at `epoch_ns` of the clock of elapsed time, as `waypost.clock.SteadyClock`
    has it. `headers`: whether Envoy is told headers for clients. `shadow_mode`: of the process. One call in
    `log_every` leaves word for the log, and each that refuses does. `traced`: calls of recorded traces go up.
    """

    def __new__(
        cls,
        table: Table,
        plan: Plan,
        *,
        epoch_ns: int,
        headers: bool,
        shadow_mode: bool,
        log_every: int,
        traced: bool = False,
    ) -> LimitAnswers: ...
    def register(self, server: Server, *, envoy: bool) -> None:
        """Before the server starts. `envoy`: also Envoy's own method."""
    def publish(self, plan: Plan, domains: RuleTree | None = None, digests: bytes = b"") -> None:
        """Puts a plan in force, and which descriptors go up for their overrides: those of these domains that have one
        of these digests (`waypost.overrides.digest_of`), which stand one behind the other in ascending order.
        """
    def sweep(self) -> set[int]:
        """The serials of plans that are in force or still read."""
    def ask_store(self, envoy: bool, message: bytes) -> StoreQuestion | None:
        """A request as a question of the store; None: it is unusual, or meets other rules than the store's."""
    def pass_up(self) -> None:
        """From now on all calls go up."""
    def set_time(self, now_us: int) -> None:
        """For tests: the time from now on, microseconds; negative: that of the clock."""
    def take_events(self) -> tuple[list[Event], int, int]:
        """Words that calls have left since the last time; how many found no room, and how many refusals of these."""
    def answer(
        self, envoy: bool, message: bytes, metadata: Iterable[tuple[str, str]] = (), timeout_us: int = -1
    ) -> _Answer:
        """For tests: what a call is answered, and its trailing metadata; None: it goes up."""
    def answer_without_gil(self, envoy: bool, message: bytes, times: int) -> int:
        """For tests of threads: asks so many times, and returns how many were answered."""
