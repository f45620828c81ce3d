"""How is a scheduler laid out in memory for the interpreter? As struct scx_object, without a compiler."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from schedtuna.sim.bpf import abi
from schedtuna.sim.bpf.instructions import Instruction
from schedtuna.sim.bpf.rows import ObjectRows, rows_of
from schedtuna.sim.bpf.translation import Translation

_INSTRUCTION = struct.Struct("<BBBBiQII")
_INT_MIN, _INT_MAX = -(1 << 31), (1 << 31) - 1


class Memory:
    """A struct scx_object, and all that it points to, for as long as this lives.

    Attributes:
        object: The structure.
    """

    def __init__(self, translation: Translation) -> None:
        self._kept: list[object] = []
        rows = rows_of(translation)
        self.object = abi.CObject(
            abi=abi.ABI, bytes=ctypes.sizeof(abi.CObject), image_end=translation.object.image.end
        )
        self.object.name = translation.operations.name.encode()
        self.object.digest = translation.digest.encode()
        self.object.kernel = translation.kernel.encode()
        sections = [(one.name, one.data or None, one.address, one.size, one.room) for one in rows.sections]
        self._kept.append(sections)
        tables: dict[str, ctypes.Array[Any]] = {
            "functions": self._functions(translation, rows),
            "members": _array(abi.CMember, rows.members),
            "calls": _array(abi.CCall, rows.calls),
            "sections": _array(abi.CSection, sections),
            "globals": _array(abi.CGlobal, rows.globals),
            "maps": _array(abi.CMap, rows.maps),
            "map_slots": _array(abi.CMapSlot, rows.map_slots),
            "symbols": _array(abi.CSymbol, rows.symbols),
            "local_types": _array(abi.CLocalType, rows.local_types),
            "blocks": _array(abi.CBlock, rows.blocks),
            "unknowns": (ctypes.c_char_p * max(1, len(rows.unknowns)))(
                *(one.encode() for one in rows.unknowns)
            ),
        }
        for name, table in tables.items():
            self._kept.append(table)
            setattr(self.object, name, ctypes.cast(table, ctypes.POINTER(abi.ROWS[name])))
            setattr(self.object, f"nr_{name}", len(getattr(rows, name)))
        targets = (ctypes.c_void_p * max(1, len(rows.calls)))()
        self._kept.append(targets)
        self.object.targets = ctypes.cast(targets, ctypes.POINTER(ctypes.c_void_p))

    def _functions(self, translation: Translation, rows: ObjectRows) -> ctypes.Array[abi.CFunction]:
        starts = {(one.function, one.first): number for number, one in enumerate(translation.blocks)}
        wanted = set(translation.wanted)
        made = (abi.CFunction * max(1, len(rows.functions)))()
        for number, row in enumerate(rows.functions):
            one = made[number]
            one.name, one.section = row.name.encode(), row.section.encode()
            one.nr_instructions, one.reachable = row.count, row.reachable
            if number in wanted:
                packed = _packed(translation.resolved.code[number], number, starts)
                self._kept.append(packed)
                one.instructions = ctypes.cast(packed, ctypes.POINTER(abi.CInstruction))
        return made


def _packed(
    code: list[Instruction], function: int, starts: dict[tuple[int, int], int]
) -> ctypes.Array[ctypes.c_char]:
    rows = [
        _INSTRUCTION.pack(
            one.code, one.dst, one.src, 0, one.off, one.imm, 1 + starts.get((function, place), -1), 0
        )
        for place, one in enumerate(code)
    ]
    return ctypes.create_string_buffer(b"".join(rows), _INSTRUCTION.size * len(rows))


def _array(type_: type[ctypes.Structure], rows: Sequence[Iterable[object]]) -> ctypes.Array[Any]:
    filled = [type_(*(cell.encode() if isinstance(cell, str) else cell for cell in row)) for row in rows]
    return (type_ * max(1, len(filled)))(*filled)
