"""Buffers that BPF programs fill and that this process reads from shared memory, with numpy.

Both kinds hold records of one size. Reading costs no system call and no Python per record. Numpy has
no acquire loads, so this is for machines that keep stores in order (x86).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from schedtuna.kernel.ordered import require_ordered_stores

Records = npt.NDArray[np.void]

_RINGBUF_BUSY = 1 << 31  # include/uapi/linux/bpf.h
_RINGBUF_HEADER = 8


class RingBuffer:
    """The reading side of a BPF_MAP_TYPE_RINGBUF whose records all have one size."""

    def __init__(self, map_fd: int, size: int, dtype: np.dtype[np.void]) -> None:
        require_ordered_stores()
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(map_fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(map_fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._tail = np.frombuffer(self._consumer, np.uint64, 1)
        self._head = np.frombuffer(self._producer, np.uint64, 1)
        self._data = np.frombuffer(self._producer, np.uint8, 2 * size, page)
        self._size = size
        step = _RINGBUF_HEADER + (dtype.itemsize + 7) // 8 * 8
        self._framed = np.dtype(
            {"names": ["header", "record"], "formats": ["<u4", dtype], "offsets": [0, 8], "itemsize": step}
        )

    def take(self) -> Records:
        """Return the records that are complete, as a copy, and make room."""
        tail, head = int(self._tail[0]), int(self._head[0])
        step = self._framed.itemsize
        start = tail % self._size
        framed = self._data[start : start + (head - tail) // step * step].view(self._framed)
        busy = framed["header"] & _RINGBUF_BUSY != 0
        if busy.any():
            framed = framed[: int(busy.argmax())]
        records: Records = framed["record"].copy()
        self._tail[0] = tail + len(framed) * step
        return records


class CpuRings:
    """The reading side of the rings of bpf/record/event_ring.bpf.h.

    Args:
        control: The mapped array of `struct event_ring`, one per CPU.
        data: The mapped array of records, `capacity` per CPU.
        nr_cpus: How many rings there are.
        capacity: How many records a ring holds, a power of two.
        dtype: The record.
    """

    def __init__(
        self, control: mmap.mmap, data: mmap.mmap, nr_cpus: int, capacity: int, dtype: np.dtype[np.void]
    ) -> None:
        require_ordered_stores()
        layout = np.dtype(
            {
                "names": ["head", "nr_lost", "tail"],
                "formats": ["<u8", "<u8", "<u8"],
                "offsets": [0, 8, 64],
                "itemsize": 128,
            }
        )
        self._control = np.frombuffer(control, layout, nr_cpus)
        self._rings = np.frombuffer(data, dtype, nr_cpus * capacity).reshape(nr_cpus, capacity)
        self.nr_rings = nr_cpus
        self.capacity = capacity

    @property
    def nr_lost(self) -> npt.NDArray[np.uint64]:
        """How many records found no room so far, by CPU."""
        return self._control["nr_lost"].copy()

    @property
    def nr_waiting(self) -> int:
        """How many records wait to be read, in the fullest ring."""
        return int((self._control["head"] - self._control["tail"]).max())

    def waiting(self, cpu: int) -> Iterator[Records]:
        """Yield what waits in a ring, in order, as at most two views of the ring itself.

        A view is valid until it is released; each must be released before the next.
        """
        control = self._control[cpu]
        head, tail = int(control["head"]), int(control["tail"])
        start = tail % self.capacity
        end = start + head - tail
        if head > tail:
            yield self._rings[cpu, start : min(end, self.capacity)]
        if end > self.capacity:
            yield self._rings[cpu, : end - self.capacity]

    def release(self, cpu: int, count: int) -> None:
        """Make room: the oldest `count` records of a ring have been read."""
        self._control["tail"][cpu] += np.uint64(count)
