"""What does each instruction of a BPF object mean here? Relocations, calls and references are resolved."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from schedtuna.sim.bpf.abi import (
    FUNCTION_REFERENCE,
    MAP_REFERENCE,
    OWN_CALL,
    OWN_CALL_LOCAL,
    OWN_SYMBOL,
    OWN_UNKNOWN,
)
from schedtuna.sim.bpf.core import Access, NoAnswer, Resolver, essential
from schedtuna.sim.bpf.elf import STB_WEAK, STT_SECTION, ElfRelocation, ElfSymbol
from schedtuna.sim.bpf.helpers import ARGUMENTS, ENUM_PREFIX, PREFIX
from schedtuna.sim.bpf.instructions import (
    CALL,
    JUMP_ALWAYS,
    JUMP_ALWAYS_LONG,
    LDX,
    LOAD_64,
    MODE_MEM,
    MODE_MEMSX,
    SIZE_CODES,
    SIZES,
    ST,
    STX,
    U64,
    Instruction,
    is_known,
)
from schedtuna.sim.bpf.kernel_names import KernelNames
from schedtuna.sim.bpf.maps import SECTION
from schedtuna.sim.bpf.object_file import ObjectFile, ObjectFunction
from schedtuna.sim.bpf.types import TypeLayout, Types

_SLOT = struct.Struct("<BBhi")
_LOCAL, _KERNEL = 1, 2  # src of a call: a function of the object, of the kernel
_FUNCTION = 4  # src of a 64-bit load


class _Numbered(dict[str, int]):
    """Numbers names in the order in which they come."""

    def number(self, name: str) -> int:
        return self.setdefault(name, len(self))


@dataclass
class Resolved:
    """All functions of an object, resolved.

    Attributes:
        code: Instructions of each function, in the object's order and places.
        calls: Names of what is called outside of the object, and how many arguments each takes.
        symbols: Names of the kernel's variables whose addresses are taken.
        unknowns: What the translation does not know, in words; executing it is a trap.
        strong: Those of `calls` and `symbols` that the kernel lacks and the object can't do without.
        local_types: Number of a type that programs allocate -> bytes.
    """

    code: list[list[Instruction]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    symbols: list[str] = field(default_factory=list)
    unknowns: list[str] = field(default_factory=list)
    strong: list[str] = field(default_factory=list)
    local_types: dict[int, int] = field(default_factory=dict)


def resolve(object_: ObjectFile, kernel: Types, mirror: TypeLayout) -> Resolved:
    """Resolve every instruction of an object.

    Raises:
        UsageError: The object is damaged.
    """
    worker = _Worker(object_, kernel, mirror)
    result = Resolved(code=[worker.function(one) for one in object_.functions])
    result.calls = {name: worker.arguments[name] for name in worker.calls}
    result.symbols, result.unknowns = list(worker.symbols), list(worker.unknowns)
    result.strong = sorted(worker.strong)
    result.local_types = worker.resolver.local_types
    return result


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an instruction is, (section, instruction), and what the object says of it."""

    key: tuple[int, int]
    imm: int
    reference: ElfRelocation | None
    access: Access | None


class _Worker:
    def __init__(self, object_: ObjectFile, kernel: Types, mirror: TypeLayout) -> None:
        self.object = object_
        self.resolver = Resolver(object_.types, kernel, mirror)
        self.names = KernelNames(object_.types, kernel)
        self.helpers = {
            value: name.removeprefix(ENUM_PREFIX)
            for name, value in kernel.constants.items()
            if name.startswith(ENUM_PREFIX)
        }
        self.calls, self.symbols, self.unknowns = _Numbered(), _Numbered(), _Numbered()
        self.arguments: dict[str, int] = {}
        self.strong: set[str] = set()
        self.by_map = {one.address: place for place, one in enumerate(object_.maps) if one.address >= 0}

    def function(self, function: ObjectFunction) -> list[Instruction]:
        """Resolve one function."""
        data = self.object.elf.content(function.number)
        raw = [_SLOT.unpack_from(data, 8 * (function.first + place)) for place in range(function.count)]
        made: list[Instruction] = []
        while len(made) < function.count:
            place = len(made)
            code, registers, off, imm = raw[place]
            one = Instruction(code, registers & 15, registers >> 4, off, imm & U64)
            following = raw[place + 1][3] if code == LOAD_64 and place + 1 < function.count else 0
            made.append(self._instruction(one, self._place(function, place, imm), following))
            if code == LOAD_64:
                made.append(Instruction(0, 0, 0, 0, 0, fills=True))
        self._check_targets(made)
        return made

    def _place(self, function: ObjectFunction, place: int, imm: int) -> _Place:
        key = (function.number, function.first + place)
        reference = self.object.elf.relocations.get(function.number, {}).get(8 * key[1])
        return _Place(key, imm, reference, self.object.accesses.get(key))

    def _check_targets(self, made: list[Instruction]) -> None:
        """A jump out of its function, or between the slots of a load, is none that can be taken."""
        for place, one in enumerate(made):
            if one.is_jump:
                target = place + 1 + one.off
                if not 0 <= target < len(made) or made[target].fills:
                    self._forget(one, "a jump out of its function")

    def _forget(self, one: Instruction, why: str) -> Instruction:
        one.code, one.imm, one.note = OWN_UNKNOWN, self.unknowns.number(why), why
        return one

    def _instruction(self, one: Instruction, place: _Place, following: int) -> Instruction:
        if one.code == LOAD_64:
            return self._load(one, place, following)
        if one.code == CALL:
            return self._call(one, place)
        if place.access is not None and not self._access(one, place.access):
            return one
        if one.code == JUMP_ALWAYS_LONG:
            one.code, one.off = JUMP_ALWAYS, place.imm
        if not is_known(one):
            return self._forget(one, f"instruction {one.code:#04x} (off {one.off}, imm {place.imm})")
        return one

    def _access(self, one: Instruction, access: Access) -> bool:
        """Resolve a relocation of an access or a number; False where that is not known."""
        answer = self.resolver.resolve(access)
        if isinstance(answer, NoAnswer):
            self._forget(one, answer.reason)
            return False
        if one.kind not in (LDX, ST, STX):
            one.imm = answer.value
            return True
        one.off = answer.value
        if (
            answer.bytes
            and answer.bytes != SIZES[one.code & 0x18]
            and one.code & 0xE0 in (MODE_MEM, MODE_MEMSX)
        ):
            if answer.bytes not in SIZE_CODES or answer.signed:
                self._forget(one, f"a field of another size ({answer.bytes} bytes)")
                return False
            one.code = one.code & ~0x18 | SIZE_CODES[answer.bytes]
        return True

    def _load(self, one: Instruction, place: _Place, following: int) -> Instruction:
        if place.reference is not None:
            return self._address(one, place.reference.symbol, place.imm)
        if place.access is not None:
            answer = self.resolver.resolve(place.access)
            if isinstance(answer, NoAnswer):
                return self._forget(one, answer.reason)
            one.imm = answer.value & U64
        elif one.src == _FUNCTION:
            return self._function_address(one, (place.key[0], place.key[1] + 1 + place.imm))
        elif one.src:
            return self._forget(one, f"a 64-bit load of kind {one.src}")
        else:
            one.imm = place.imm & 0xFFFFFFFF | (following & 0xFFFFFFFF) << 32
        one.src = 0
        return one

    def _function_address(self, one: Instruction, place: tuple[int, int]) -> Instruction:
        function = self.object.at.get(place)
        if function is None:
            return self._forget(one, "the address of what is no function")
        one.src, one.imm = 0, FUNCTION_REFERENCE + function
        one.note = self.object.functions[function].name
        return one

    def _address(self, one: Instruction, symbol: ElfSymbol, addend: int) -> Instruction:
        object_, one.src = self.object, 0
        if symbol.section == 0:
            return self._outside(one, symbol)
        if symbol.section >= len(object_.elf.sections):
            return self._forget(one, f"the address of {symbol.name}")
        start = symbol.value + addend
        if object_.elf.sections[symbol.section].name == SECTION:
            number = self.by_map.get(start)
            if number is None:
                return self._forget(one, "the address of what is no map")
            one.imm, one.note = MAP_REFERENCE + number, object_.maps[number].name
        elif symbol.section in object_.image.of_elf:
            section = object_.image.sections[object_.image.of_elf[symbol.section]]
            one.imm, one.note = section.address + start & U64, symbol.name or section.name
        else:
            return self._function_address(one, (symbol.section, start // 8))
        return one

    def _outside(self, one: Instruction, symbol: ElfSymbol) -> Instruction:
        """The address of what the kernel has, or its absence."""
        name, one.note = symbol.name, symbol.name
        if name in self.object.image.kconfig:
            one.imm = self.object.image.kconfig[name]
        elif self.names.has_variable(name):
            one.code, one.imm = OWN_SYMBOL, self.symbols.number(essential(name))
        elif self.names.prototype(name) is not None and self.names.has_function(name):
            one.imm = 1  # it is only compared with 0: does the kernel have it?
        else:
            one.imm = 0
            if symbol.binding != STB_WEAK:
                self.strong.add(name)
        return one

    def _call(self, one: Instruction, at: _Place) -> Instruction:
        key, imm = at.key, at.imm
        symbol = at.reference.symbol if at.reference else None
        if symbol is not None and symbol.section == 0:
            if not self.names.has_function(symbol.name):
                if symbol.binding != STB_WEAK:
                    self.strong.add(symbol.name)
                return self._forget(one, f"{symbol.name}(), which the kernel lacks")
            return self._named(one, essential(symbol.name), self.names.nr_arguments(symbol.name))
        if one.src == _LOCAL:
            place = (key[0], key[1] + 1 + imm)
            if symbol is not None:
                start = symbol.value // 8 if symbol.type != STT_SECTION else 0
                place = (symbol.section, start + imm + 1)
            function = self.object.at.get(place)
            if function is None:
                return self._forget(one, "a call of what is no function")
            one.code, one.imm = OWN_CALL_LOCAL, function
            one.note = self.object.functions[function].name
            return one
        helper = self.helpers.get(imm) if not one.src else None
        if helper is None:
            return self._forget(one, f"a call of kind {one.src}, number {imm}")
        return self._named(one, PREFIX + helper, ARGUMENTS.get(helper, 5))

    def _named(self, one: Instruction, name: str, nr_arguments: int) -> Instruction:
        self.arguments.setdefault(name, nr_arguments)
        one.code, one.imm, one.off, one.note = OWN_CALL, self.calls.number(name), nr_arguments, name
        return one
