"""Ring buffers of BPF programs, read from shared memory: whether that is sound here, and one record by one.

Reading takes no system call. Python has no acquire loads, so this is for machines that keep stores in order
(x86).
"""

from __future__ import annotations

import mmap
import platform
import select
import struct

from schedtuna.errors import UnavailableError

_BUSY, _DISCARDED = 1 << 31, 1 << 30  # include/uapi/linux/bpf.h
_HEADER = 8


def require_ordered_stores() -> None:
    """Check that this machine's CPUs show stores in program order.

    Raises:
        UnavailableError: They do not.
    """
    if platform.machine() not in {"x86_64", "i686"}:
        raise UnavailableError(
            "events are read from shared memory, which relies on x86's ordering of stores; "
            f"this is {platform.machine()}",
            hint="`schedtuna record --procfs` works here, with less detail",
        )


class RecordRing:
    """The reading side of a BPF_MAP_TYPE_RINGBUF with few records; `mapped` reads many.

    Args:
        map_fd: The map's.
        size: Its bytes.
    """

    def __init__(self, map_fd: int, size: int) -> None:
        require_ordered_stores()
        page = mmap.PAGESIZE
        self._size = size
        self._consumer = mmap.mmap(map_fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(map_fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._poll = select.epoll()
        self._poll.register(map_fd, select.EPOLLIN)

    def wait(self, within_s: float) -> None:
        """Wait until the program that writes wakes its reader, or for so long."""
        self._poll.poll(within_s)

    def take(self) -> list[bytes]:
        """Return the records that are complete, oldest first, and make room."""
        (tail,), (head,) = struct.unpack_from("=Q", self._consumer), struct.unpack_from("=Q", self._producer)
        found = []
        while tail < head:
            at = mmap.PAGESIZE + tail % self._size
            (header,) = struct.unpack_from("=I", self._producer, at)
            if header & _BUSY:
                break
            length = header & ~(_BUSY | _DISCARDED)
            if not header & _DISCARDED:
                found.append(self._producer[at + _HEADER : at + _HEADER + length])
            tail += (length + _HEADER + 7) // 8 * 8
        struct.pack_into("=Q", self._consumer, 0, tail)
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._poll.close()
        self._consumer.close()
        self._producer.close()
