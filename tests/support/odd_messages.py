"""Messages in protobuf's wire format as no serialiser writes them, for those who read it by hand.

A message is a list of fields, which can be made odd one by one before it is written, and its bytes after.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
NUMBERS = (0, 1, 2, 127, 128, 2**14, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**35, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = (
    b"", b"a", b"\x00", b"\x7f", b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\x80", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xef\xbf\xbf", b"\xf4\x90\x80\x80", b"1234567\xff", b"x" * 255, b"x" * 256, b"\xc3\xa9" * 127, b"\xc3\xa9" * 128,
    b"y" * 4096, b"y" * 4097,
)  # fmt: skip


@dataclass(slots=True)
class Field:
    """A field of a message. Bytes may be a message in turn."""

    number: int
    value: int | bytes | list[Field]
    wire: int = VARINT
    long_tag: int = 0
    """So many bytes longer than need be is what tells its number,"""
    long_value: int = 0
    """and its value, or its length."""
    lie: int = 0
    """So much longer than it is it says to be."""


Message = list[Field]


def text(number: int, value: str | bytes) -> Field:
    """A field of text."""
    return Field(number, value.encode() if isinstance(value, str) else value, BYTES)


def inner(number: int, *fields: Field) -> Field:
    """A field that is a message."""
    return Field(number, list(fields), BYTES)


def varint(number: int, longer: int = 0) -> bytes:
    """A number as a varint, `longer` bytes longer than need be."""
    found = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        if number == 0:
            break
        found.append(low | 0x80)
    for _ in range(longer):
        found.append(low | 0x80)
        low = 0
    found.append(low)
    return bytes(found)


def written(message: Message) -> bytes:
    """The bytes of a message."""
    return b"".join(_written(one) for one in message)


def _written(one: Field) -> bytes:
    tag = varint(one.number << 3 | one.wire, one.long_tag)
    value = written(one.value) if isinstance(one.value, list) else one.value
    number = value if isinstance(value, int) else len(value)
    if one.wire in (FIXED32, FIXED64):
        bits = 32 if one.wire == FIXED32 else 64
        return tag + (number % (1 << bits)).to_bytes(bits // 8, "little")
    if one.wire == VARINT:
        return tag + varint(number, one.long_value)
    content = value if isinstance(value, bytes) else b""
    if one.wire == BYTES:
        return tag + varint(max(0, len(content) + one.lie), one.long_value) + content
    if one.wire == GROUP:
        return tag + content + varint(one.number << 3 | END_GROUP)
    return tag


@dataclass(slots=True)
class Mutator:
    """Makes messages odd, in a way that its random numbers choose."""

    random: Random
    steps: int = 3
    _messages: list[Message] = field(default_factory=list)

    def odd(self, message: Message) -> bytes:
        """The bytes of a message after at most so many steps; it may be as good as ever."""
        message = _copied(message)
        for _ in range(self.random.randint(0, self.steps)):
            self._messages = _all(message)
            self._step(self.random.choice(self._messages))
        found = written(message)
        return self._smudged(found) if self.random.random() < 0.3 else found

    def _step(self, message: Message) -> None:
        if not message:
            message.append(self._unknown())
            return
        index = self.random.randrange(len(message))
        one = message[index]
        step = self.random.choice(
            ("again", "move", "drop", "unknown", "long", "lie", "value", "number", "wire", "graft")
        )
        if step == "again":
            message.insert(self.random.randint(0, len(message)), _copied([one])[0])
        elif step == "move":
            message.insert(self.random.randrange(len(message)), message.pop(index))
        elif step == "drop":
            message.pop(index)
        elif step == "unknown":
            message.insert(self.random.randint(0, len(message)), self._unknown())
        elif step == "long" and self.random.random() < 0.5:
            one.long_tag = self.random.randint(1, 9)
        elif step == "long":
            one.long_value = self.random.randint(1, 9)
        elif step == "lie":
            one.lie = self.random.choice((-1, 1, -2, 2, 100, 2**31, 2**32, 2**63))
        elif step == "value":
            self._revalue(one)
        elif step == "number":
            one.number = self.random.choice((0, 1, 2, 3, 4, 5, 15, 16, 2**29 - 1, 2**29))
        elif step == "wire":
            one.wire = self.random.randrange(8)
        else:
            # Fields that belong elsewhere, or an unordinary number of ordinary ones.
            graft = _copied(self.random.choice(self._messages))
            times = self.random.choice((1, 1, 1, 20, 70)) if len(written(graft)) < 100 else 1
            for _ in range(times):
                message += _copied(graft)

    def _revalue(self, one: Field) -> None:
        if isinstance(one.value, int):
            one.value = self.random.choice(NUMBERS)
        elif isinstance(one.value, bytes) or self.random.random() < 0.1:
            one.value = self.random.choice(TEXTS)

    def _unknown(self) -> Field:
        wire = self.random.choice((VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32))
        value: int | bytes = b"" if wire == GROUP else self.random.choice(TEXTS)
        if wire in (VARINT, FIXED32, FIXED64):
            value = self.random.choice(NUMBERS)
        return Field(self.random.choice((1, 2, 3, 4, 5, 100)), value, wire)

    def _smudged(self, found: bytes) -> bytes:
        at = self.random.randint(0, len(found))
        step = self.random.randrange(4)
        if step == 0:
            return found[:at]
        if step == 1:
            return found[:at] + found[at + 1 :]
        put = bytes([self.random.randrange(256)])
        return found[:at] + put + found[at + (step == 2) :]


def _copied(message: Message) -> Message:
    return [replace(one, value=_copied(one.value) if isinstance(one.value, list) else one.value) for one in message]


def _all(message: Message) -> list[Message]:
    found = [message]
    for one in message:
        if isinstance(one.value, list):
            found += _all(one.value)
    return found
