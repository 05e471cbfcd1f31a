"""One process under watch, with a health that the test decides."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from waypost.backoff import Backoff
from waypost.supervisor import child as module
from waypost.supervisor.child import Child
from waypost.supervisor.errors import ProcessKeepsFailing, ProcessRefused
from waypost.supervisor.logs import Log
from waypost.supervisor.probe import Health
from waypost.supervisor.program import Change, Program, State, StopStep

WAIT = "import signal; print('up', flush=True); signal.pause()"


class Stage:
    """A child, what it says of its health (`health`), and the changes it went through."""

    def __init__(self, folder: Path, script: str, **program: object) -> None:
        self.health: Health | None = Health("ok")
        self.changes: asyncio.Queue[Change] = asyncio.Queue()
        fields: dict[str, object] = {
            "name": "a",
            "argv": (sys.executable, "-I", "-S", "-c", script),
            "env": {},
            "probe": self._probe,
            "stop": (StopStep(signal.SIGTERM, 5.0),),
            "stage": 0,
        }
        self.child = Child(
            Program(**{**fields, **program}),  # type: ignore[arg-type]
            Log(folder / "a.log"),
            lambda: 0,
            self.changes.put_nowait,
            Backoff(base=0.01, cap=0.01),
        )
        self.run = asyncio.create_task(self.child.run())

    async def _probe(self) -> Health | None:
        return self.health

    async def until(self, state: State) -> Change:
        async with asyncio.timeout(20):
            while (change := await self.changes.get()).state is not state:
                pass
        return change


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Stage]]:
    monkeypatch.setattr(module, "LOOK_RUNNING", 0.01)
    made: list[Stage] = []

    def make(script: str = WAIT, **program: object) -> Stage:
        made.append(Stage(tmp_path, script, **program))
        return made[-1]

    yield make
    for each in made:
        await each.child.stop(asyncio.Event())
        await asyncio.gather(each.run, return_exceptions=True)


async def test_what_it_says_of_itself_is_its_state(stage: Callable[..., Stage]) -> None:
    it = stage()
    assert (await it.until(State.READY)).seconds is not None
    it.health = Health("degraded", "postgres: away")
    assert (await it.until(State.DEGRADED)).detail == "postgres: away"
    it.health = Health("ok")
    assert (await it.until(State.READY)).seconds is None
    it.health = Health("draining")
    assert (await it.until(State.DEGRADED)).detail == "draining"


async def test_one_that_answers_no_more_is_degraded_and_then_replaced(stage: Callable[..., Stage]) -> None:
    it = stage()
    first = await it.until(State.READY)
    it.health = None
    assert "no answer" in (await it.until(State.DEGRADED)).detail
    assert "unanswered and was killed" in (await it.until(State.RESTARTING)).detail
    it.health = Health("ok")
    assert (await it.until(State.READY)).pid != first.pid


async def test_silence_is_borne_where_killing_does_not_help(stage: Callable[..., Stage]) -> None:
    it = stage(silence_is_fatal=False)
    await it.until(State.READY)
    it.health = None
    await it.until(State.DEGRADED)
    await asyncio.sleep(module.LOOK_RUNNING * module.SILENT_DEAD * 2)
    assert it.child.state is State.DEGRADED


async def test_a_refusal_counts_at_the_first_start_only(stage: Callable[..., Stage]) -> None:
    refusing = stage("import sys; print('bad colour'); sys.exit(2)")
    refusing.health = None
    with pytest.raises(ProcessRefused, match="a refuses to start: bad colour"):
        await refusing.run
    # What names itself is not named twice.
    named = stage("import sys; print('a: bad: a: colour'); sys.exit(2)")
    named.health = None
    with pytest.raises(ProcessRefused, match=r"^a refuses to start: bad: a: colour "):
        await named.run
    later = stage("import time, sys; time.sleep(0.3); sys.exit(2)")
    for _ in range(module.HOPELESS_STARTS + 1):
        assert "exit code 2" in (await later.until(State.RESTARTING)).detail


async def test_one_that_cannot_be_run_is_given_up(stage: Callable[..., Stage]) -> None:
    it = stage(argv=("/nowhere/program",))
    with pytest.raises(ProcessKeepsFailing, match=r"it cannot be run \(No such file or directory\)"):
        await it.run
    assert not it.child.pid


async def test_stop_steps_go_on_until_it_is_gone(stage: Callable[..., Stage]) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
    steps = (StopStep(signal.SIGTERM, 0.2), StopStep(signal.SIGUSR1, 5.0))
    before: list[str] = []

    async def drain() -> None:
        before.append("drained")

    it = stage(deaf, stop=steps, before_stop=drain)
    await it.until(State.READY)
    await it.child.stop(asyncio.Event())
    await it.until(State.STOPPED)
    assert before == ["drained"]
    assert it.child.state is State.STOPPED


async def test_a_stop_between_two_starts_ends_the_waiting(stage: Callable[..., Stage]) -> None:
    it = stage("raise SystemExit(1)")
    it.health = None
    it.child._restarts = Backoff(base=60, cap=60, floor=60)
    await it.until(State.RESTARTING)
    await it.child.stop(asyncio.Event())
    await asyncio.wait_for(it.run, 20)


async def test_preparation_precedes_every_start(stage: Callable[..., Stage]) -> None:
    done: list[int] = []

    async def prepare() -> None:
        done.append(1)

    it = stage("import time; time.sleep(0.1); raise SystemExit(1)", before_start=prepare)
    await it.until(State.RESTARTING)
    await it.until(State.RESTARTING)
    assert len(done) >= 2
