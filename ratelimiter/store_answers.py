"""Strict limits answered with half of the work in compiled code: it reads a request and says what to ask the store, and
writes the answer when that has come. Between the two it is a call like any, with its place in the chain.

What is unusual is left to the servicers (see `native._strict`), and so are calls from outside of the mesh.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from native._questions import StoreQuestion
from ratelimiter import envoy_service, service
from ratelimiter.compiled import CompiledChecks
from waypost.errors import StoreUnavailable
from waypost.rpc.access import EDGE_HEADER
from waypost.rpc.context import CallContext
from waypost.rpc.methods import Shortcut

WithoutStore = Callable[[bytes], Awaitable[bytes]]
"""What a servicer answers to a request for which the store has been asked, and has not answered."""


class ScriptStore(Protocol):
    """Counters that a script decides on, as `waypost.adapters.redis_script` has it."""

    async def run_script(self, domain: str, keys: Sequence[bytes], argument: bytes) -> Any:
        """The script's reply. Raises `StoreUnavailable`."""
        ...


Observe = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Waits for what the store says, and times it."""


class StoreAnswers:
    """Answers `ShouldRateLimit` and `RateLimitService.Check` for requests whose limits are all counted in `store`."""

    def __init__(
        self,
        compiled: CompiledChecks,
        store: ScriptStore,
        observe: Observe,
        *,
        check_without_store: WithoutStore,
        envoy_without_store: WithoutStore,
    ) -> None:
        self._compiled = compiled
        self._store = store
        self._observe = observe
        self._check_without_store = check_without_store
        self._envoy_without_store = envoy_without_store

    def shortcuts(self, *, envoy: bool = True) -> Mapping[str, Shortcut]:
        """By method. `envoy`: also Envoy's own, which may want what only the servicer gives (dynamic metadata)."""
        shortcuts: dict[str, Shortcut] = {f"{service.NAME}/Check": self._check}
        return shortcuts | {envoy_service.METHOD: self._should_rate_limit} if envoy else shortcuts

    def _check(self, context: CallContext, message: bytes) -> Awaitable[bytes] | None:
        return self._asked(False, context, message)

    def _should_rate_limit(self, context: CallContext, message: bytes) -> Awaitable[bytes] | None:
        return self._asked(True, context, message)

    def _asked(self, envoy: bool, context: CallContext, message: bytes) -> Awaitable[bytes] | None:
        if EDGE_HEADER in context.headers or context.identity.workspace_id is not None:
            return None
        question = self._compiled.answers.ask_store(envoy, message)
        return None if question is None else self._answer(envoy, question, message)

    async def _answer(self, envoy: bool, question: StoreQuestion, message: bytes) -> bytes:
        asked = self._store.run_script(question.domain, question.keys, question.argument)
        try:
            answer, refused = question.answer(await self._observe(asked))
            if refused:
                self._compiled.count_offenders(envoy, message, question.serial, refused)
            return answer
        except StoreUnavailable:
            return await (self._envoy_without_store if envoy else self._check_without_store)(message)
        finally:
            # Not left to whoever may keep an error with its traceback.
            question.close()
