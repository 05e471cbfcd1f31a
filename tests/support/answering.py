"""What servers that clients are tested against have in common: they keep what they were asked, and fail on demand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from waypost import errors
from waypost.errors import WaypostError
from waypost.rpc.status import DETAILS_KEY, to_status


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has arrived: which method, with what, from where, and how many seconds its caller gives it."""

    method: str
    request: Any
    metadata: dict[str, str]
    seconds: float
    peer: str


class Ended(Exception):
    """How a call ends that does not end as ours do: a code and a sentence, and the details' bytes if any."""

    def __init__(self, code: grpc.StatusCode, message: str = "", details: bytes | None = None) -> None:
        self.code = code
        self.message = message
        self.details = details
        super().__init__(message)

    @classmethod
    def by(cls, error: WaypostError) -> Ended:
        """As our services end a call by this error."""
        status = to_status(error, "test")
        return cls(status.code, status.message, status.to_proto().SerializeToString())


Hook = Callable[[Call], Awaitable[None]]


class Answering:
    """Servicers that keep the calls that came (`calls`); `before` and `after` may fail or hold up a call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.before: Hook | None = None
        self.after: Hook | None = None
        self._answers: dict[tuple[str, str], tuple[bytes, Message]] = {}

    def of(self, method: str) -> list[Call]:
        """The calls of a method."""
        return [call for call in self.calls if call.method == method]

    async def answer(self, method: str, request: Any, context: Any, act: Callable[[Any], Message]) -> Any:
        """Keeps the call and answers it by what `act` makes of the request, or ends it as our services end theirs."""
        metadata = dict(context.invocation_metadata())
        call = Call(method, request, metadata, context.time_remaining(), context.peer())
        self.calls.append(call)
        try:
            try:
                if self.before is not None:
                    await self.before(call)
                answer = self._once(method, request, act)
                if self.after is not None:
                    await self.after(call)
            except WaypostError as error:
                raise Ended.by(error) from error
        except Ended as end:
            if end.details is not None:
                context.set_trailing_metadata(((DETAILS_KEY, end.details),))
            await context.abort(end.code, end.message)
        return answer

    def _once(self, method: str, request: Any, act: Callable[[Any], Message]) -> Message:
        """The answer, or the one that was given to the same request under the same id."""
        key, asked = (method, getattr(request, "request_id", "")), request.SerializeToString(deterministic=True)
        if key[1] and key in self._answers:
            first, answer = self._answers[key]
            if first != asked:
                raise errors.IdempotencyKeyReused(key[1])
            return answer
        # A copy: what was answered stays as it was.
        made = act(request)
        answer = type(made).FromString(made.SerializeToString())
        self._answers[key] = (asked, answer)
        return answer
