"""The few parts of the protobuf wire format that writing needs (protobuf.dev, "Encoding")."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

_VARINT, _DOUBLE, _BYTES = 0, 1, 2


def varint(value: int) -> bytes:
    """Encode an integer; a negative one as its 64-bit two's complement, as int32 and int64 are.

    >>> varint(300).hex()
    'ac02'
    """
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varints(values: npt.NDArray[np.integer]) -> bytes:
    """Encode many integers, one after the other."""
    rest = values.astype(np.int64).view(np.uint64)
    columns = []
    more = np.ones(len(rest), np.bool_)
    kept = []
    while more.any():
        kept.append(more)
        next_rest = rest >> np.uint64(7)
        more_after = more & (next_rest != 0)
        columns.append((rest & np.uint64(0x7F)).astype(np.uint8) | (more_after.astype(np.uint8) << 7))
        rest, more = next_rest, more_after
    if not columns:
        return b""
    return np.stack(columns, axis=1)[np.stack(kept, axis=1)].tobytes()


def integer(field: int, value: int) -> bytes:
    """Encode a field of an integer, enum or bool."""
    return varint(field << 3 | _VARINT) + varint(value)


def double(field: int, value: float) -> bytes:
    """Encode a field of a double."""
    return varint(field << 3 | _DOUBLE) + struct.pack("<d", value)


def message(field: int, content: bytes) -> bytes:
    """Encode a field of a message, of bytes, or of packed numbers."""
    return varint(field << 3 | _BYTES) + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    """Encode a field of a string."""
    return message(field, value.encode("utf-8", "replace"))


def packed(field: int, values: npt.NDArray[np.integer]) -> bytes:
    """Encode a repeated field of integers, packed."""
    return message(field, varints(values)) if len(values) else b""
