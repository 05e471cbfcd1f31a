"""The issuer's keys as they are now: read at the start, from time to time, and when an unknown one is asked for."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass

import structlog

from waypost.access.jwks import BadJwks, KeySet, parse_jwks
from waypost.access.jwks_fetch import CannotRead, FileReader, Reader, UrlReader
from waypost.access.settings import JwtSettings
from waypost.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Pace:
    """How often keys are looked for, in seconds.

    every    between two reads while all is well
    soonest  least time between two reads that unknown keys ask for: strangers can make up as many as they like
    retry    the waits after failures
    """

    every: float
    soonest: float
    retry: Backoff


FILE_PACE = Pace(every=2.0, soonest=0.5, retry=Backoff(base=1.0, cap=2.0, floor=0.5))
URL_PACE = Pace(every=300.0, soonest=15.0, retry=Backoff(base=1.0, cap=60.0, floor=0.5))
WAIT_SECONDS = 2.0
"""Most time that a call with an unknown key waits: strangers can make many such calls."""


class JwksSource:
    """Keeps the keys of a document up to date; those that were read last stay in force while it is not to be had.

    `run` is the background task; `refresh` is for who meets a key that is not known. Both read through one door, one at
    a time: who comes while a read is under way waits for that one first.
    """

    def __init__(self, reader: Reader, pace: Pace) -> None:
        self._reader = reader
        self._pace = pace
        self._keys: KeySet | None = None
        self._digest = b""
        self._reading: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._failures = 0
        self._said = ""
        self._log = structlog.get_logger()

    @property
    def keys(self) -> KeySet | None:
        """The keys in force, the same object until they change; None: there were none yet."""
        return self._keys

    async def run(self) -> None:
        """Reads again and again until cancelled."""
        try:
            while True:
                # Shielded: it is the read of those in `refresh` too.
                await asyncio.shield(self._begin())
                await asyncio.sleep(self._pace.retry.delay(self._failures - 1) if self._failures else self._pace.every)
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def refresh(self) -> None:
        """Looks for newer keys, unless that was asked for within `soonest`.

        Waits for its end, or for that of a read that is under way, but never longer than `WAIT_SECONDS`.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        if self._reading is not None:
            before = self._keys
            await asyncio.wait([self._reading], timeout=WAIT_SECONDS)
            # A read that found nothing new may have asked before the key was published.
            if self._keys is not before:
                return
        now = time.monotonic()
        if self._reading is None:
            if now - self._asked_at < self._pace.soonest:
                return
            self._asked_at = now
        await asyncio.wait([self._begin()], timeout=max(0.0, deadline - now))

    async def check(self) -> None:
        """Raises `ConnectionError` while the document cannot be read; for the service's health."""
        if self._said:
            raise ConnectionError(f"the keys that tokens are checked with cannot be read: {self._said}")

    def _begin(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="jwks")
            self._reading.add_done_callback(self._done)
        return self._reading

    def _done(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    async def _read(self) -> None:
        try:
            self._take(await self._reader.read())
        except (CannotRead, BadJwks) as error:
            self._failed(str(error))
            return
        if self._said:
            self._log.info("jwks_read_again", source=self._reader.name)
        self._failures, self._said = 0, ""

    def _take(self, document: bytes) -> None:
        digest = hashlib.sha256(document).digest()
        if self._keys is not None and digest == self._digest:
            return
        keys = parse_jwks(document)
        self._keys, self._digest = keys, digest
        for sentence in keys.ignored:
            self._log.warning("jwks_key_ignored", source=self._reader.name, why=sentence)
        said = self._log.info if keys.keys else self._log.warning
        said("jwks_loaded", source=self._reader.name, kids=list(keys.keys))

    def _failed(self, why: str) -> None:
        self._failures += 1
        if why != self._said:
            self._log.warning("jwks_unreadable", source=self._reader.name, why=why, kept=self._keys is not None)
        self._said = why


def source_for(settings: JwtSettings) -> JwksSource | None:
    """The source that the settings name, not begun yet; None: no tokens are taken."""
    if not settings.takes_tokens:
        return None
    path = settings.jwks_path()
    if path is not None:
        return JwksSource(FileReader(path), FILE_PACE)
    return JwksSource(UrlReader(settings.jwt_jwks_url), URL_PACE)
