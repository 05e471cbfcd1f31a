"""What compiled threads read and write of the rate limiter's messages (`native/rls/`), to be called from here.

Its sources are built into a library of their own. Messages to read end where memory ends: whoever reads on crashes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from envoy.service.ratelimit.v3 import rls_pb2

from ratelimiter.requests import Descriptor, LimitRequest
from ratelimiter.results import CheckResult, DescriptorStatus
from ratelimiter.rulelimits import UNITS
from ratelimiter.ruletree import Rule
from tests.support.missing import missing
from waypost.limit_headers import quoted
from waypost.model import LimitEntry

NATIVE = Path(__file__).resolve().parents[2] / "native"
SOURCES = (*sorted(NATIVE.glob("rls/*.c")), NATIVE / "h2" / "buffer.c", NATIVE / "h2" / "wire.c")
FLAGS = ("-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Werror")
SANITIZERS = tuple(
    name
    for name in os.environ.get("WAYPOST_SANITIZE", "").split(",")
    if name == "undefined" or (name and "LD_PRELOAD" in os.environ)
)
"""As -fsanitize names them; none unless told. Of all but one the runtime must be there before Python (LD_PRELOAD)."""

MAX_DESCRIPTORS = 16
MAX_ENTRIES = 64
"""Of all descriptors together. What has more is left to the real library."""

_READABLE = 1 << 22
_BEFORE = bytes(range(256)) * 4
"""Stands in a buffer before an answer is written to it."""


class _Text(ctypes.Structure):
    _fields_: ClassVar = [("start", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Entry(ctypes.Structure):
    _fields_: ClassVar = [("key", _Text), ("value", _Text)]


class _Descriptor(ctypes.Structure):
    _fields_: ClassVar = [
        ("first_entry", ctypes.c_uint32),
        ("entries", ctypes.c_uint32),
        ("has_hits", ctypes.c_int),
        ("hits", ctypes.c_int64),
    ]


class _Request(ctypes.Structure):
    _fields_: ClassVar = [
        ("domain", _Text),
        ("hits", ctypes.c_uint32),
        ("descriptors", ctypes.c_uint32),
        ("descriptor", _Descriptor * MAX_DESCRIPTORS),
        ("entry", _Entry * MAX_ENTRIES),
    ]


class _Rule(ctypes.Structure):
    _fields_: ClassVar = [
        ("place", _Text),
        ("name", _Text),
        ("quoted", _Text),
        ("shadow_mode", ctypes.c_int),
        ("quota_mode", ctypes.c_int),
    ]


class _Status(ctypes.Structure):
    _fields_: ClassVar = [
        ("rule", ctypes.POINTER(_Rule)),
        ("limited", ctypes.c_int),
        ("limit", ctypes.c_int64),
        ("window_us", ctypes.c_int64),
        ("unit", ctypes.c_int),
        ("remaining", ctypes.c_int64),
        ("reset_after_us", ctypes.c_int64),
        ("retry_after_us", ctypes.c_int64),
        ("allowed", ctypes.c_int),
        ("over_limit", ctypes.c_int),
    ]


class _Answer(ctypes.Structure):
    _fields_: ClassVar = [
        ("allowed", ctypes.c_int),
        ("retry_after_us", ctypes.c_int64),
        ("statuses", ctypes.c_uint32),
        ("status", _Status * MAX_DESCRIPTORS),
    ]


class _Slice(ctypes.Structure):
    _fields_: ClassVar = [("data", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Buffer(ctypes.Structure):
    _fields_: ClassVar = [
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
        ("failed", ctypes.c_int),
    ]


class Rls:
    """The functions of `native/rls/rls.h`, in the limiter's own values."""

    def __init__(self, library: Path) -> None:
        self._native = ctypes.CDLL(str(library))
        self._memory = mmap.mmap(-1, _READABLE + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._end = start + _READABLE
        libc = ctypes.CDLL(None, use_errno=True)
        none_at_all = 0
        if libc.mprotect(ctypes.c_void_p(self._end), mmap.PAGESIZE, none_at_all):
            raise OSError(ctypes.get_errno(), "mprotect failed")
        self._request = _Request()

    def read_envoy(self, message: bytes) -> LimitRequest | None:
        """A `RateLimitRequest`; None: left to the real library."""
        return self._read(self._native.rls_read_envoy, message)

    def read_check(self, message: bytes) -> LimitRequest | None:
        """A `CheckRequest`; None: left to the real library."""
        return self._read(self._native.rls_read_check, message)

    def read_health(self, message: bytes) -> str | None:
        """The service of a `HealthCheckRequest`; None: left to the real library."""
        service = _Text()
        if not self._native.rls_read_health(self._slice(message), ctypes.byref(service)):
            return None
        return _str(service)

    def write_envoy(self, result: CheckResult, *, headers: bool, shadow_mode: bool) -> bytes:
        """A `RateLimitResponse`."""
        answer, _kept = _answer(result)
        return self._written(self._native.rls_write_envoy, ctypes.byref(answer), int(headers), int(shadow_mode))

    def write_check(self, result: CheckResult) -> bytes:
        """A `CheckResponse`."""
        answer, _kept = _answer(result)
        return self._written(self._native.rls_write_check, ctypes.byref(answer))

    def write_health(self, status: int) -> bytes:
        """A `HealthCheckResponse`."""
        return self._written(self._native.rls_write_health, status)

    def _slice(self, message: bytes) -> _Slice:
        assert len(message) <= _READABLE
        start = self._end - len(message)
        ctypes.memmove(start, message, len(message))
        return _Slice(start, len(message))

    def _read(self, function: Any, message: bytes) -> LimitRequest | None:
        request = self._request
        if not function(self._slice(message), ctypes.byref(request)):
            return None
        descriptors = []
        for descriptor in request.descriptor[: request.descriptors]:
            entries = request.entry[descriptor.first_entry : descriptor.first_entry + descriptor.entries]
            hits = descriptor.hits if descriptor.has_hits else None
            descriptors.append(Descriptor(tuple(LimitEntry(_str(e.key), _str(e.value)) for e in entries), hits))
        return LimitRequest(_str(request.domain), tuple(descriptors), request.hits)

    def _written(self, function: Any, *arguments: Any) -> bytes:
        """What a function appends; also where there is room for it already. What stood before must still be there."""
        buffer = self._buffer()
        try:
            function(*arguments, ctypes.byref(buffer))
            written = _content(buffer)
            ctypes.memset(buffer.data + len(_BEFORE), 0, buffer.length - len(_BEFORE))
            buffer.length = len(_BEFORE)
            function(*arguments, ctypes.byref(buffer))
            assert _content(buffer) == written
            assert not buffer.failed
        finally:
            self._native.h2_buffer_free(ctypes.byref(buffer))
        assert written.startswith(_BEFORE)
        return written[len(_BEFORE) :]

    def write_beyond_memory(self) -> tuple[bool, bool]:
        """Whether answers longer than memory leave a buffer failed and as it was; and whether one after it does."""
        place = ctypes.create_string_buffer(1)
        endless = _Text(ctypes.addressof(place), 1 << 61)
        rule = _Rule(endless, endless, endless)
        answer = _Answer(statuses=1)
        answer.status[0].rule = ctypes.pointer(rule)
        found = []
        for write, *modes in ((self._native.rls_write_check,), (self._native.rls_write_envoy, 1, 0)):
            buffer = self._buffer()
            try:
                write(ctypes.byref(answer), *modes, ctypes.byref(buffer))
                once = bool(buffer.failed) and _content(buffer) == _BEFORE
                write(ctypes.byref(_Answer()), *modes, ctypes.byref(buffer))
                found.append((once, _content(buffer) == _BEFORE))
            finally:
                self._native.h2_buffer_free(ctypes.byref(buffer))
        return all(once for once, _ in found), all(again for _, again in found)

    def _buffer(self) -> _Buffer:
        buffer = _Buffer()
        self._native.h2_buffer_add(ctypes.byref(buffer), _BEFORE, ctypes.c_size_t(len(_BEFORE)))
        return buffer


@cache
def rls() -> Rls:
    """The library, built once a session with warnings as errors. Skips where it cannot be built, or fails with CI."""
    return Rls(_built())


def _built() -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        missing("no C compiler: `apt install gcc` has one")
    # Of the transport only what needs no library, but its headers speak of one.
    found = subprocess.run(["pkg-config", "--cflags", "libnghttp2"], capture_output=True, text=True, check=False)
    if found.returncode:
        missing("no libnghttp2 to build with: `apt install libnghttp2-dev pkg-config` has it")
    library = Path(tempfile.mkdtemp(prefix="waypost-rls-")) / "rls.so"
    sanitize = [*(f"-fsanitize={name}" for name in SANITIZERS), *(["-fno-sanitize-recover=all"] if SANITIZERS else [])]
    flags = [*FLAGS, *sanitize, *found.stdout.split(), "-shared", "-fPIC"]
    command = [str(compiler), *flags, *map(str, SOURCES), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def _content(buffer: _Buffer) -> bytes:
    assert buffer.length <= buffer.capacity
    return ctypes.string_at(buffer.data, buffer.length)


def _str(text: _Text) -> str:
    assert text.start is not None
    return ctypes.string_at(text.start, text.size).decode()


def _answer(result: CheckResult) -> tuple[_Answer, list[Any]]:
    """The same answer, and what has to live as long as it."""
    kept: list[Any] = []
    retry_after_us = -1 if result.retry_after_us is None else result.retry_after_us
    answer = _Answer(int(result.allowed), retry_after_us, len(result.statuses))
    for index, status in enumerate(result.statuses):
        answer.status[index] = _status(status, kept)
    return answer, kept


def _status(status: DescriptorStatus, kept: list[Any]) -> _Status:
    made = _Status(
        remaining=status.remaining,
        reset_after_us=status.reset_after_us,
        retry_after_us=-1 if status.retry_after_us is None else status.retry_after_us,
        allowed=int(status.allowed),
        over_limit=int(status.over_limit),
    )
    if status.match is not None:
        kept.append(_rule(status.match.rule, kept))
        made.rule = ctypes.pointer(kept[-1])
    if status.limit is not None:
        limit = status.limit.limit
        made.limited, made.limit, made.window_us, made.unit = 1, limit.limit, limit.window_us, _unit(limit.window_us)
    return made


def _rule(rule: Rule, kept: list[Any]) -> _Rule:
    return _Rule(
        _text(rule.place, kept),
        _text(rule.name, kept),
        _text(quoted(rule.name or rule.place), kept),
        int(rule.shadow_mode),
        int(rule.quota_mode),
    )


def _text(text: str, kept: list[Any]) -> _Text:
    encoded = text.encode()
    kept.append(ctypes.create_string_buffer(encoded, max(1, len(encoded))))
    return _Text(ctypes.addressof(kept[-1]), len(encoded))


def _unit(window_us: int) -> int:
    for name, seconds in UNITS.items():
        if window_us == seconds * 1_000_000:
            return int(rls_pb2.RateLimitResponse.RateLimit.Unit.Value(name.upper()))
    return 0
