"""BPF maps that another program has loaded: found by their names, read, and exchanged whole."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from schedtuna.errors import NotLoadedError
from schedtuna.kernel.libbpf import libbpf
from schedtuna.kernel.privilege import require_bpf

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY, include/uapi/linux/bpf.h
_POSSIBLE = Path("/sys/devices/system/cpu/possible")


class _MapInfo(ctypes.Structure):
    """struct bpf_map_info, up to the name."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class LoadedMaps:
    """Maps of one BPF object that is loaded, by whichever process; close it, or use it as a context manager.

    Args:
        names: Of the maps; of several with the same name, the one that was loaded last.

    Raises:
        UnavailableError: One is not there, or a privilege is missing.
    """

    def __init__(self, names: Iterable[str]) -> None:
        require_bpf()
        self._libbpf = libbpf()
        self._fds: dict[str, int] = {}
        wanted = set(names)
        self._find(wanted)
        if missing := sorted(wanted - set(self._fds)):
            self.close()
            raise NotLoadedError(f"no BPF map named {', '.join(missing)} is loaded")

    def _find(self, wanted: set[str]) -> None:
        id_ = ctypes.c_uint32(0)
        while not self._libbpf.bpf_map_get_next_id(id_, ctypes.byref(id_)):
            fd = self._libbpf.bpf_map_get_fd_by_id(id_)
            if fd < 0:  # gone meanwhile
                continue
            info = _MapInfo()
            size = ctypes.c_uint32(ctypes.sizeof(info))
            self._libbpf.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
            name = info.name.decode(errors="replace")
            if name not in wanted:
                os.close(fd)
                continue
            if name in self._fds:
                os.close(self._fds[name])
            self._fds[name] = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the maps."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def fd(self, name: str) -> int:
        """The file descriptor of a map, open as long as this is."""
        return self._fds[name]

    def remove(self, name: str, key: bytes) -> None:
        """Take an element out of a hash, if it is there."""
        self._libbpf.bpf_map_delete_elem(self._fds[name], ctypes.c_char_p(key))

    def read(self, name: str, index: int, size: int) -> bytes:
        """Return an element of an array.

        Raises:
            OSError: The kernel's errno.
        """
        return self._read(self._fds[name], index, size, name)

    def read_inner(self, name: str, index: int, size: int) -> bytes:
        """Return the element of the array of one that is at a place of a map of maps.

        Raises:
            OSError: The kernel's errno.
        """
        id_ = int.from_bytes(self.read(name, index, 4), "little")
        fd = self._libbpf.bpf_map_get_fd_by_id(id_)
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"{name}[{index}]")
        try:
            return self._read(fd, 0, size, f"{name}[{index}]")
        finally:
            os.close(fd)

    def read_cpus(self, name: str, size: int) -> list[bytes]:
        """Return the element 0 of a per-CPU array, of each possible CPU."""
        each = (size + 7) // 8 * 8
        data = self._read(self._fds[name], 0, each * _nr_possible_cpus(), name)
        return [data[start : start + size] for start in range(0, len(data), each)]

    def write(self, name: str, key: bytes, value: bytes) -> None:
        """Set an element.

        Raises:
            OSError: The kernel's errno.
        """
        key_, value_ = ctypes.c_char_p(key), ctypes.c_char_p(value)
        self._check(self._libbpf.bpf_map_update_elem(self._fds[name], key_, value_, 0), name)

    def exchange(self, name: str, index: int, value: bytes) -> None:
        """Put a new array of one element, which nobody can write again, in the place of a map of maps.

        The kernel returns when no program sees the old one any more.

        Raises:
            OSError: The kernel's errno.
        """
        # Its name is another, so that it is not found in place of the map that it is put into.
        fd = self._libbpf.bpf_map_create(_ARRAY, b"exchanged", 4, len(value), 1, None)
        self._check(min(fd, 0), name)
        try:
            zero = ctypes.c_char_p(bytes(4))
            self._check(self._libbpf.bpf_map_update_elem(fd, zero, ctypes.c_char_p(value), 0), name)
            self._check(self._libbpf.bpf_map_freeze(fd), name)
            self.write(name, index.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        finally:
            os.close(fd)

    def _read(self, fd: int, index: int, size: int, what: str) -> bytes:
        key, value = ctypes.c_uint32(index), ctypes.create_string_buffer(size)
        self._check(self._libbpf.bpf_map_lookup_elem(fd, ctypes.byref(key), value), what)
        return value.raw

    def _check(self, result: int, what: str) -> None:
        if result:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), what)


def _nr_possible_cpus() -> int:
    return 1 + int(_POSSIBLE.read_text().strip().replace("-", ",").rpartition(",")[2])
