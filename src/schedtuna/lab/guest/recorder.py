"""Counts what the scheduler does with a process tree in the guest; the host makes metrics of it.

``recorder.py PID`` says ``ready`` once it counts, stops when its input ends, and then writes one JSON
object: what `record.aggregate` reads from the kernel, unread. Beside the standard library it needs
`schedtuna.kernel`, which is copied into the guest with it.
"""

from __future__ import annotations

import binascii
import json
import mmap
import os
import select
import struct
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "python"))

from schedtuna.errors import SchedtunaError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import BpfObject

EXITS_BYTES = 1 << 24
DRAIN_INTERVAL_S = 0.5
CPUS = "/sys/devices/system/cpu"
BUSY, DISCARDED = 1 << 31, 1 << 30  # include/uapi/linux/bpf.h
HEADER = 8


class Exits:
    """The records of a BPF ring buffer: those of tasks that have ended."""

    def __init__(self, map_fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(map_fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(map_fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._size = size
        self.records: list[bytes] = []

    def take(self) -> None:
        """Move complete records out of the ring."""
        (tail,) = struct.unpack_from("=Q", self._consumer)
        (head,) = struct.unpack_from("=Q", self._producer)
        while tail < head:
            at = mmap.PAGESIZE + tail % self._size
            (header,) = struct.unpack_from("=I", self._producer, at)
            if header & BUSY:
                break
            length = header & ~DISCARDED
            if not header & DISCARDED:
                self.records.append(self._producer[at + HEADER : at + HEADER + length])
            tail += HEADER + (length + 7) // 8 * 8
        struct.pack_into("=Q", self._consumer, 0, tail)


def nr_cpu_ids() -> int:
    """How many numbers of CPUs there may be."""
    return int(_read(f"{CPUS}/possible").replace(",", "-").split("-")[-1]) + 1


def last_level_cache(cpu: int) -> int:
    """The lowest CPU that shares this one's largest cache; the CPU itself where none is known."""
    folder = f"{CPUS}/cpu{cpu}/cache"
    try:
        levels = [name for name in os.listdir(folder) if name.startswith("index")]
        largest = max(levels, key=lambda name: int(_read(f"{folder}/{name}/level")))
        return int(_read(f"{folder}/{largest}/shared_cpu_list").replace(",", "-").split("-")[0])
    except (OSError, ValueError):
        return cpu


def say(line: str) -> None:
    """Tell guestd."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def start(pid: int) -> tuple[BpfObject, Exits]:
    """Begin to count for a process and all that it starts."""
    bpf = BpfObject("sched_aggregate")
    with KernelBtf(None) as kernel:
        arity = kernel.tracepoint_arity("sched_switch") or 0
    bpf.set_constants(
        {
            "switch_has_prev_state": arity >= 4,
            "cpu_controller_is_v1": False,
            "recorder_tgid": os.getpid(),
            "sample_1_in": 1,
            "filter_tree": True,
        }
    )
    nr_cpus = nr_cpu_ids()
    for name in ("cpus", "places"):
        bpf.set_max_entries(name, nr_cpus)
    bpf.set_max_entries("exits", EXITS_BYTES)
    bpf.load()
    bpf.update("tree_tgids", pid.to_bytes(4, sys.byteorder), b"\1")
    for cpu in range(nr_cpus):
        place = last_level_cache(cpu) << 16
        bpf.update("places", cpu.to_bytes(4, sys.byteorder), place.to_bytes(4, sys.byteorder))
    exits = Exits(bpf.map_fd("exits"), EXITS_BYTES)
    bpf.attach()
    return bpf, exits


def main() -> None:
    """Count until the input ends."""
    try:
        bpf, exits = start(int(sys.argv[1]))
    except SchedtunaError as error:
        say(str(error))
        return
    started_ns = time.monotonic_ns()
    say("ready")
    while not select.select([0], [], [], DRAIN_INTERVAL_S)[0]:
        exits.take()
    bpf.detach([name for name in bpf.programs if name != "snapshot"])
    window_ns = time.monotonic_ns() - started_ns
    living = bpf.iterate("snapshot")
    exits.take()
    found = {"exits": b"".join(exits.records), "living": living, "cpus": bpf.map_array("cpus")[:]}
    packed = {name: binascii.b2a_base64(zlib.compress(data, 1)).decode() for name, data in found.items()}
    say(json.dumps({"window_ns": window_ns, "nr_cpus": len(os.sched_getaffinity(0)), **packed}))


if __name__ == "__main__":
    main()
