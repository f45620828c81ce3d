"""Which rows does a translated scheduler's description have? As include/scx_object.h has them."""

from __future__ import annotations

from dataclasses import dataclass

from schedtuna.sim.bpf.maps import MapDefinition
from schedtuna.sim.bpf.object_file import map_slots
from schedtuna.sim.bpf.translation import Translation

_NO_FUNCTION = -1
_U64 = (1 << 64) - 1


@dataclass(frozen=True)
class FunctionRow:
    """struct scx_function, but for its code."""

    name: str
    section: str
    count: int
    reachable: int


@dataclass(frozen=True)
class SectionRow:
    """struct scx_section; no data: zeros."""

    name: str
    data: bytes
    address: int
    size: int
    room: int


@dataclass(frozen=True)
class ObjectRows:
    """Every table of struct scx_object that is data."""

    functions: list[FunctionRow]
    members: list[tuple[str, int, int]]
    calls: list[tuple[str, int, int]]
    sections: list[SectionRow]
    globals: list[tuple[str, int, int, int, int, int]]
    maps: list[tuple[str, int, int, int, int, int, int, int, int, int]]
    map_slots: list[tuple[int, int, int, int]]
    symbols: list[tuple[str, int, int]]
    local_types: list[tuple[int, int, str]]
    blocks: list[tuple[int, int, int, int]]
    unknowns: list[str]


def rows_of(translation: Translation) -> ObjectRows:
    """Return the tables of a translated scheduler."""
    object_, operations, resolved = translation.object, translation.operations, translation.resolved
    calls, symbols, maps = (
        translation.required_calls,
        translation.required_symbols,
        translation.required_maps,
    )
    places = {id(one): place for place, one in enumerate(object_.maps)}
    return ObjectRows(
        functions=[
            FunctionRow(one.name, one.section, one.count, int(number in translation.reached))
            for number, one in enumerate(object_.functions)
        ],
        members=[
            *((name, function, 0) for name, function in operations.functions.items()),
            *((name, _NO_FUNCTION, value) for name, value in operations.values.items()),
        ],
        calls=[(name, count, int(name in calls)) for name, count in resolved.calls.items()],
        sections=[
            SectionRow(one.name, bytes(one.data) if any(one.data) else b"", one.address, one.size, one.room)
            for one in object_.image.sections
        ],
        globals=[
            (
                one.name,
                one.address,
                one.size,
                one.section,
                int(one.kind),
                int(object_.image.sections[one.section].is_constant),
            )
            for one in object_.image.globals
        ],
        maps=[_map(one, places, int(number in maps)) for number, one in enumerate(object_.maps)],
        map_slots=[(*slot, 0) for slot in map_slots(object_)],
        symbols=[(name, int(name in symbols), 0) for name in resolved.symbols],
        local_types=[
            (number, size, translation.local_type_name(number))
            for number, size in resolved.local_types.items()
        ],
        blocks=[(one.function, one.first, one.count, 0) for one in translation.blocks],
        unknowns=resolved.unknowns,
    )


def _map(
    one: MapDefinition, places: dict[int, int], required: int
) -> tuple[str, int, int, int, int, int, int, int, int, int]:
    inner = places[id(one.inner)] if one.inner else -1
    extra = one.map_extra & _U64
    return (
        one.name,
        one.type,
        one.key_size,
        one.value_size,
        one.max_entries,
        one.map_flags,
        inner,
        extra,
        required,
        0,
    )
