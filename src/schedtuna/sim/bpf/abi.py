"""include/scx_object.h in Python: its numbers, and its structures for ctypes. A test compares both."""

from __future__ import annotations

import ctypes
from typing import Final

ABI: Final = 1
PAGE: Final = 4096
STACK: Final = 4096
FRAME_BYTES: Final = 512
STACK_BYTES: Final = 32 * FRAME_BYTES
IMAGE: Final = STACK + STACK_BYTES
MAP_REFERENCE: Final = 1 << 33
FUNCTION_REFERENCE: Final = 1 << 34

# enum scx_own_code
OWN_CALL: Final = 0x8D
OWN_CALL_LOCAL: Final = 0x85
OWN_SYMBOL: Final = 0x98
OWN_UNKNOWN: Final = 0xE0


class CInstruction(ctypes.Structure):
    """struct scx_instruction."""

    _fields_ = (
        ("code", ctypes.c_uint8),
        ("dst", ctypes.c_uint8),
        ("src", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8),
        ("off", ctypes.c_int32),
        ("imm", ctypes.c_uint64),
        ("block", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
    )


class CFunction(ctypes.Structure):
    """struct scx_function."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("section", ctypes.c_char_p),
        ("native", ctypes.c_void_p),
        ("instructions", ctypes.POINTER(CInstruction)),
        ("nr_instructions", ctypes.c_uint32),
        ("reachable", ctypes.c_uint32),
    )


class CMember(ctypes.Structure):
    """struct scx_member."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_int64), ("value", ctypes.c_uint64))


class CCall(ctypes.Structure):
    """struct scx_call."""

    _fields_ = (("name", ctypes.c_char_p), ("nr_arguments", ctypes.c_uint32), ("required", ctypes.c_uint32))


class CSection(ctypes.Structure):
    """struct scx_section."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_char_p),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("room", ctypes.c_uint32),
    )


class CGlobal(ctypes.Structure):
    """struct scx_global."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint32),
        ("section", ctypes.c_uint32),
        ("kind", ctypes.c_uint32),
        ("constant", ctypes.c_uint32),
    )


class CMap(ctypes.Structure):
    """struct scx_map."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner", ctypes.c_int32),
        ("map_extra", ctypes.c_uint64),
        ("required", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


class CMapSlot(ctypes.Structure):
    """struct scx_map_slot."""

    _fields_ = (
        ("map", ctypes.c_uint32),
        ("key", ctypes.c_uint32),
        ("inner", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


class CSymbol(ctypes.Structure):
    """struct scx_symbol."""

    _fields_ = (("name", ctypes.c_char_p), ("required", ctypes.c_uint32), ("reserved", ctypes.c_uint32))


class CLocalType(ctypes.Structure):
    """struct scx_local_type."""

    _fields_ = (("id", ctypes.c_uint32), ("size", ctypes.c_uint32), ("name", ctypes.c_char_p))


class CBlock(ctypes.Structure):
    """struct scx_block."""

    _fields_ = (
        ("function", ctypes.c_uint32),
        ("first", ctypes.c_uint32),
        ("nr_instructions", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


ROWS: Final[dict[str, type]] = {
    "functions": CFunction,
    "members": CMember,
    "calls": CCall,
    "targets": ctypes.c_void_p,
    "sections": CSection,
    "globals": CGlobal,
    "maps": CMap,
    "map_slots": CMapSlot,
    "symbols": CSymbol,
    "local_types": CLocalType,
    "blocks": CBlock,
    "unknowns": ctypes.c_char_p,
}


class CObject(ctypes.Structure):
    """struct scx_object."""

    _fields_ = (
        ("abi", ctypes.c_uint32),
        ("bytes", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("digest", ctypes.c_char_p),
        ("kernel", ctypes.c_char_p),
        ("image_end", ctypes.c_uint64),
        *((name, ctypes.POINTER(row)) for name, row in ROWS.items()),
        *((f"nr_{name}", ctypes.c_uint32) for name in ROWS if name != "targets"),
        ("reserved", ctypes.c_uint32),
    )
