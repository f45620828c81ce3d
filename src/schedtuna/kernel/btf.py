"""How are the structures and global variables of a BPF object laid out?

This reads BTF, which Documentation/bpf/btf.rst in the kernel's sources describes. The kernel's own BTF
is not read with this: it has 100,000 types, and libbpf finds the few that matter faster.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from schedtuna.errors import UnavailableError

HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F

KIND_PTR = 2
KIND_STRUCT = 4
KIND_ENUM = 6
KIND_TYPEDEF = 8
KIND_CONST = 10
KIND_FUNC = 12
KIND_FUNC_PROTO = 13
KIND_ENUM64 = 19
_KIND_ARRAY = 3
_KIND_VAR = 14
_KIND_DATASEC = 15
# Kind -> bytes after the type: (fixed, per member).
_TRAILING = {
    1: (4, 0),  # INT
    KIND_PTR: (0, 0),
    _KIND_ARRAY: (12, 0),
    KIND_STRUCT: (0, 12),
    5: (0, 12),  # UNION
    KIND_ENUM: (0, 8),
    7: (0, 0),  # FWD
    KIND_TYPEDEF: (0, 0),
    9: (0, 0),  # VOLATILE
    KIND_CONST: (0, 0),
    11: (0, 0),  # RESTRICT
    KIND_FUNC: (0, 0),
    KIND_FUNC_PROTO: (0, 8),
    _KIND_VAR: (4, 0),
    _KIND_DATASEC: (0, 12),
    16: (0, 0),  # FLOAT
    17: (4, 0),  # DECL_TAG
    18: (0, 0),  # TYPE_TAG
    KIND_ENUM64: (0, 12),
}


@dataclass(frozen=True)
class StructLayout:
    """Size of a structure, and where its members are, in bytes."""

    size: int
    offsets: dict[str, int]


@dataclass
class Btf:
    """What was read.

    Attributes:
        structs: Layout of each structure, by name.
        sections: Section -> variable -> (offset, size) in bytes.
    """

    structs: dict[str, StructLayout] = field(default_factory=dict)
    sections: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)


def parse_btf(data: bytes) -> Btf:
    """Read the layouts of a BPF object.

    Raises:
        UnavailableError: The data is not BTF, or of a kind not known here.
    """
    try:
        return _parse(data)
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise UnavailableError(f"malformed BTF: {error!r}") from error


def _parse(data: bytes) -> Btf:
    magic, _, _, header, type_offset, type_length, string_offset, string_length = HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError(f"magic {magic:#x}, expected {_MAGIC:#x}")
    strings = data[header + string_offset : header + string_offset + string_length]

    def name_at(offset: int) -> str:
        return strings[offset : strings.index(b"\0", offset)].decode()

    result = Btf()
    names = [""]  # by type id
    members: list[tuple[str, list[tuple[int, int, int]]]] = []
    position, end = header + type_offset, header + type_offset + type_length
    while position < end:
        name_offset, info, size = _TYPE.unpack_from(data, position)
        kind, count, name = (info >> 24) & 0x1F, info & 0xFFFF, name_at(name_offset)
        fixed, each = _TRAILING[kind]
        body = position + _TYPE.size
        names.append(name)
        triples = [_TYPE.unpack_from(data, body + each * i) for i in range(count)] if each == 12 else []
        if kind == KIND_STRUCT:
            is_bitfield = info >> 31
            offsets = {name_at(n): (bits & 0xFFFFFF if is_bitfield else bits) // 8 for n, _, bits in triples}
            result.structs[name] = StructLayout(size, offsets)
        elif kind == _KIND_DATASEC:
            members.append((name, triples))
        position = body + fixed + each * count
    for section, triples in members:
        result.sections[section] = {names[id_]: (offset, size) for id_, offset, size in triples}
    return result
