"""Hot reload: notices that the folder of rules has changed, and puts what it says in force if it is good.

The folder is looked at several times a second, by what `stat` says of its files: that works with any editor, on any
file system, and with the links of Kubernetes mounts. It is read when two looks in a row have found the same, so that
files are not read while they are written, and taken as a whole or not at all. Who asks for it (`ask`) has it read at
once. Counters go by the rules' identities, which a reload does not touch.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from ratelimiter.rulebook import RuleBook
from ratelimiter.rules import MAX_FILES, Rules, RulesError, rule_paths
from waypost.rpc.health import Check

INTERVAL = 0.25
"""Seconds between two looks."""

Fingerprint = tuple[tuple[object, ...], ...]
"""Equal for a folder that has not changed."""

Prepare = Callable[[Rules], Callable[[], None]]
"""Makes something of new rules, in a thread; what it returns puts that in force, at once."""


class RuleWatch:
    """Loads the rules of a folder into a `book`, and keeps them up with it. Raises `RulesError` if the first are bad.

    `judged` is told after each new version, good or bad.
    """

    def __init__(
        self,
        folder: Path,
        *,
        merge_domains: bool = False,
        interval: float = INTERVAL,
        judged: Callable[[RuleBook], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._merge_domains = merge_domains
        self._interval = interval
        self._judged = judged
        self._log = structlog.get_logger()
        self._followers: list[Prepare] = []
        self._asked = self._owed = False
        self._wake = asyncio.Event()
        # Before the files are read: what changes meanwhile is seen later.
        self._known = self._last = fingerprint(folder)
        self.book = RuleBook(self._load(), datetime.now(UTC))

    @property
    def check(self) -> Check:
        """For health: which version is in force, and what is wrong with a newer one."""
        return Check("rules", self.book.probe, required=False, detail=self.book.describe)

    def follow(self, prepare: Prepare) -> None:
        """Has each new version put in force in another form, too. If that cannot be made, the version is refused."""
        self._followers.append(prepare)

    async def run(self) -> None:
        """Watches for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            self._wake.clear()
            await self.look()

    def ask(self) -> None:
        """Has the folder read at once, changed or not; the log says what became of it."""
        self._asked = True
        self._wake.set()

    async def look(self) -> None:
        """Looks at the folder once; reads it if that was asked for, or it has changed and looks as it did last time."""
        # Who asks while it is read means what the folder says by then.
        asked, self._asked = self._asked, False
        # In a thread: a file system may be far away.
        found = await asyncio.to_thread(fingerprint, self._folder)
        at_rest, self._last = found == self._last, found
        changed = at_rest and (found != self._known or self._owed)
        if asked or changed:
            say = asked or self._owed
            # What changed while it was read is read again once it lies still, and whoever asked is told then.
            self._owed = not await self._reload(found, say=say) and say

    async def _reload(self, found: Fingerprint, *, say: bool) -> bool:
        """Reads the folder, which looks like `found`, and puts it in force or notes what is wrong; whether it could.

        `say`: the log also says what it has said before.
        """
        rules, others, problems = await asyncio.to_thread(self._try)
        if await asyncio.to_thread(fingerprint, self._folder) != found:
            # Changed while it was read: wait until it is at rest again.
            return False
        self._known = found
        if rules is not None:
            self.book.replace(rules, datetime.now(UTC))
            for put_in_force in others:
                put_in_force()
            self._log.info("rules loaded", generation=self.book.generation, domains=list(rules.domains))
        else:
            news = say or problems != self.book.problems
            self.book.refuse(problems)
            if news:
                self._log.error("rules refused", generation=self.book.generation, problems=problems)
        self._judged(self.book)
        return True

    def _try(self) -> tuple[Rules | None, Sequence[Callable[[], None]], tuple[str, ...]]:
        try:
            rules = self._load()
            return rules, [prepare(rules) for prepare in self._followers], ()
        except RulesError as error:
            return None, (), tuple(error.problems)
        except Exception as error:
            # Whatever it is, rules are being served, and go on being.
            self._log.exception("rules cannot be loaded")
            return None, (), (f"{self._folder}: the rules cannot be loaded ({type(error).__name__})",)

    def _load(self) -> Rules:
        with _without_collector():
            return Rules.load(self._folder, merge_domains=self._merge_domains)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keeps Python's collector of cycles from running, in all threads.

    It would walk the hundreds of thousands of objects that large files are made of again and again, all of them in use,
    and every call would wait for it, half a second at a time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def fingerprint(folder: Path) -> Fingerprint:
    """What can be seen of a folder's rules without reading them."""
    try:
        paths = rule_paths(folder)
    except OSError as error:
        return ((error.errno,),)
    return tuple(_seen(path) for path in paths[: MAX_FILES + 1])


def _seen(path: Path) -> tuple[object, ...]:
    try:
        # Of the file itself, wherever links lead: a link that is turned to another file is a change, too.
        found = path.stat()
    except OSError as error:
        return path.name, error.errno
    return path.name, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
