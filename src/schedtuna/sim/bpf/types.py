"""Which types does BTF describe, and how are they laid out? Read lazily: a kernel's has 100,000 of them.

Documentation/bpf/btf.rst in the kernel's sources describes the format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from schedtuna.errors import UsageError

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)
SIGNED, BOOL = 1, 4  # of an INT's encoding
POINTER_BYTES: Final = 8

_HEADER = struct.Struct("<HBBIIIII")
_MAGIC = 0xEB9F
_TYPE = struct.Struct("<III")
_TRIPLE, _PAIR, _SIGNED_PAIR = struct.Struct("<III"), struct.Struct("<II"), struct.Struct("<Ii")
_TRANSPARENT = frozenset({TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG})
_QUALIFIERS = _TRANSPARENT - {TYPEDEF}
# Kind -> bytes after the type: (fixed, per member).
_TRAILING: Final = [
    (0, 0), (4, 0), (0, 0), (12, 0), (0, 12), (0, 12), (0, 8), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0),
    (0, 0), (0, 8), (4, 0), (0, 12), (0, 0), (4, 0), (0, 0), (0, 12),
]  # fmt: skip
_DEEPEST = 64  # no chain of types is longer, but in a damaged file


@dataclass(frozen=True, slots=True)
class TypeMember:
    """Where a member is.

    Attributes:
        name: Its name; empty of an unnamed one.
        type: Its type's number.
        bit: Where it begins, in bits from the structure's start.
        bits: How many it has, of a bit-field; else 0.
    """

    name: str
    type: int
    bit: int
    bits: int


class TypeLayout(Protocol):
    """What relocations ask of types, whoever laid them out."""

    def named(self, name: str, kinds: frozenset[int]) -> list[int]:
        """Numbers of the types of a name, of these kinds."""

    def bare(self, number: int) -> int:
        """The type behind typedefs and qualifiers."""

    def kind(self, number: int) -> int:
        """What kind of type it is."""

    def size(self, number: int) -> int:
        """Its size in bytes."""

    def element(self, number: int) -> int:
        """The type of an array's elements."""

    def find_member(self, number: int, name: str) -> TypeMember | None:
        """A member, through unnamed structures and unions, too."""

    def is_signed(self, number: int) -> bool:
        """Whether it is a signed integer."""


class Types:
    """The types of one BTF.

    Args:
        data: The BTF, raw.
        source: Where it is from, for errors.

    Raises:
        UsageError: It is not BTF, or damaged.
    """

    def __init__(self, data: bytes, source: str) -> None:
        self._source = source
        try:
            self._index(data)
        except (struct.error, IndexError, ValueError) as error:
            raise self._damaged(error) from error

    def _index(self, data: bytes) -> None:
        magic, _, _, header, types, types_bytes, strings, strings_bytes = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError(f"it begins with {magic:#x}, expected {_MAGIC:#x}")
        self._strings = data[header + strings : header + strings + strings_bytes]
        self._data = data
        self._at = [0]  # number -> where it is
        at, end = header + types, header + types + types_bytes
        append, unpack, trailing = self._at.append, struct.Struct("<I").unpack_from, _TRAILING
        while at < end:
            append(at)
            (info,) = unpack(data, at + 4)
            fixed, each = trailing[info >> 24 & 31]
            at += 12 + fixed + each * (info & 0xFFFF)
        if at != end:
            raise ValueError("its last type goes beyond its end")

    def _damaged(self, error: Exception) -> UsageError:
        return UsageError(
            f"the types (BTF) of {self._source} are damaged: {error}", hint="compile it anew, with -g"
        )

    def __len__(self) -> int:
        return len(self._at)

    def _row(self, number: int) -> tuple[int, int, int]:
        if not 0 < number < len(self._at):
            raise self._damaged(ValueError(f"there is no type {number}"))
        return _TYPE.unpack_from(self._data, self._at[number])

    def text(self, offset: int) -> str:
        """The string at an offset."""
        stop = self._strings.find(b"\0", offset)
        if stop < 0:
            raise self._damaged(ValueError(f"there is no string {offset}"))
        return self._strings[offset:stop].decode(errors="replace")

    def kind(self, number: int) -> int:
        """What kind of type it is; 0 of void."""
        return self._row(number)[1] >> 24 & 31 if number else 0

    def name(self, number: int) -> str:
        """Its name; empty where it has none."""
        return self.text(self._row(number)[0]) if number else ""

    def target(self, number: int) -> int:
        """The type that it refers to: of pointers, typedefs, qualifiers, functions and variables."""
        return self._row(number)[2]

    def _members(self, number: int, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
        count = self._row(number)[1] & 0xFFFF
        start = self._at[number] + 12
        return layout.iter_unpack(self._data[start : start + layout.size * count])

    def members(self, number: int) -> list[TypeMember]:
        """The members of a structure or union."""
        fields = self._row(number)[1] >> 31
        return [
            TypeMember(
                self.text(name), type_, where & 0xFFFFFF if fields else where, where >> 24 if fields else 0
            )
            for name, type_, where in self._members(number, _TRIPLE)
        ]

    def variables(self, number: int) -> list[tuple[int, int, int]]:
        """(type, offset, size in bytes) of what is in a section; an unlinked object has no offsets yet."""
        return [(row[0], row[1], row[2]) for row in self._members(number, _TRIPLE)]

    def parameters(self, number: int) -> list[int]:
        """The types of a prototype's parameters; a last one of 0 is `...`."""
        return [row[1] for row in self._members(number, _PAIR)]

    def enumerators(self, number: int) -> list[tuple[str, int]]:
        """(name, value) of an enumeration."""
        if self.kind(number) == ENUM64:
            rows = [(name, low | high << 32) for name, low, high in self._members(number, _TRIPLE)]
        else:
            rows = [(row[0], row[1]) for row in self._members(number, _SIGNED_PAIR)]
        return [(self.text(name), value) for name, value in rows]

    def array(self, number: int) -> tuple[int, int]:
        """(type of the elements, how many)."""
        element, _, count = _TRIPLE.unpack_from(self._data, self._at[number] + 12)
        return element, count

    def element(self, number: int) -> int:
        """The type of an array's elements."""
        return self.array(self.bare(number))[0]

    def _behind(self, number: int, kinds: frozenset[int]) -> int:
        for _ in range(_DEEPEST):
            if not number or self.kind(number) not in kinds:
                return number
            number = self.target(number)
        raise self._damaged(ValueError(f"type {number} goes round"))

    def bare(self, number: int) -> int:
        """The type behind typedefs and qualifiers."""
        return self._behind(number, _TRANSPARENT)

    def unqualified(self, number: int) -> int:
        """The type behind const, volatile and the like; a typedef stays one."""
        return self._behind(number, _QUALIFIERS)

    def size(self, number: int) -> int:
        """Its size in bytes."""
        factor = 1
        for _ in range(_DEEPEST):
            number = self.bare(number)
            kind = self.kind(number)
            if kind != ARRAY:
                return factor * (POINTER_BYTES if kind == PTR else self._row(number)[2] if number else 1)
            number, count = self.array(number)
            factor *= count
        raise self._damaged(ValueError(f"type {number} goes round"))

    def encoding(self, number: int) -> int:
        """What an INT means: SIGNED, BOOL."""
        return self._data[self._at[number] + 15]

    def is_signed(self, number: int) -> bool:
        """Whether it is a signed integer."""
        number = self.bare(number)
        if self.kind(number) == INT:
            return bool(self.encoding(number) & SIGNED)
        return self.kind(number) in (ENUM, ENUM64) and bool(self._row(number)[1] >> 31)

    def find_member(self, number: int, name: str, depth: int = 0) -> TypeMember | None:
        """A member, through unnamed structures and unions, too; its place counts from the outermost."""
        number = self.bare(number)
        if self.kind(number) not in (STRUCT, UNION) or depth > _DEEPEST:
            return None
        for one in self.members(number):
            if one.name == name:
                return one
            if not one.name and (inner := self.find_member(one.type, name, depth + 1)):
                return TypeMember(name, inner.type, one.bit + inner.bit, inner.bits)
        return None

    @cached_property
    def _by_offset(self) -> dict[int, list[int]]:
        """Where a name is -> the types of it."""
        found: dict[int, list[int]] = {}
        unpack, data = struct.Struct("<I").unpack_from, self._data
        for number in range(1, len(self._at)):
            (name,) = unpack(data, self._at[number])
            if name:
                found.setdefault(name, []).append(number)
        return found

    def _offsets(self, name: str) -> Iterator[int]:
        wanted, place = b"\0" + name.encode() + b"\0", -1
        while (place := self._strings.find(wanted, place + 1)) >= 0:
            yield place + 1

    def named(self, name: str, kinds: frozenset[int]) -> list[int]:
        """Numbers of the types of a name, of these kinds."""
        if not name:
            return []
        numbers = [number for offset in self._offsets(name) for number in self._by_offset.get(offset, ())]
        return [number for number in numbers if self.kind(number) in kinds]

    def of_kinds(self, *kinds: int) -> Iterator[int]:
        """Numbers of all types of these kinds."""
        return (number for number in range(1, len(self._at)) if self.kind(number) in kinds)

    @cached_property
    def constants(self) -> dict[str, int]:
        """Every enumerator's value, by its name; of names that are there twice, the first one's."""
        found: dict[str, int] = {}
        for number in self.of_kinds(ENUM, ENUM64):
            for name, value in self.enumerators(number):
                found.setdefault(name, value)
        return found
