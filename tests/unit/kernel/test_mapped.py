import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import UnavailableError
from schedtuna.kernel.mapped import CpuRings
from schedtuna.kernel.ordered import require_ordered_stores

RECORD = np.dtype([("number", "<u8"), ("cpu", "<u8")])
CAPACITY, NR_CPUS = 8, 2


class Producer:
    """Does in Python what bpf/record/event_ring.bpf.h does."""

    def __init__(self):
        control, data = mmap.mmap(-1, mmap.PAGESIZE), mmap.mmap(-1, mmap.PAGESIZE)
        self.control = np.frombuffer(control, "<u8", 16 * NR_CPUS).reshape(NR_CPUS, 16)
        self.data = np.frombuffer(data, RECORD, NR_CPUS * CAPACITY)
        self.rings = CpuRings(control, data, NR_CPUS, CAPACITY, RECORD)
        self.lost = [0] * NR_CPUS

    def write(self, cpu, number):
        head, _, *_ = self.control[cpu]
        if head - self.control[cpu, 8] >= CAPACITY:
            self.control[cpu, 1] += np.uint64(1)
            return False
        self.data[cpu * CAPACITY + int(head) % CAPACITY] = (number, cpu)
        self.control[cpu, 0] += np.uint64(1)
        return True


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, NR_CPUS - 1), st.integers(1, 12), st.integers(0, 12)), max_size=30))
def test_every_record_is_read_once_and_in_order_or_counted_as_lost(steps):
    producer = Producer()
    written, read, lost, number = (
        [[], []],
        [[], []],
        [0, 0],
        0,
    )
    for cpu, nr_writes, nr_reads in steps:
        for _ in range(nr_writes):
            number += 1
            if producer.write(cpu, number):
                written[cpu].append(number)
            else:
                lost[cpu] += 1
        for view in producer.rings.waiting(cpu):
            part = view[:nr_reads]
            assert (part["cpu"] == cpu).all()
            read[cpu] += part["number"].tolist()
            producer.rings.release(cpu, len(part))
            if len(part) < len(view):
                break
    for cpu in range(NR_CPUS):
        for view in producer.rings.waiting(cpu):
            read[cpu] += view["number"].tolist()
            producer.rings.release(cpu, len(view))
    assert read == written
    assert producer.rings.nr_lost.tolist() == lost
    assert producer.rings.nr_waiting == 0


def test_machines_that_reorder_stores_are_refused(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(UnavailableError, match="aarch64") as caught:
        require_ordered_stores()
    assert "--procfs" in caught.value.hint
