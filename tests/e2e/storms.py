"""Callers that never pause, so that everything about them is known by heart everywhere, and what they were answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from tests.e2e.attacks import Answer

_PATIENCE = 30.0


class Heard(NamedTuple):
    """One call: who made it (by number), when it began (seconds, monotonic), and its answer."""

    caller: int
    began: float
    answer: Answer


class Storm:
    """Makes each of the calls again and again for the time of the block, each in a thread of its own."""

    def __init__(self, calls: Sequence[Callable[[], Answer]]) -> None:
        self._stop = threading.Event()
        self._heard: list[list[Heard]] = [[] for _ in calls]
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._call, args=one, daemon=True) for one in enumerate(calls)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def until_all(self, code: int) -> None:
        """Waits until the last three answers of each caller were this one."""
        self._until(lambda heard: [one.answer.code for one in heard[-3:]] == [code] * 3)

    def goes_on(self, since: float, seconds: float) -> None:
        """Waits until every caller has been answered a call that began so long after `since`."""
        self._until(lambda heard: bool(heard) and heard[-1].began > since + seconds)

    def assert_all_since(self, moment: float, code: int) -> None:
        """Whoever called after that moment was answered so, each time; and everybody did."""
        assert self._errors == []
        late = [[one for one in heard if one.began >= moment] for heard in self._heard]
        assert all(len(heard) >= 3 for heard in late)
        wrong = [(round(one.began - moment, 3), one) for heard in late for one in heard if one.answer.code != code]
        assert wrong == [], wrong[:3]

    def heard(self) -> list[Heard]:
        """All answers."""
        assert self._errors == []
        return [one for heard in self._heard for one in heard]

    def _until(self, condition: Callable[[list[Heard]], bool]) -> None:
        try:
            eventually(lambda: bool(self._errors) or all(map(condition, self._heard)))
        except TimeoutError as error:
            error.add_note(f"last heard: {[heard[-1:] for heard in self._heard]}")
            raise
        assert self._errors == []

    def _call(self, number: int, call: Callable[[], Answer]) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._heard[number].append(Heard(number, began, call()))
        except BaseException as error:
            self._errors.append(error)
            raise


def eventually(condition: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    """Asks again and again until the answer is yes. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.01)
