"""What does a CO-RE relocation become here? Existence is the kernel's, places are the simulator's.

A relocation names a type of the object's own and a path through it. Whether a field, type or enumerator
exists, and what an enumerator is worth, the kernel's types answer, so that a scheduler takes the ways that
it would take on that kernel. Where a field is, the simulator's mirror answers: that is what it reads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from schedtuna.sim.bpf.types import ARRAY, ENUM, ENUM64, INT, PTR, TypeLayout, Types


class AccessKind(IntEnum):
    """enum bpf_core_relo_kind."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


_ENUMS = frozenset({ENUM, ENUM64})


@dataclass(frozen=True, slots=True)
class Access:
    """One relocation: what it asks, of which of the object's types, by which path."""

    type: int
    path: str
    kind: AccessKind


@dataclass(frozen=True, slots=True)
class FieldAnswer:
    """What a relocation becomes.

    Attributes:
        value: The number that goes into the instruction.
        bytes: Of a field that is loaded or stored whole: its size here; 0 where it does not matter.
        signed: Whether that field is signed.
    """

    value: int
    bytes: int = 0
    signed: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """What has no answer, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Place:
    bit: int
    type: int
    bits: int


def essential(name: str) -> str:
    """A name without its flavour: what is behind the last `___`, as libbpf has it."""
    return name.rpartition("___")[0] or name


def read_accesses(ext: bytes, types: Types) -> dict[tuple[str, int], Access]:
    """Read the relocations of a .BTF.ext section: (section, instruction) -> relocation.

    Raises:
        struct.error, ValueError: It is damaged.
    """
    if len(ext) < 8:
        return {}
    (header,) = struct.unpack_from("<I", ext, 4)
    if header < 32:
        return {}
    start, length = struct.unpack_from("<II", ext, 24)
    if not length:
        return {}
    found = {}
    (width,) = struct.unpack_from("<I", ext, header + start)
    place, end = header + start + 4, header + start + length
    while place < end:
        name, count = struct.unpack_from("<II", ext, place)
        place += 8
        for _ in range(count):
            offset, type_, path, kind = struct.unpack_from("<IIII", ext, place)
            found[types.text(name), offset // 8] = Access(type_, types.text(path), AccessKind(kind))
            place += width
    return found


class Resolver:
    """Answers relocations of one object.

    Args:
        own: The object's types.
        kernel: The kernel's.
        mirror: The simulator's layout.
    """

    def __init__(self, own: Types, kernel: Types, mirror: TypeLayout) -> None:
        self._own, self._kernel, self._mirror = own, kernel, mirror
        self._answers: dict[Access, FieldAnswer | NoAnswer] = {}
        self.local_types: dict[int, int] = {}  # number -> bytes, of what programs allocate

    def resolve(self, access: Access) -> FieldAnswer | NoAnswer:
        """What a relocation becomes, or why it has no answer."""
        if access not in self._answers:
            self._answers[access] = self._resolve(access)
        return self._answers[access]

    def _resolve(self, access: Access) -> FieldAnswer | NoAnswer:
        kind, own = access.kind, self._own
        root = own.unqualified(access.type)
        name = essential(own.name(root))
        if kind == AccessKind.TYPE_ID_LOCAL:
            self.local_types[access.type] = own.size(access.type)
            return FieldAnswer(access.type)
        if kind in (AccessKind.ENUMVAL_EXISTS, AccessKind.ENUMVAL_VALUE):
            return self._enumerator(root, name, access)
        if kind in (AccessKind.TYPE_EXISTS, AccessKind.TYPE_MATCHES):
            return FieldAnswer(int(bool(self._candidates(self._kernel, name, root))))
        if kind in (AccessKind.TYPE_SIZE, AccessKind.TYPE_ID_TARGET):
            return self._whole_type(root, name, kind)
        bare = own.bare(access.type)
        if own.name(bare):
            root, name = bare, essential(own.name(bare))
        return self._field(access, root, name)

    def _candidates(self, layout: TypeLayout, name: str, root: int) -> list[int]:
        kind = self._own.kind(root)
        return layout.named(name, _ENUMS if kind in _ENUMS else frozenset({kind}))

    def _enumerator(self, root: int, name: str, access: Access) -> FieldAnswer | NoAnswer:
        wanted = essential(self._own.enumerators(self._own.bare(root))[int(access.path)][0])
        bare = self._own.bare(root)
        for number in self._candidates(self._kernel, name, bare):
            values = dict(self._kernel.enumerators(number))
            if wanted in values:
                return FieldAnswer(1 if access.kind == AccessKind.ENUMVAL_EXISTS else values[wanted])
        if access.kind == AccessKind.ENUMVAL_EXISTS:
            return FieldAnswer(0)
        return NoAnswer(f"enumerator {name}.{wanted}, which the kernel lacks")

    def _whole_type(self, root: int, name: str, kind: AccessKind) -> FieldAnswer | NoAnswer:
        here, there = (self._candidates(one, name, root) for one in (self._mirror, self._kernel))
        if kind == AccessKind.TYPE_SIZE and here:
            return FieldAnswer(self._mirror.size(here[0]))
        if kind == AccessKind.TYPE_SIZE and there:
            return FieldAnswer(self._kernel.size(there[0]))
        if kind == AccessKind.TYPE_ID_TARGET and there:
            return FieldAnswer(there[0])
        return NoAnswer(f"type {name}, which the kernel lacks")

    def _steps(self, access: Access, root: int) -> list[str | int]:
        """The path by names; a number is an array's index."""
        own, current = self._own, root
        steps: list[str | int] = []
        for index in map(int, access.path.split(":")[1:]):
            current = own.bare(current)
            if own.kind(current) == ARRAY:
                steps.append(index)
                current = own.element(current)
            else:
                member = own.members(current)[index]
                if member.name:
                    steps.append(essential(member.name))
                current = member.type
        return steps

    def _walk(
        self, layout: TypeLayout, name: str, root: int, first: int, steps: list[str | int]
    ) -> _Place | None:
        for number in self._candidates(layout, name, root):
            place: _Place | None = _Place(first * layout.size(number) * 8, number, 0)
            for step in steps:
                place = place and _step(layout, place, step)
            if place is not None:
                return place
        return None

    def _field(self, access: Access, root: int, name: str) -> FieldAnswer | NoAnswer:
        steps = self._steps(access, root)
        first = int(access.path.split(":")[0])
        told = ".".join([name, *map(str, steps)])
        there = self._walk(self._kernel, name, root, first, steps)
        if access.kind == AccessKind.FIELD_EXISTS:
            return FieldAnswer(int(there is not None))
        here = self._walk(self._mirror, name, root, first, steps)
        if here is None:
            where = "the simulator does not have" if there else "neither kernel nor simulator has"
            return NoAnswer(f"{told}, which {where}")
        return _field_answer(self._mirror, here, access.kind)


def _step(layout: TypeLayout, place: _Place, step: str | int) -> _Place | None:
    bare = layout.bare(place.type)
    if isinstance(step, int):
        if layout.kind(bare) != ARRAY:
            return None
        element = layout.element(bare)
        return _Place(place.bit + step * layout.size(element) * 8, element, 0)
    member = layout.find_member(bare, step)
    return None if member is None else _Place(place.bit + member.bit, member.type, member.bits)


def _field_answer(layout: TypeLayout, place: _Place, kind: AccessKind) -> FieldAnswer:
    """Where a field is; the simulator has no bit-fields."""
    size = layout.size(place.type)
    shift = 64 - size * 8
    values = {
        AccessKind.FIELD_BYTE_OFFSET: place.bit // 8,
        AccessKind.FIELD_BYTE_SIZE: size,
        AccessKind.FIELD_SIGNED: int(layout.is_signed(place.type)),
        AccessKind.FIELD_LSHIFT_U64: shift,
        AccessKind.FIELD_RSHIFT_U64: shift,
    }
    whole = size if layout.kind(layout.bare(place.type)) in (INT, PTR, ENUM, ENUM64) else 0
    return FieldAnswer(values[kind], whole, layout.is_signed(place.type))
