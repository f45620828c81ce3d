"""TensorFlow's checkpoints (`variables.index`, `variables.data-*`): which arrays are in them?

The index is a sorted table as LevelDB writes it (doc/table_format.md there), uncompressed, of messages that
say where an array lies (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError
from schedtuna.learn.protobuf_fields import Fields, fields_of, integer, message, messages, varint

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5  # bytes: at the end; behind each block: its compression, and a CRC-32C
_MASK = 0xA282EAD8
_DTYPES = {1: "<f4", 2: "<f8"}  # as tensorflow/core/framework/types.proto numbers them
_STRING = 7


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901 - that is the algorithm
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(content: bytes) -> int:
    """Castagnoli's CRC-32 (RFC 3720, B.4)."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class TensorBundle:
    """A checkpoint that is open for reading.

    Args:
        prefix: What its files' names begin with, such as `variables/variables`.

    Raises:
        ModelError: It is none, or damaged.
        OSError: It can't be read.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        content = prefix.with_name(prefix.name + ".index").read_bytes()
        self._entries = {key: fields_of(value) for key, value in _table(content)}
        header = self._entries.get("", {})
        self._nr_shards = integer(header, 1)
        if integer(header, 2):
            raise ModelError("a checkpoint of a big-endian machine can't be read")

    def array(self, key: str) -> npt.NDArray[np.float64]:
        """Return an array of floats.

        Raises:
            ModelError: There is none, it is of another type, or damaged.
            OSError: It can't be read.
        """
        entry = self._entry(key)
        dtype = _DTYPES.get(integer(entry, 1))
        if dtype is None:
            raise ModelError(f"{key} is of type {integer(entry, 1)} of TensorFlow, expected float or double")
        shape = [integer(one, 1) for one in messages(message(entry, 2), 2)]
        content = self._content(key, entry)
        if 7 in entry or len(content) != int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize:
            raise ModelError(f"{key}: {len(content)} bytes are no array of {shape}")
        return np.frombuffer(content, dtype).reshape(shape).astype(np.float64)

    def text(self, key: str) -> bytes:
        """Return the bytes of a single text: they follow their length, and a CRC of that.

        Raises:
            ModelError: There is none, or it is damaged.
            OSError: It can't be read.
        """
        entry = self._entry(key)
        content = self._content(key, entry, is_text=True)
        size, at = varint(content, 0)
        found = content[at + 4 :]
        if integer(entry, 1) != _STRING or len(found) != size:
            raise ModelError(f"{key} is no text")
        return found

    def _entry(self, key: str) -> Fields:
        if key not in self._entries:
            raise ModelError(f"the checkpoint has no {key}")
        return self._entries[key]

    def _content(self, key: str, entry: Fields, *, is_text: bool = False) -> bytes:
        shard, offset, size = (integer(entry, number) for number in (3, 4, 5))
        if shard >= self._nr_shards:
            raise ModelError(f"{key} is in file {shard} of {self._nr_shards}")
        path = self._prefix.with_name(f"{self._prefix.name}.data-{shard:05d}-of-{self._nr_shards:05d}")
        if offset + size > path.stat().st_size:
            raise ModelError(f"{path.name} ends before {key}")
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if not is_text and _masked(crc32c(content)) != integer(entry, 6):  # of texts it is of more than these
            raise ModelError(f"{path.name} is damaged: {key} has another CRC")
        return content


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _table(content: bytes) -> Iterator[tuple[str, bytes]]:
    if len(content) < _FOOTER or int.from_bytes(content[-8:], "little") != _MAGIC:
        raise ModelError("this is no index of a checkpoint of TensorFlow")
    _, at = _handle(content, len(content) - _FOOTER)  # of blocks of other things
    index, _ = _handle(content, at)
    for _, handle in _block(content, *index):
        where, _ = _handle(handle, 0)
        for key, value in _block(content, *where):
            yield key.decode(), value


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(content, at)
    size, at = varint(content, at)
    return (offset, size), at


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a block: how much a key shares with the one before, its rest, and its value."""
    whole = content[offset : offset + size + _TRAILER]
    if len(whole) < size + _TRAILER or size < 4:
        raise ModelError("a block lies beyond the end of a checkpoint's index")
    if whole[size]:
        raise ModelError("a compressed index of a checkpoint can't be read")
    if _masked(crc32c(whole[: size + 1])) != int.from_bytes(whole[size + 1 :], "little"):
        raise ModelError("a checkpoint's index is damaged: a block has another CRC")
    nr_restarts = int.from_bytes(whole[size - 4 : size], "little")
    end = size - 4 - 4 * nr_restarts
    at, key = 0, b""
    while at < end:
        shared, at = varint(whole, at)
        rest, at = varint(whole, at)
        length, at = varint(whole, at)
        key = key[:shared] + whole[at : at + rest]
        at += rest
        yield key, whole[at : at + length]
        at += length
    if at != max(end, 0):
        raise ModelError("a checkpoint's index is damaged: an entry is longer than its block")
