"""What does the running kernel have? Its BTF is asked, through libbpf."""

from __future__ import annotations

import bisect
import ctypes
import os
import re
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from schedtuna.errors import UnavailableError
from schedtuna.kernel.btf import (
    HEADER,
    KIND_CONST,
    KIND_ENUM,
    KIND_ENUM64,
    KIND_FUNC,
    KIND_FUNC_PROTO,
    KIND_PTR,
    KIND_STRUCT,
    KIND_TYPEDEF,
)
from schedtuna.kernel.libbpf import libbpf

_TYPE = struct.Struct("<III")  # name_off, info, size or type
_ENUM = struct.Struct("<II")  # name_off, val
_ENUM64 = struct.Struct("<III")  # name_off, val_lo32, val_hi32
_PARAMETER = struct.Struct("<II")  # name_off, type
_FUNCTION = rb"[\0-\2]\0\0%c(.{4})" % KIND_FUNC  # after name_off: info with one of three linkages, prototype


class KernelBtf:
    """The kernel's types.

    Args:
        path: A file with BTF, instead of the running kernel's.

    Raises:
        UnavailableError: There is none, or it is malformed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._libbpf = libbpf()
        if path is None:
            self._btf = self._libbpf.btf__load_vmlinux_btf()
        else:
            self._btf = self._libbpf.btf__parse(os.fsencode(path), None)
        if not self._btf:
            code = ctypes.get_errno()
            raise UnavailableError(
                f"can't read the kernel's types from {path or 'its BTF'}: {os.strerror(code)}",
                hint="is it damaged, or not BTF? Kernels with CONFIG_DEBUG_INFO_BTF=y have it",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._libbpf.btf__free(self._btf)

    def tracepoint_arity(self, name: str) -> int | None:
        """How many arguments a tracepoint passes; None where it does not exist."""
        id_ = self._libbpf.btf__find_by_name_kind(self._btf, f"btf_trace_{name}".encode(), KIND_TYPEDEF)
        if id_ < 0:
            return None
        pointer = self._type(id_)[2]
        prototype = self._type(pointer)[2]
        _, info, _ = self._type(prototype)
        if (info >> 24) & 0x1F != KIND_FUNC_PROTO:
            return None
        return (info & 0xFFFF) - 1  # the first is the tracepoint's own data

    def has_member(self, struct_name: str, member: str) -> bool:
        """Whether the kernel has a structure with a member of that name, outside unnamed parts."""
        return member in self.members(struct_name)

    def members(self, struct_name: str) -> set[str]:
        """Names of a structure's members, outside unnamed parts; none where the kernel lacks it."""
        id_ = self._libbpf.btf__find_by_name_kind(self._btf, struct_name.encode(), KIND_STRUCT)
        if id_ < 0:
            return set()
        address = self._libbpf.btf__type_by_id(self._btf, id_)
        nr_members = _TYPE.unpack(ctypes.string_at(address, _TYPE.size))[1] & 0xFFFF
        data = ctypes.string_at(address + _TYPE.size, nr_members * _TYPE.size)
        names = (self._libbpf.btf__name_by_offset(self._btf, row[0]) for row in _TYPE.iter_unpack(data))
        return {name.decode() for name in names}

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of that name, which a program may be attached to."""
        return self.function_id(name) > 0

    def function_id(self, name: str) -> int:
        """Return the number of a function's type; not above 0 where the kernel has none of that name."""
        return int(self._libbpf.btf__find_by_name_kind(self._btf, name.encode(), KIND_FUNC))

    def enum_value(self, name: str) -> int | None:
        """Value of an enumerator, in whichever enumeration it is; None where the kernel has none.

        The types are not read one by one, which takes seconds in an emulated guest: its name is looked
        for, then what refers to it.
        """
        start, types, strings = self._raw()
        at = strings.find(b"\0" + name.encode() + b"\0")
        if at < 0:
            return None
        wanted = struct.pack("<I", at + 1)
        place = -1
        while (place := types.find(wanted, place + 1)) >= 0:
            if (value := self._enumerator(start + place)) is not None:
                return value
        return None

    def functions_taking(self, prefix: str, structure: str) -> list[str]:
        """Names of the functions whose last parameter is a pointer to a structure.

        Args:
            prefix: What the functions' names begin with; the others are not looked at.
            structure: The structure's name.
        """
        _, types, strings = self._raw()
        found = []
        for name in re.finditer(rb"(?<=\0)%b\w*(?=\0)" % re.escape(prefix.encode()), strings):
            offset = struct.pack("<I", name.start())
            function = re.search(re.escape(offset) + _FUNCTION, types, re.DOTALL)
            if function and self._last_parameter(int.from_bytes(function[1], "little")) == structure:
                found.append(name[0].decode())
        return sorted(found)

    def _last_parameter(self, prototype: int) -> str:
        """Name of what the last parameter of a prototype points to; empty where it is not a pointer."""
        nr_parameters = self._type(prototype)[1] & 0xFFFF
        if not nr_parameters:
            return ""
        parameters = self._libbpf.btf__type_by_id(self._btf, prototype) + _TYPE.size
        last = parameters + (nr_parameters - 1) * _PARAMETER.size
        name, info, target = self._type(_PARAMETER.unpack(ctypes.string_at(last, _PARAMETER.size))[1])
        if (info >> 24) & 0x1F != KIND_PTR:
            return ""
        while (info >> 24) & 0x1F in (KIND_PTR, KIND_CONST) and target:
            name, info, target = self._type(target)
        return str(self._libbpf.btf__name_by_offset(self._btf, name).decode())

    def _raw(self) -> tuple[int, bytes, bytes]:
        """Where in memory the types begin, all types, and all strings, which begin with an empty one."""
        size = ctypes.c_uint32()
        start = self._libbpf.btf__raw_data(self._btf, ctypes.byref(size))
        data = ctypes.string_at(start, size.value)
        _, _, _, header, type_offset, type_length, string_offset, _ = HEADER.unpack_from(data)
        types = header + type_offset
        return start + types, data[types : types + type_length], data[header + string_offset :]

    def _enumerator(self, address: int) -> int | None:
        """Value of the enumerator at an address; None where something else is there."""

        def address_of(id_: int) -> int:
            return int(self._libbpf.btf__type_by_id(self._btf, id_))

        id_ = bisect.bisect_right(range(1, self._libbpf.btf__type_cnt(self._btf)), address, key=address_of)
        members = address_of(id_) + _TYPE.size
        info = self._type(id_)[1]
        layout = {KIND_ENUM: _ENUM, KIND_ENUM64: _ENUM64}.get((info >> 24) & 0x1F)
        if layout is None or address < members or (address - members) % layout.size:
            return None
        fields = layout.unpack(ctypes.string_at(address, layout.size))
        value: int = sum(field << 32 * place for place, field in enumerate(fields[1:]))
        bits = 32 * len(fields[1:])
        return value - (1 << bits) if info >> 31 and value >> (bits - 1) else value

    def _type(self, id_: int) -> tuple[int, int, int]:
        return _TYPE.unpack(ctypes.string_at(self._libbpf.btf__type_by_id(self._btf, id_), _TYPE.size))
