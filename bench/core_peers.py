"""The libraries that the core is measured against: each as a function of a key, by each of its algorithms."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

from bench.results import BUILD, ROOT

Check = Callable[[str], object]
"""One decision on a key."""

LIMIT = 1_000_000_000
"""A minute: more than any run asks, so that all are admitted."""

_REQUIREMENTS = ROOT / "bench" / "peers" / "requirements.txt"
_FOLDER = BUILD / "peers"


class NoPeers(Exception):
    """The libraries cannot be installed on this machine; `str()` says why."""


def install() -> None:
    """Installs the libraries for this process alone. Raises `NoPeers`."""
    stamp = _FOLDER / "requirements.txt"
    wanted = _REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        command += ["--upgrade", "--target", str(_FOLDER), "-r", str(_REQUIREMENTS)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise NoPeers(f"the libraries to compare with cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        stamp.write_text(wanted)
    if str(_FOLDER) not in sys.path:
        # In front: what the project has of the same names may be of other versions.
        sys.path.insert(0, str(_FOLDER))
        importlib.invalidate_caches()


def peers() -> dict[str, Callable[[], Check]]:
    """Each library's algorithms in memory, by name and version: functions that begin with an empty store."""
    return {f"{name} {_version(name)}, {what}": begin for (name, what), begin in _BEGINNINGS.items()}


def _version(name: str) -> str:
    (found,) = metadata.distributions(name=name, path=[str(_FOLDER)])
    return found.version


def _limits(strategy: str) -> Callable[[], Check]:
    def begin() -> Check:
        limits: Any = importlib.import_module("limits")
        chosen = getattr(limits.strategies, strategy)(limits.storage.MemoryStorage())
        item = limits.RateLimitItemPerMinute(LIMIT)
        hit = chosen.hit
        return lambda key: hit(item, key)

    return begin


def _throttled(using: str) -> Callable[[], Check]:
    def begin() -> Check:
        throttled: Any = importlib.import_module("throttled")
        store = throttled.MemoryStore(options={"MAX_SIZE": 2_000_000})
        check: Check = throttled.Throttled(using=using, quota=throttled.per_min(LIMIT), store=store).limit
        return check

    return begin


def _pyrate(bucket: str) -> Callable[[], Check]:
    def begin() -> Check:
        pyrate_limiter: Any = importlib.import_module("pyrate_limiter")
        clock = pyrate_limiter.MonotonicClock()
        make = getattr(pyrate_limiter, bucket)
        rates = [pyrate_limiter.Rate(LIMIT, pyrate_limiter.Duration.MINUTE)]
        buckets: dict[str, object] = {}

        class Factory(pyrate_limiter.BucketFactory):  # type: ignore[misc]
            """A bucket for each key, as the library's documentation has it, without a thread that clears them."""

            def wrap_item(self, name: str, weight: int = 1) -> object:
                return pyrate_limiter.RateItem(name, clock.now(), weight=weight)

            def get(self, item: Any) -> object:
                found = buckets.get(item.name)
                if found is None:
                    found = buckets[item.name] = make(rates)
                return found

        acquire = pyrate_limiter.Limiter(Factory()).try_acquire
        return lambda key: acquire(key, blocking=False)

    return begin


_BEGINNINGS = {
    ("limits", "fixed window"): _limits("FixedWindowRateLimiter"),
    ("limits", "sliding window counter"): _limits("SlidingWindowCounterRateLimiter"),
    ("throttled-py", "fixed window"): _throttled("fixed_window"),
    ("throttled-py", "token bucket"): _throttled("token_bucket"),
    ("pyrate-limiter", "log"): _pyrate("InMemoryBucket"),
    ("pyrate-limiter", "GCRA"): _pyrate("StateBucket"),
}
