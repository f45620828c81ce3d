"""How does the simulator lay out what a scheduler sees of the kernel? Read from include/scx_mirror.h itself.

The header is plain: structures of members, one a line. Offsets are those of C on 64-bit machines, where
whatever has N bytes begins at a multiple of N; a test compares them with a compiler's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from schedtuna.errors import UnavailableError
from schedtuna.resources import resource_path
from schedtuna.sim.bpf.types import ARRAY, INT, PTR, STRUCT, TYPEDEF, TypeMember

HEADER: Final = "native/scx/scx_mirror.h"
_BASES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "s8": 1, "s16": 2, "s32": 4, "s64": 8}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STRUCTURE = re.compile(r"struct (\w+) \{(.*?)\n\};", re.DOTALL)
_MEMBER = re.compile(r"(?:(SCX_POINTER\((?:struct )?\w+\))|(?:struct )?(\w+)) (\w+)(?:\[(\w+)\])?")
_DEFINITION = re.compile(r"^#define (\w+) (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class _Type:
    kind: int
    name: str
    size: int
    alignment: int
    signed: bool = False
    element: int = 0
    members: tuple[TypeMember, ...] = ()


class MirrorTypes:
    """The structures of a header.

    Args:
        text: The header.

    Raises:
        UnavailableError: It is not as plain as it has to be.
    """

    def __init__(self, text: str) -> None:
        self._types = [_Type(0, "", 0, 1)]
        self._numbers: dict[str, int] = {}
        for name, size in _BASES.items():
            self._add(_Type(INT, name, size, size, name.startswith("s")))
        self._pointer = self._add(_Type(PTR, "", 8, 8))
        text = _COMMENT.sub("", text)
        constants = {name: int(value) for name, value in _DEFINITION.findall(text)}
        for name, body in _STRUCTURE.findall(text):
            self._structure(name, [line.strip() for line in body.split(";") if line.strip()], constants)

    def _add(self, type_: _Type) -> int:
        self._types.append(type_)
        if type_.name:
            self._numbers[type_.name] = len(self._types) - 1
        return len(self._types) - 1

    def _structure(self, name: str, lines: list[str], constants: dict[str, int]) -> None:
        members, place, widest = [], 0, 1
        for line in lines:
            found = _MEMBER.fullmatch(line)
            if not found or (not found[1] and found[2] not in self._numbers):
                raise UnavailableError(
                    f"{HEADER} has {line!r} in struct {name}, which is not as plain as it has to be",
                    hint="reinstall schedtuna",
                )
            number = self._pointer if found[1] else self._numbers[found[2]]
            if found[4]:
                count = int(found[4]) if found[4].isdecimal() else constants[found[4]]
                each = self._types[number]
                number = self._add(_Type(ARRAY, "", each.size * count, each.alignment, element=number))
            type_ = self._types[number]
            place = -(-place // type_.alignment) * type_.alignment
            members.append(TypeMember(found[3], number, place * 8, 0))
            place, widest = place + type_.size, max(widest, type_.alignment)
        size = -(-place // widest) * widest
        self._add(_Type(STRUCT, name, size, widest, members=tuple(members)))

    @property
    def structures(self) -> list[str]:
        """Names of all structures."""
        return [one.name for one in self._types if one.kind == STRUCT]

    def members(self, name: str) -> dict[str, tuple[int, int]]:
        """(offset, size) in bytes of each member of a structure."""
        members = self._types[self._numbers[name]].members
        return {one.name: (one.bit // 8, self._types[one.type].size) for one in members}

    def named(self, name: str, kinds: frozenset[int]) -> list[int]:
        """Numbers of the types of a name, of these kinds."""
        number = self._numbers.get(name)
        if not number or (self._types[number].kind not in kinds and TYPEDEF not in kinds):
            return []  # the kernel's typedef of a structure without a name is a structure here
        return [number]

    def bare(self, number: int) -> int:
        """The type itself: there are no typedefs of structures."""
        return number

    def kind(self, number: int) -> int:
        """What kind of type it is."""
        return self._types[number].kind

    def size(self, number: int) -> int:
        """Its size in bytes."""
        return self._types[number].size

    def element(self, number: int) -> int:
        """The type of an array's elements."""
        return self._types[number].element

    def find_member(self, number: int, name: str) -> TypeMember | None:
        """A member of a structure."""
        return next((one for one in self._types[number].members if one.name == name), None)

    def is_signed(self, number: int) -> bool:
        """Whether it is a signed integer."""
        return self._types[number].signed


@cache
def mirror_text() -> str:
    """The header as it is shipped."""
    return resource_path(HEADER).read_text(encoding="utf-8")


@cache
def mirror() -> MirrorTypes:
    """The simulator's layout."""
    return MirrorTypes(mirror_text())
