"""What a message of protobuf has, by the numbers of its fields; nothing of it is believed.

TensorFlow's messages are read by it without TensorFlow, which is 1.6 GB, and runs what a file tells it to.
"""

from __future__ import annotations

from collections.abc import Mapping

from schedtuna.errors import ModelError

Fields = Mapping[int, list[int | bytes]]
_SIZES = {1: 8, 5: 4}  # bytes of wire types that are of one length


def fields_of(content: bytes) -> Fields:
    """Return the values of each field, in their order: integers, unsigned, or bytes.

    Raises:
        ModelError: It is no message.
    """
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(content):
        key, at = varint(content, at)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == 0:
            value, at = varint(content, at)
        elif kind == 2:
            size, at = varint(content, at)
            value, at = content[at : at + size], at + size
        elif kind in _SIZES:
            value, at = int.from_bytes(content[at : at + _SIZES[kind]], "little"), at + _SIZES[kind]
        else:
            raise ModelError(f"a message of protobuf has a field of the unknown kind {kind}")
        if at > len(content):
            raise ModelError("a message of protobuf ends in the middle of a field")
        found.setdefault(number, []).append(value)
    return found


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins there, modulo 2^64, and where it ends.

    Raises:
        ModelError: It does not end.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ModelError("a number of protobuf ends in its middle")
        byte, at = content[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
    raise ModelError("a number of protobuf is longer than 64 bits")


def messages(fields: Fields, number: int) -> list[Fields]:
    """The messages in a field."""
    return [fields_of(content) for content in _bytes(fields, number)]


def message(fields: Fields, number: int) -> Fields:
    """The last message in a field, or an empty one."""
    return (messages(fields, number) or [{}])[-1]


def texts(fields: Fields, number: int) -> list[str]:
    """The texts in a field."""
    return [content.decode() for content in _bytes(fields, number)]


def text(fields: Fields, number: int) -> str:
    """The last text in a field, or an empty one."""
    return (texts(fields, number) or [""])[-1]


def content_of(fields: Fields, number: int) -> bytes:
    """The last bytes in a field, or none."""
    return (_bytes(fields, number) or [b""])[-1]


def integer(fields: Fields, number: int) -> int:
    """The last integer in a field, or 0."""
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ModelError(f"field {number} of a message of protobuf is no integer")
    return value


def integers(fields: Fields, number: int) -> list[int]:
    """The integers in a field: packed into bytes, as proto3 does, or each by itself."""
    found: list[int] = []
    for value in fields.get(number, ()):
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            found.append(one)
    return found


def entries(fields: Fields, number: int) -> dict[str, Fields]:
    """A map from texts to messages."""
    return {text(one, 1): message(one, 2) for one in messages(fields, number)}


def _bytes(fields: Fields, number: int) -> list[bytes]:
    found = [value for value in fields.get(number, ()) if isinstance(value, bytes)]
    if len(found) < len(fields.get(number, ())):
        raise ModelError(f"field {number} of a message of protobuf is an integer, where bytes belong")
    return found
