"""What is in a scheduler's BPF object? Functions, maps, memory, operations; nothing is resolved yet."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from schedtuna.errors import UsageError
from schedtuna.sim.bpf.core import Access, essential, read_accesses
from schedtuna.sim.bpf.elf import EM_BPF, SHF_EXECINSTR, STT_FUNC, Elf
from schedtuna.sim.bpf.image import Image, read_image
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.maps import SECTION, MapDefinition, read_maps
from schedtuna.sim.bpf.types import DATASEC, ENUM, ENUM64, INT, STRUCT, Types

_OPERATIONS = "sched_ext_ops"
_OPERATION_SECTIONS = (".struct_ops.link", ".struct_ops")
_SLOT_BYTES = 8  # of an instruction


@dataclass(frozen=True)
class ObjectFunction:
    """A program or subprogram.

    Attributes:
        name: Its name.
        section: The section that it is in.
        number: That section's number.
        first: Its first instruction in the section.
        count: How many it has.
    """

    name: str
    section: str
    number: int
    first: int
    count: int


@dataclass(frozen=True)
class Operations:
    """One struct sched_ext_ops.

    Attributes:
        variable: What the source calls it.
        name: The scheduler's name.
        functions: Member -> number of its function.
        values: Member -> value, of those that are numbers.
        dropped: Members that are set and that the kernel lacks.
    """

    variable: str
    name: str
    functions: dict[str, int]
    values: dict[str, int]
    dropped: list[str]


@dataclass
class ObjectFile:
    """A BPF object.

    Attributes:
        elf: Its file.
        types: Its types.
        functions: In the order of sections and places.
        at: (section's number, instruction) -> number of the function that begins there.
        maps: As declared.
        image: Its global variables.
        accesses: (section's number, instruction) -> what is to be resolved there.
    """

    elf: Elf
    types: Types
    functions: list[ObjectFunction]
    at: dict[tuple[int, int], int]
    maps: list[MapDefinition]
    image: Image
    accesses: dict[tuple[int, int], Access]


def defined_operations(data: bytes, name: str) -> list[str]:
    """Return the structures of the operations that a BPF object defines, for any part of a kernel."""
    elf = Elf(data, name)
    number = elf.index(".BTF")
    if number is None or not any(one.name in _OPERATION_SECTIONS for one in elf.sections):
        return []
    types = Types(elf.content(number), name)
    return [essential(types.name(one.type)) for one in _structures(elf, types)]


def defines_scheduler(data: bytes, name: str) -> bool:
    """Whether a BPF object has operations for sched_ext."""
    return _OPERATIONS in defined_operations(data, name)


def read_object(data: bytes, name: str, kernel: KernelTypes) -> ObjectFile:
    """Read a BPF object.

    Raises:
        UsageError: It is none, it is damaged, or compiled without types.
    """
    elf = Elf(data, name)
    if elf.machine != EM_BPF:
        raise elf.damaged(f"it is for machine {elf.machine}, not for BPF")
    number = elf.index(".BTF")
    if number is None:
        raise elf.damaged("it has no types (BTF)")
    types = Types(elf.content(number), name)
    functions = _functions(elf)
    at = {(one.number, one.first): place for place, one in enumerate(functions)}
    return ObjectFile(
        elf,
        types,
        functions,
        at,
        read_maps(elf, types),
        read_image(elf, types, kernel),
        _accesses(elf, types),
    )


def _functions(elf: Elf) -> list[ObjectFunction]:
    found = {}
    for one in elf.symbols:
        if one.type != STT_FUNC or not 0 < one.section < len(elf.sections) or not one.size:
            continue
        section = elf.sections[one.section]
        if section.flags & SHF_EXECINSTR:
            if one.value % _SLOT_BYTES or one.value + one.size > section.size:
                raise elf.damaged(f"function {one.name} is not inside of its section")
            key = (one.section, one.value // _SLOT_BYTES)
            found[key] = ObjectFunction(one.name, section.name, *key, one.size // _SLOT_BYTES)
    return [found[key] for key in sorted(found)]


def _accesses(elf: Elf, types: Types) -> dict[tuple[int, int], Access]:
    number = elf.index(".BTF.ext")
    if number is None:
        return {}
    try:
        rows = read_accesses(elf.content(number), types)
    except (struct.error, ValueError) as error:
        raise elf.damaged(f"its relocations (.BTF.ext): {error}") from error
    sections = {one.name: place for place, one in reversed(list(enumerate(elf.sections)))}
    return {(sections[name], at): access for (name, at), access in rows.items() if name in sections}


@dataclass(frozen=True)
class _Variable:
    """A structure of operations: section's number, name, type, offset."""

    section: int
    name: str
    type: int
    offset: int


def _variables(elf: Elf, types: Types) -> list[_Variable]:
    """All operations for sched_ext."""
    return [one for one in _structures(elf, types) if essential(types.name(one.type)) == _OPERATIONS]


def _structures(elf: Elf, types: Types) -> list[_Variable]:
    """All operations for any part of a kernel."""
    found = []
    for number, section in enumerate(elf.sections):
        if section.name not in _OPERATION_SECTIONS:
            continue
        at = {one.name: one.value for one in elf.symbols if one.section == number}
        for part in types.of_kinds(DATASEC):
            if types.name(part) == section.name:
                for variable, offset, _ in types.variables(part):
                    bare, name = types.bare(types.target(variable)), types.name(variable)
                    if types.kind(bare) == STRUCT:
                        found.append(_Variable(number, name, bare, at.get(name, offset)))
    return found


def read_operations(object_: ObjectFile, kernel: KernelTypes, wanted: str | None = None) -> Operations:
    """Read the object's operations.

    Args:
        object_: What defines them.
        kernel: Whose members count; what it lacks is dropped, as scx's loaders do.
        wanted: Which, by variable or scheduler name, of an object that has several.

    Raises:
        UsageError: There are none, several, or none of that name.
    """
    elf = object_.elf
    every = [_operations(object_, kernel, row) for row in _variables(elf, object_.types)]
    if not every:
        raise UsageError(
            f"{elf.name} defines no scheduler: it has no struct sched_ext_ops",
            hint="give the BPF object of a sched_ext scheduler, or its loader's program",
        )
    names = ", ".join(one.variable for one in every)
    if wanted is None and len(every) > 1:
        raise UsageError(f"{elf.name} defines several schedulers: {names}", hint="name one of them")
    found = [one for one in every if wanted in (None, one.variable, one.name)]
    if not found:
        raise UsageError(f"{elf.name} defines no scheduler {wanted!r}: it has {names}")
    return found[0]


def _operations(object_: ObjectFile, kernel: KernelTypes, row: _Variable) -> Operations:
    elf, types = object_.elf, object_.types
    content, references = elf.content(row.section), elf.relocations.get(row.section, {})
    known = {
        member.name
        for theirs in kernel.types.named(_OPERATIONS, frozenset({STRUCT}))
        for member in kernel.types.members(theirs)
    }
    result = Operations(row.name, "", {}, {}, [])
    name = ""
    for member in types.members(row.type):
        place, size = row.offset + member.bit // 8, types.size(member.type)
        value = int.from_bytes(content[place : place + size], "little") if size <= 8 else 0
        reference = references.get(place)
        if member.name == "name":
            name = content[place : place + size].split(b"\0")[0].decode(errors="replace")
        elif (reference or value) and member.name not in known:
            result.dropped.append(member.name)
        elif reference:
            symbol = reference.symbol
            start = value + (symbol.value if symbol.type == STT_FUNC else 0)
            function = object_.at.get((symbol.section, start // _SLOT_BYTES))
            if function is None:
                raise elf.damaged(f"its {member.name} is no function")
            result.functions[member.name] = function
        elif types.kind(types.bare(member.type)) in (INT, ENUM, ENUM64):
            result.values[member.name] = value
    return Operations(row.name, name, result.functions, result.values, result.dropped)


def map_slots(object_: ObjectFile) -> list[tuple[int, int, int]]:
    """(map, key, inner map) of what maps of maps hold from the beginning."""
    number = object_.elf.index(SECTION)
    references = object_.elf.relocations.get(number, {}) if number is not None else {}
    by_address = {one.address: place for place, one in enumerate(object_.maps) if one.address >= 0}
    found = []
    for place, one in enumerate(object_.maps):
        if one.inner is not None:
            for offset, reference in references.items():
                key = (offset - one.values_at) // _SLOT_BYTES
                if reference.symbol.value in by_address and 0 <= key < one.max_entries:
                    found.append((place, key, by_address[reference.symbol.value]))
    return found
