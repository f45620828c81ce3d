"""What does a loader's preparation mean for a translated object? As native/scx/prepared.hpp takes it.

The kernel keeps the first 15 characters of names: sections and maps are found by these, their sizes and
kinds, and programs by the number of their type in the object's BTF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.sim.bpf.elf import Elf
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.load import ScxObject, scheduler_in
from schedtuna.sim.bpf.types import FUNC, FUNC_PROTO, PTR, STRUCT, Types
from schedtuna.sim.settings import LoaderSettings, MapEntries, unpacked

_SIGNED = 2  # enum scx_global_kind
_KEPT = 15  # characters of a name (BPF_OBJ_NAME_LEN)
_DUMP = ".data.uei_dump"  # scx's loaders make it large, for a dump at the scheduler's end: here, none
_KCONFIG = ".kconfig"  # the simulated kernel's own
_VALUE, _OPERATIONS = "bpf_struct_ops_sched_ext_ops", "sched_ext_ops"
_MEMBERS = ("flags", "timeout_ms", "dispatch_max_batch")
_Write = tuple[int, int, bytes]  # pointer or 0, address or offset, bytes


@dataclass(frozen=True)
class _Section:
    name: str
    address: int
    size: int
    room: int


def prepared(settings: LoaderSettings, object_: ScxObject, kernel: KernelTypes) -> dict[str, Any]:
    """Return a loader's preparation of an object.

    Raises:
        UsageError: It names what the object does not have.
    """
    worker = _Worker(settings, object_)
    members, absent = _operations(unpacked(settings.operations), kernel, object_)
    return {
        "sections": worker.sections_written(settings),
        "entries": [row for each in settings.maps for row in worker.entries(each)],
        "runs": [
            {
                "function": worker.function(each.function),
                "returned": each.returned,
                "before": [worker.write(row) for row in each.written],
                "context": unpacked(each.context),
                "left": unpacked(each.left),
                "pointers": [int(one, 16) for one in each.pointers],
                "left_pointers": [int(one, 16) for one in each.left_pointers],
            }
            for each in settings.calls
        ],
        "after": [worker.write(row) for row in settings.written],
        "members": members,
        "absent": absent,
    }


def unread_maps(settings: LoaderSettings, object_: ScxObject) -> list[str]:
    """Names of maps with something in them that is not known here: no map that the object itself fills."""
    description = object_.description
    filled = {description.maps[row.map].name for row in description.map_slots[: description.nr_map_slots]}
    kept = {name.decode()[:_KEPT] for name in filled}
    return [name for name in settings.unread if name not in kept]


def changed_globals(
    settings: LoaderSettings, object_: ScxObject, initial: Mapping[str, tuple[int, bytes]]
) -> dict[str, tuple[int, int]]:
    """Return the numbers that the loader set: name -> (the object's own, the loader's).

    Args:
        settings: The loader's.
        object_: The object.
        initial: Of each number: its kind (`scx_global_kind`), and its first value.
    """
    worker, found = _Worker(settings, object_), {}
    writes = worker.sections_written(settings)
    for name, (address, size) in object_.globals.items():
        if name not in initial or name.startswith("__SCX_"):
            continue
        kind, own = initial[name]
        for _, start, data in writes:
            if start <= address and address + size <= start + len(data):
                value = data[address - start : address - start + size]
                if value != own:
                    found[name] = _number(own, kind), _number(value, kind)
    return found


def _number(data: bytes, kind: int) -> int:
    return int.from_bytes(data, "little", signed=kind == _SIGNED)


class _Worker:
    """Names of the kernel's -> what they are in the object."""

    def __init__(self, settings: LoaderSettings, object_: ScxObject) -> None:
        self.program, self.object = settings.program, object_
        rows = object_.description
        self.sections = [
            _Section(row.name.decode(), row.address, row.size, row.room)
            for row in rows.sections[: rows.nr_sections]
        ]
        self.functions = [row.name.decode() for row in rows.functions[: rows.nr_functions]]
        self._types: Types | None = None

    def _unknown(self, what: str) -> UsageError:
        return UsageError(
            f"the settings of {self.program} have {what}, which its object does not have",
            hint="read them anew: schedtuna sim settings NAME",
        )

    def write(self, row: tuple[str, str, int, str], *, whole: bool = False) -> _Write:
        """Where bytes go; `whole`: a section as it is in full."""
        name, pointer, offset, text = row
        data = unpacked(text)
        if not name:
            return int(pointer, 16), offset, data
        kept = name if name.startswith(".") else name[name.rindex(".") :]
        named = [one for one in self.sections if one.name[:_KEPT] == kept]
        if whole and len(named) == 1 and named[0].name == _DUMP and not any(data[named[0].size :]):
            data = data[: named[0].size]
        found = [one for one in named if not whole or one.size <= len(data) <= one.room]
        if len(found) != 1 or offset + len(data) > found[0].room:
            raise self._unknown(f"a section {name} of {len(data)} bytes")
        return 0, found[0].address + offset, data

    def sections_written(self, settings: LoaderSettings) -> list[_Write]:
        """All sections, whole, but for what the simulated kernel says of its own configuration."""
        return [
            self.write((name, "", 0, data), whole=True)
            for name, data in settings.sections.items()
            if not name.endswith(_KCONFIG)
        ]

    def entries(self, each: MapEntries) -> list[tuple[str, bytes, bytes]]:
        """A map's entries, under its full name."""
        rows = self.object.description
        shape = (each.type, each.key_size, each.value_size)
        found = [
            row.name.decode()
            for row in rows.maps[: rows.nr_maps]
            if row.name.decode()[:_KEPT] == each.name and (row.type, row.key_size, row.value_size) == shape
        ]
        if len(found) != 1:
            raise self._unknown(f"a map {each.name}")
        return [(found[0], unpacked(key), unpacked(value)) for key, value in each.entries]

    def function(self, told: tuple[int, str]) -> int:
        """The number of a program."""
        number, start = told
        if self._types is None:
            path = self.object.path
            elf = Elf(scheduler_in(path), str(path))
            self._types = Types(elf.content(elf.index(".BTF") or 0), str(path))
        is_function = 0 < number < len(self._types) and self._types.kind(number) == FUNC
        name = self._types.name(number) if is_function else ""
        if not name.startswith(start) or name not in self.functions:
            raise self._unknown(f"a program {start}")
        return self.functions.index(name)


def _operations(data: bytes, kernel: KernelTypes, object_: ScxObject) -> tuple[dict[str, int], list[str]]:
    """Values of the operations' members, and the operations that the object has and the loader took out."""
    types, kinds = kernel.types, frozenset({STRUCT})
    outer, inner = types.named(_VALUE, kinds), types.named(_OPERATIONS, kinds)
    place = types.find_member(outer[0], "data") if outer else None
    if place is None or not inner:
        raise UsageError(f"the kernel {kernel.label} has no {_VALUE}")
    values, functions = {}, {}
    for member in types.members(inner[0]):
        start, bare = place.bit // 8 + member.bit // 8, types.bare(member.type)
        value = int.from_bytes(data[start : start + min(types.size(bare), 8)], "little")
        if types.kind(bare) == PTR and types.kind(types.bare(types.target(bare))) == FUNC_PROTO:
            functions[member.name] = value
        elif member.name in _MEMBERS:
            values[member.name] = value
    rows = object_.description
    own = [row.name.decode() for row in rows.members[: rows.nr_members] if row.function >= 0]
    return values, [name for name in own if functions.get(name) == 0]
