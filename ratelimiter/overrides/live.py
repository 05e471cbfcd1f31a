"""The overrides in force, in memory: what decisions look them up in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ratelimiter.requests import LimitNumbers
from waypost.model import LimitEntry
from waypost.overrides import LiveOverride, digest_of
from waypost.ports import Clock


class LiveOverrides:
    """The overrides as they were last told; a `ratelimiter.asking.Overrides`. `clock` says which have expired.

    An override takes the same memory however long its descriptor is: descriptors are known by their digests.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._overrides: Mapping[bytes, LiveOverride] = {}
        self._domains: frozenset[str] = frozenset()
        self._followers: list[Callable[[Mapping[bytes, LiveOverride]], None]] = []

    def replace(self, overrides: Mapping[bytes, LiveOverride]) -> None:
        """Takes these, by the digests of their descriptors, for all that there are."""
        # No more than this: whoever asks for a decision meanwhile waits.
        self._domains = frozenset({one.domain for one in overrides.values()})
        self._overrides = overrides
        for follower in self._followers:
            follower(overrides)

    def follow(self, follower: Callable[[Mapping[bytes, LiveOverride]], None]) -> None:
        """Tells `follower` the overrides by the digests of their descriptors, now and whenever there are others."""
        self._followers.append(follower)
        follower(self._overrides)

    def find(self, domain: str, entries: Sequence[LimitEntry]) -> LimitNumbers | None:
        """The numbers for exactly this descriptor; None: those of its rule."""
        # Most domains have none, and need no digest.
        if domain not in self._domains:
            return None
        found = self._overrides.get(digest_of(domain, entries))
        if found is None or not self._counts(found):
            return None
        numbers = found.numbers
        if numbers is None:
            return LimitNumbers(None, 0)
        return LimitNumbers(numbers.requests_per_unit, numbers.unit.seconds * 1_000_000, numbers.burst)

    def count(self) -> int:
        """How many are in force."""
        return sum(map(self._counts, self._overrides.values()))

    def _counts(self, override: LiveOverride) -> bool:
        return override.expires_at is None or self._clock.now() < override.expires_at
