"""How are the structures and global variables of a BPF object laid out?

This reads BTF, which Documentation/bpf/btf.rst in the kernel's sources describes. The kernel's own BTF
is not read with this: it has 100,000 types, and libbpf finds the few that matter faster.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from schedtuna.errors import UnavailableError

HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_ENUM = struct.Struct("<Ii")
_MAGIC = 0xEB9F

KIND_INT = 1
KIND_PTR = 2
KIND_STRUCT = 4
KIND_ENUM = 6
KIND_TYPEDEF = 8
KIND_CONST = 10
KIND_FUNC = 12
KIND_FUNC_PROTO = 13
KIND_ENUM64 = 19
_KIND_ARRAY = 3
_KIND_VOLATILE = 9
_KIND_VAR = 14
_KIND_DATASEC = 15
# Kind -> bytes after the type: (fixed, per member).
_TRAILING = {
    KIND_INT: (4, 0),
    KIND_PTR: (0, 0),
    _KIND_ARRAY: (12, 0),
    KIND_STRUCT: (0, 12),
    5: (0, 12),  # UNION
    KIND_ENUM: (0, 8),
    7: (0, 0),  # FWD
    KIND_TYPEDEF: (0, 0),
    _KIND_VOLATILE: (0, 0),
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


# What stands between a variable and its type.
_NAMES = frozenset({_KIND_VAR, KIND_TYPEDEF, KIND_CONST, _KIND_VOLATILE})
_SIGNED, _BOOL = 1, 4  # of an INT's encoding


@dataclass(frozen=True)
class Integer:
    """An integer type: bytes, and what they mean."""

    size: int
    signed: bool = False
    boolean: bool = False

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest value."""
        bits = 1 if self.boolean else 8 * self.size
        return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self.signed else (0, (1 << bits) - 1)


@dataclass(frozen=True)
class StructLayout:
    """How a structure is laid out.

    Attributes:
        size: In bytes.
        offsets: Where its members begin, in bytes.
        integers: Types of those that are integers.
    """

    size: int
    offsets: dict[str, int]
    integers: dict[str, Integer] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, structure: type[ctypes.Structure]) -> StructLayout:
        """Return the layout that ctypes gives a structure."""
        names = [str(row[0]) for row in structure._fields_]
        return cls(ctypes.sizeof(structure), {name: getattr(structure, name).offset for name in names})


@dataclass
class Btf:
    """What was read.

    Attributes:
        structs: Layout of each structure, by name.
        sections: Section -> variable -> (offset, size) in bytes.
        integers: Types of the variables that are integers, by name.
        enums: Enumeration -> enumerator -> value; the 32-bit ones.
    """

    structs: dict[str, StructLayout] = field(default_factory=dict)
    sections: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    integers: dict[str, Integer] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)

    def require(
        self, name: str, wanted: StructLayout, *, renamed: Mapping[str, str] | None = None, use: str = "reads"
    ) -> None:
        """Check that a structure is laid out as it is here.

        Args:
            name: Of the structure.
            wanted: How it is here.
            renamed: Members that have another name here.
            use: What this package does with it.

        Raises:
            UnavailableError: It is not: the object is of another version of this package.
        """
        found, renamed = self.structs.get(name), renamed or {}
        if found is not None:
            offsets = {renamed.get(member, member): offset for member, offset in found.offsets.items()}
            found = StructLayout(found.size, offsets)
        if found != wanted:
            raise UnavailableError(
                f"the BPF object's {name} is not what this version of schedtuna {use}",
                hint="reinstall schedtuna: its native files are of another version",
            )


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
    names, kinds = [""], [(0, 0)]  # by type id: name; kind, and size or type that it refers to
    encodings: dict[int, int] = {}
    structs: list[tuple[str, int, bool, list[tuple[int, int, int]]]] = []
    sections: list[tuple[str, list[tuple[int, int, int]]]] = []
    position, end = header + type_offset, header + type_offset + type_length
    while position < end:
        name_offset, info, size = _TYPE.unpack_from(data, position)
        kind, count, name = (info >> 24) & 0x1F, info & 0xFFFF, name_at(name_offset)
        fixed, each = _TRAILING[kind]
        body = position + _TYPE.size
        triples = [_TYPE.unpack_from(data, body + each * i) for i in range(count)] if each == 12 else []
        if kind == KIND_STRUCT:
            structs.append((name, size, bool(info >> 31), triples))
        elif kind == _KIND_DATASEC:
            sections.append((name, triples))
        elif kind == KIND_INT:
            encodings[len(names)] = data[body + 3]
        elif kind == KIND_ENUM:
            pairs = (_ENUM.unpack_from(data, body + each * i) for i in range(count))
            result.enums[name] = {name_at(at): value for at, value in pairs}
        names.append(name)
        kinds.append((kind, size))
        position = body + fixed + each * count

    def integer(id_: int) -> Integer | None:
        for _ in names:  # damaged ones may refer to themselves
            kind, size = kinds[id_]
            if kind == KIND_INT:
                return Integer(size, bool(encodings[id_] & _SIGNED), bool(encodings[id_] & _BOOL))
            if kind == KIND_ENUM:
                return Integer(size)
            if kind not in _NAMES:
                break
            id_ = size
        return None

    for name, size, is_bitfield, triples in structs:
        offsets = {name_at(n): (bits & 0xFFFFFF if is_bitfield else bits) // 8 for n, _, bits in triples}
        types = {name_at(n): found for n, id_, _ in triples if (found := integer(id_))}
        result.structs[name] = StructLayout(size, offsets, {} if is_bitfield else types)
    for section, triples in sections:
        result.sections[section] = {names[id_]: (offset, size) for id_, offset, size in triples}
        result.integers |= {names[id_]: found for id_, _, _ in triples if (found := integer(id_))}
    return result
