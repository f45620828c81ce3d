"""Which maps does a BPF object declare? Read from the types of its section .maps, as libbpf does."""

from __future__ import annotations

from dataclasses import dataclass, field

from schedtuna.sim.bpf.elf import Elf
from schedtuna.sim.bpf.types import ARRAY, DATASEC, PTR, STRUCT, Types

SECTION = ".maps"
_NUMBERS = {"type": "type", "max_entries": "max_entries", "map_flags": "map_flags", "key_size": "key_size",
            "value_size": "value_size", "map_extra": "map_extra"}  # fmt: skip
_SIZES = {"key": "key_size", "value": "value_size"}


@dataclass
class MapDefinition:
    """One map; the attributes are the kernel's, as of `enum bpf_map_type` and `union bpf_attr`.

    Attributes:
        inner: Of a map of maps: the definition of those that it holds.
        address: Where it is in the section .maps, in bytes; -1 of an inner one.
        values_at: Where its initial values are in the section; -1: it has none.
    """

    name: str
    address: int = -1
    type: int = 0
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    map_flags: int = 0
    map_extra: int = 0
    inner: MapDefinition | None = field(default=None, repr=False)
    values_at: int = -1


def read_maps(elf: Elf, types: Types) -> list[MapDefinition]:
    """Read all maps, in the order of the section; inner definitions follow the last one."""
    section = elf.index(SECTION)
    if section is None:
        return []
    # An unlinked object's types have no offsets yet: the symbols have.
    at = {one.name: one.value for one in elf.symbols if one.section == section}
    found = []
    for number in types.of_kinds(DATASEC):
        if types.name(number) == SECTION:
            for variable, offset, _ in types.variables(number):
                name = types.name(variable)
                found.append(_definition(types, name, types.target(variable), at.get(name, offset)))
    found.sort(key=lambda one: one.address)
    return [*found, *(one.inner for one in found if one.inner)]


def _definition(types: Types, name: str, number: int, address: int) -> MapDefinition:
    made = MapDefinition(name, address)
    for member in types.members(types.bare(number)):
        if attribute := _NUMBERS.get(member.name):
            setattr(made, attribute, _number(types, member.type))
        elif attribute := _SIZES.get(member.name):
            setattr(made, attribute, types.size(types.target(types.bare(member.type))))
        elif member.name == "values":
            made.values_at = address + member.bit // 8
            made.inner = _inner(types, name, member.type)
    return made


def _inner(types: Types, name: str, number: int) -> MapDefinition | None:
    """What `__array(values, struct ...)` declares: an array of pointers to maps. None where to programs."""
    element = types.bare(types.element(number))
    target = types.bare(types.target(element)) if types.kind(element) == PTR else 0
    if types.kind(target) != STRUCT or types.find_member(target, "type") is None:
        return None
    return _definition(types, f"{name}.inner", target, -1)


def _number(types: Types, number: int) -> int:
    """What `__uint(name, value)` declares: a pointer to an array of so many."""
    array = types.bare(types.target(types.bare(number)))
    return types.array(array)[1] if types.kind(array) == ARRAY else 0
