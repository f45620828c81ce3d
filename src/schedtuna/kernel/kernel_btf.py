"""What does the running kernel have? Its BTF is asked, through libbpf."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from schedtuna.errors import UnavailableError
from schedtuna.kernel.btf import KIND_FUNC_PROTO, KIND_STRUCT, KIND_TYPEDEF
from schedtuna.kernel.libbpf import libbpf

_TYPE = struct.Struct("<III")  # name_off, info, size or type


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
        id_ = self._libbpf.btf__find_by_name_kind(self._btf, struct_name.encode(), KIND_STRUCT)
        if id_ < 0:
            return False
        address = self._libbpf.btf__type_by_id(self._btf, id_)
        nr_members = _TYPE.unpack(ctypes.string_at(address, _TYPE.size))[1] & 0xFFFF
        data = ctypes.string_at(address + _TYPE.size, nr_members * _TYPE.size)
        names = (self._libbpf.btf__name_by_offset(self._btf, row[0]) for row in _TYPE.iter_unpack(data))
        return member.encode() in names

    def _type(self, id_: int) -> tuple[int, int, int]:
        return _TYPE.unpack(ctypes.string_at(self._libbpf.btf__type_by_id(self._btf, id_), _TYPE.size))
