"""Requests read by hand in C: never otherwise than the real library does, and always where they are ordinary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimiter.convert import from_check_request
from ratelimiter.envoy_convert import from_rate_limit_request
from ratelimiter.requests import MAX_ENTRIES as MAX_ENTRIES_OF_ONE
from ratelimiter.requests import LimitRequest, validate
from tests.support import rls as support
from tests.support.odd_messages import BYTES, GROUP, Field, Message, Mutator, inner, text, written
from tests.support.rls import Rls
from waypost.api.v1 import rate_limit_service_pb2
from waypost.errors import InvalidFields


@dataclass(frozen=True, slots=True)
class Kind:
    """A message of requests, as it is read here and there. `own_cost` makes the field of a descriptor's own hits."""

    read: Callable[[Rls, bytes], LimitRequest | None]
    message: Any
    convert: Callable[[Any], LimitRequest]
    own_cost: Callable[[int], Field]


ENVOY = Kind(
    Rls.read_envoy,
    rls_pb2.RateLimitRequest,
    from_rate_limit_request,
    lambda hits: inner(3, *([Field(1, hits)] if hits else [])),
)
CHECK = Kind(
    Rls.read_check, rate_limit_service_pb2.CheckRequest, from_check_request, lambda hits: Field(2, hits % 2**64)
)
KINDS = {"envoy": ENVOY, "check": CHECK}
both_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(scope="session")
def rls() -> Rls:
    return support.rls()


def asked(kind: Kind, message: bytes) -> tuple[LimitRequest | None, bool]:
    """What the real library makes of a message, None if it or the limiter refuses it; and whether it is ordinary."""
    try:
        parsed = kind.message.FromString(message)
    except DecodeError:
        return None, False
    request = kind.convert(parsed)
    try:
        validate(request)
    except InvalidFields:
        return None, False
    parsed.DiscardUnknownFields()
    return request, parsed.SerializeToString() == message and is_small(request)


def is_small(request: LimitRequest) -> bool:
    """Whether it has as few parts as are read by hand, and none that is seldom there."""
    entries = sum(len(descriptor.entries) for descriptor in request.descriptors)
    plain = all(d.override is None and (d.hits is None or d.hits >= 0) for d in request.descriptors)
    return plain and len(request.descriptors) <= support.MAX_DESCRIPTORS and entries <= support.MAX_ENTRIES


def agree(rls: Rls, kind: Kind, message: bytes) -> bool:
    """Reads a message both ways, which must agree; whether it was read by hand."""
    read = kind.read(rls, message)
    expected, ordinary = asked(kind, message)
    if read is not None or ordinary:
        assert read == expected, message.hex(" ")
    return read is not None


def request_of(kind: Kind, random: Random, *, small: bool = False) -> Message:
    """An ordinary request; if not `small`, at the bounds more often than others are."""
    descriptors = random.choice((1, 2, 2, 2, 3) if small else (1, 2, 3, support.MAX_DESCRIPTORS))
    left = support.MAX_ENTRIES - descriptors
    most_of_key, most_of_value = (12, 12) if small else (255, 4096)
    fields = [text(1, _text(random, most_of_key))]
    for _ in range(descriptors):
        entries = random.choice((1, 1, 2, 3) if small else (1, 1, 2, 3, MAX_ENTRIES_OF_ONE))
        entries = min(entries, left + 1)
        left -= entries - 1
        parts = [_entry(random, most_of_key, most_of_value) for _ in range(entries)]
        if random.random() < 0.2:
            parts.append(kind.own_cost(random.choice((0, 1, 2, 127, 128, 2**31 - 1))))
        fields.append(inner(2, *parts))
    if random.random() < 0.3:
        fields.append(Field(3, random.choice((1, 2, 127, 128, 300, 2**31, 2**32 - 1))))
    return fields


def _entry(random: Random, most_of_key: int, most_of_value: int) -> Field:
    parts = [text(1, _text(random, most_of_key))]
    if random.random() < 0.9:
        parts.append(text(2, _text(random, random.choice((10, most_of_value)))))
    return inner(1, *parts)


def _text(random: Random, most: int) -> bytes:
    sample = random.choice(("remote_address", "192.0.2.7", "é", "\U0001f600", "\0", "путь/к", "\uffff\ud7ff\x7f"))
    size = random.choice((1, 5, 7, 8, 9, 16, most, random.randint(1, most)))
    found = (sample * size).encode()[: min(size, most)]
    return found.decode(errors="ignore").encode() or b"x"


@both_kinds
def test_every_ordinary_request_is_read(rls: Rls, kind: Kind) -> None:
    random = Random(1)
    for _ in range(800):
        message = written(request_of(kind, random))
        expected, ordinary = asked(kind, message)
        assert ordinary
        assert kind.read(rls, message) == expected, message.hex(" ")


@both_kinds
def test_fields_may_come_in_any_order(rls: Rls, kind: Kind) -> None:
    entry = inner(1, text(2, "value"), text(1, "key"))
    message = [Field(3, 7), inner(2, kind.own_cost(0), entry, entry), text(1, "domain"), inner(2, entry)]
    assert agree(rls, kind, written(message))


@both_kinds
def test_what_is_there_but_empty_is_read_as_if_it_were_not(rls: Rls, kind: Kind) -> None:
    message = [text(1, "domain"), inner(2, inner(1, text(1, "key"), text(2, ""))), Field(3, 0)]
    assert agree(rls, kind, written(message))


def test_a_wrapper_that_says_0_is_read(rls: Rls) -> None:
    message = [text(1, "domain"), inner(2, inner(1, text(1, "key")), inner(3, Field(1, 0)))]
    assert agree(rls, ENVOY, written(message))


def unusual() -> Iterator[Any]:
    """Parameters: a kind and a message of it that is left to the real library, whatever that says of it."""
    entry = inner(1, text(1, "k"), text(2, "v"))
    domain, descriptor = text(1, "d"), inner(2, entry)

    def case(about: str, *fields: Field, only: str = "") -> Iterator[Any]:
        for name, kind in KINDS.items():
            if only in ("", name):
                yield pytest.param(kind, written(list(fields)), id=f"{name}: {about}")

    def of_entry(about: str, *fields: Field) -> Iterator[Any]:
        yield from case(about, domain, inner(2, inner(1, *fields)))

    yield from case("nothing")
    yield from case("no domain", descriptor)
    yield from case("an empty domain", text(1, ""), descriptor)
    yield from case("a domain twice", domain, domain, descriptor)
    yield from case("a domain of 256 bytes", text(1, "d" * 256), descriptor)
    yield from case("a domain that is not UTF-8", text(1, b"d\xff"), descriptor)
    yield from case("no descriptor", domain)
    yield from case("a descriptor without entries", domain, inner(2))
    yield from case("17 descriptors", domain, *[descriptor] * 17)
    yield from case("33 entries in one", domain, inner(2, *[entry] * 33))
    yield from case("65 entries in all", domain, inner(2, *[entry] * 32), inner(2, *[entry] * 32), descriptor)
    yield from case("hits twice", domain, descriptor, Field(3, 1), Field(3, 2))
    yield from case("hits beyond 32 bits", domain, descriptor, Field(3, 2**32))
    yield from case("hits as bytes", domain, descriptor, text(3, "1"))
    yield from case("a domain as a number", Field(1, 1), descriptor)
    yield from case("an unknown field", domain, descriptor, Field(9, 1))
    yield from case("a field 0", domain, descriptor, Field(0, 1))
    yield from case("a group", domain, descriptor, Field(9, b"", GROUP))
    yield from case("a tag longer than need be", Field(1, b"d", BYTES, long_tag=1), descriptor)
    yield from case("a length longer than need be", Field(1, b"d", BYTES, long_value=1), descriptor)
    yield from case("hits longer than need be", domain, descriptor, Field(3, 1, long_value=1))
    yield from case("a length beyond the end", domain, Field(2, [entry], BYTES, lie=1))
    yield from case("a length of 2**32", domain, Field(2, [entry], BYTES, lie=2**32))
    yield from of_entry("an entry without key", text(2, "v"))
    yield from of_entry("an empty key", text(1, ""), text(2, "v"))
    yield from of_entry("a key twice", text(1, "k"), text(1, "k"))
    yield from of_entry("a value twice", text(1, "k"), text(2, "v"), text(2, "v"))
    yield from of_entry("a key of 256 bytes", text(1, "k" * 256))
    yield from of_entry("a value of 4097 bytes", text(1, "k"), text(2, "v" * 4097))
    yield from of_entry("a key that is not UTF-8", text(1, b"\xed\xa0\x80"))
    yield from of_entry("an unknown field of an entry", text(1, "k"), text(3, "v"))
    own = [*[Field(1, n) for n in (1, 2)]]
    yield from case("two wrapped hits in one", domain, inner(2, entry, inner(3, *own)), only="envoy")
    yield from case("two wrapped hits", domain, inner(2, entry, *(inner(3, n) for n in own)), only="envoy")
    yield from case("wrapped hits beyond 32 bits", domain, inner(2, entry, inner(3, Field(1, 2**32))), only="envoy")
    yield from case("unwrapped hits", domain, inner(2, entry, Field(3, 1)), only="envoy")
    yield from case("a limit of its own", domain, inner(2, entry, inner(2, Field(1, 5), Field(2, 1))), only="envoy")
    yield from case("hits that are given back", domain, inner(2, entry, Field(4, 1)), only="envoy")
    yield from case("hits that are not given back", domain, inner(2, entry, Field(4, 0)), only="envoy")
    yield from case("negative hits", domain, inner(2, entry, Field(2, 2**64 - 1)), only="check")
    yield from case("negative hits of 32 bits", domain, inner(2, entry, Field(2, 2**32 - 1)), only="check")
    yield from case("own hits twice", domain, inner(2, entry, Field(2, 1), Field(2, 1)), only="check")
    yield from case("wrapped hits", domain, inner(2, entry, inner(2, Field(1, 1))), only="check")


@pytest.mark.parametrize(("kind", "message"), list(unusual()))
def test_what_is_unusual_is_left_to_the_real_library(rls: Rls, kind: Kind, message: bytes) -> None:
    assert kind.read(rls, message) is None
    assert not agree(rls, kind, message)


@both_kinds
def test_a_message_that_is_cut_off_is_no_other(rls: Rls, kind: Kind) -> None:
    random = Random(2)
    for _ in range(5):
        message = written(request_of(kind, random))
        for end in range(min(len(message), 1000)):
            agree(rls, kind, message[:end])
            agree(rls, kind, message[end:])


@both_kinds
def test_every_other_byte_anywhere_is_read_as_the_real_library_does(rls: Rls, kind: Kind) -> None:
    entry = inner(1, text(1, "k"), text(2, "é"))
    message = written([text(1, "dd"), inner(2, entry, kind.own_cost(300)), inner(2, entry), Field(3, 129)])
    read = 0
    for at in range(len(message)):
        for byte in range(256):
            put = bytes([byte])
            read += agree(rls, kind, message[:at] + put + message[at + 1 :])
            agree(rls, kind, message[:at] + put + message[at:])
        agree(rls, kind, message[:at] + message[at + 1 :])
    assert read > len(message)


def mutate(rls: Rls, kind: Kind, random: Random, times: int) -> None:
    """Reads so many messages, of which some are odd."""
    mutator = Mutator(random)
    read = 0
    for _ in range(times // 10):
        message = request_of(kind, random, small=random.random() < 0.95)
        read += sum(agree(rls, kind, mutator.odd(message)) for _ in range(10))
    # Else it would only have been shown what it leaves alone, or nothing but what it reads.
    assert times * 0.1 < read < times * 0.9


@both_kinds
def test_odd_messages_are_read_as_the_real_library_does(rls: Rls, kind: Kind) -> None:
    mutate(rls, kind, Random(3), 10_000)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@both_kinds
@pytest.mark.parametrize("seed", range(2))
def test_very_many_odd_messages_are_read_as_the_real_library_does(rls: Rls, kind: Kind, seed: int) -> None:
    mutate(rls, kind, Random(100 + seed), 300_000)


@settings(max_examples=500, deadline=None)
@given(message=st.binary(max_size=64))
def test_arbitrary_bytes_are_read_as_the_real_library_does(message: bytes) -> None:
    rls = support.rls()
    for kind in KINDS.values():
        agree(rls, kind, message)
        agree(rls, kind, written([text(1, "d"), inner(2, Field(1, message, BYTES))]))
        agree(rls, kind, written([text(1, "d"), inner(2, inner(1, text(1, message[:32]), text(2, message[32:])))]))


@settings(max_examples=300, deadline=None)
@given(domain=st.text(min_size=1), entries=st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1))
def test_texts_of_any_letters_are_read(domain: str, entries: list[tuple[str, str]]) -> None:
    rls = support.rls()
    for kind in KINDS.values():
        parsed = kind.message(domain=domain, descriptors=[{"entries": [{"key": k, "value": v} for k, v in entries]}])
        agree(rls, kind, parsed.SerializeToString())
