"""The maps of a BPF program's loader, read by system calls alone: the guest has no libbpf."""

from __future__ import annotations

import binascii
import ctypes
import os
import platform
import struct
import sys
import zlib

TYPE_CHECKING = False  # typing's own would be imported for it
if TYPE_CHECKING:
    from typing import Any

# bpf(), seccomp() by machine.
NUMBERS = {"x86_64": (321, 317), "aarch64": (280, 277)}
# include/uapi/linux/bpf.h
LOOKUP, GET_NEXT_KEY, MAP_BY_ID, INFO_BY_FD = 1, 4, 14, 15
HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH = 1, 2, 5, 6, 9
ARRAY_OF_MAPS, HASH_OF_MAPS, STRUCT_OPS, ARENA = 12, 13, 26, 33
# In which a loader puts nothing that a simulated machine has, or it is seen otherwise: performance counters,
# queues, operations, ring buffers, storage, arenas.
WITHOUT_CONTENT = {4, 22, 23, 26, 27, 29, 31, 32, 33}
MOST_ENTRIES = 1 << 16
MAP_INFO = struct.Struct("=6I16s")
LIBC = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: Any) -> int:
    """Call the kernel.

    Raises:
        OSError: It refuses.
    """
    result = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Let the kernel carry something out; returns its result, and the attributes as it leaves them."""
    buffer = ctypes.create_string_buffer(attributes.ljust(160, b"\0"), 160)
    number = NUMBERS[platform.machine()][0]
    result = syscall(number, ctypes.c_long(command), buffer, ctypes.c_long(160))
    return result, buffer.raw


def packed(data: bytes) -> str:
    """Bytes as text."""
    return binascii.b2a_base64(zlib.compress(data, 6), newline=False).decode()


def information(fd: int, size: int) -> bytes:
    """What the kernel says of an object (bpf_map_info, bpf_prog_info)."""
    buffer = ctypes.create_string_buffer(size)
    bpf(INFO_BY_FD, struct.pack("=IIQ", fd, size, ctypes.addressof(buffer)))
    return buffer.raw


class LoadedMap:
    """A map of the loader's."""

    def __init__(self, id_: int) -> None:
        self.fd = bpf(MAP_BY_ID, struct.pack("=III", id_, 0, 0))[0]
        fields = MAP_INFO.unpack_from(information(self.fd, 128))
        self.type, _, self.key_size, self.value_size, self.max_entries, _, name = fields
        self.name = name.split(b"\0")[0].decode(errors="replace")

    @property
    def is_section(self) -> bool:
        """Whether it is a section of global variables."""
        return self.type == ARRAY and "." in self.name and self.max_entries == 1

    def lookup(self, key: bytes, size: int) -> bytes:
        """The value of a key."""
        value = ctypes.create_string_buffer(size)
        given = ctypes.create_string_buffer(key, max(len(key), 1))
        bpf(LOOKUP, struct.pack("=IxxxxQQQ", self.fd, ctypes.addressof(given), ctypes.addressof(value), 0))
        return value.raw

    def keys(self) -> list[bytes]:
        """All keys."""
        if self.type in (ARRAY, PERCPU_ARRAY, ARRAY_OF_MAPS):
            return [number.to_bytes(4, sys.byteorder) for number in range(self.max_entries)]
        found: list[bytes] = []
        following = ctypes.create_string_buffer(self.key_size)
        while len(found) <= MOST_ENTRIES:
            given = ctypes.create_string_buffer(found[-1], self.key_size) if found else None
            at = ctypes.addressof(given) if given else 0
            try:
                bpf(GET_NEXT_KEY, struct.pack("=IxxxxQQ", self.fd, at, ctypes.addressof(following)))
            except FileNotFoundError:
                break
            found.append(following.raw)
        return found

    def entries(self) -> list[tuple[str, str]] | None:
        """Keys and values that are not just zeros; None where they can't be told."""
        if self.type not in (HASH, ARRAY, LRU_HASH) or (
            self.max_entries > MOST_ENTRIES and self.type == ARRAY
        ):
            return None
        rows = []
        for key in self.keys():
            value = self.lookup(key, self.value_size)
            if self.type != ARRAY or any(value):
                rows.append((packed(key), packed(value)))
        return rows

    def _holds(self, key: bytes) -> bool:
        try:
            self.lookup(key, self.value_size)
        except FileNotFoundError:
            return False
        return True

    def is_empty(self) -> bool:
        """Whether nobody has put anything into one whose entries can't be told."""
        if self.type in (PERCPU_ARRAY, PERCPU_HASH) and self.max_entries <= MOST_ENTRIES:
            each = (self.value_size + 7) // 8 * 8 * nr_possible_cpus()
            return not any(any(self.lookup(key, each)) for key in self.keys())
        if self.type in (ARRAY_OF_MAPS, HASH_OF_MAPS):
            return not any(map(self._holds, self.keys()))
        return self.type in WITHOUT_CONTENT


def nr_possible_cpus() -> int:
    """How many CPUs there may be."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().replace(",", "-").split("-")[-1]) + 1
