"""Which BPF objects are in a file? The file is one, or a loader's program that carries them inside."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from schedtuna.sim.bpf.elf import EM_BPF, MAGIC

_MACHINE = struct.Struct("<H")
_TABLE_AT, _COUNT_AT = 0x28, 0x3A
_HEADER_BYTES = 64
_WIDTH = 64  # of a section header


def embedded_objects(data: bytes) -> Iterator[bytes]:
    """Yield every BPF object in a file's content, in order; the whole file where it is one itself.

    An object ends with its table of sections, where clang, gcc and bpftool put it; only such are found.
    """
    place = 0
    while (place := data.find(MAGIC, place)) >= 0:
        header = data[place : place + _HEADER_BYTES]
        if len(header) == _HEADER_BYTES and _MACHINE.unpack_from(header, 18)[0] == EM_BPF:
            (table,) = struct.unpack_from("<Q", header, _TABLE_AT)
            width, count = struct.unpack_from("<HH", header, _COUNT_AT)
            end = place + table + width * count
            if width == _WIDTH and count and end <= len(data):
                yield data[place:end]
        place += len(MAGIC)
