"""Records of attributes as BPF writes them, and what becomes of their masks of CPUs."""

import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.record.attributes import AttributeRows
from schedtuna.record.proc_tasks import task_rows, unlisted_tasks
from schedtuna.trace.attributes import UNKNOWN_SLICE, attribute_table
from schedtuna.trace.formats.sink import Collector

KNOWN = {"attributes": {}}


def records(made, masks):
    array = np.zeros(len(masks), made.record_dtype)
    array["task"]["tid"] = range(len(masks))
    for row, mask in zip(array, masks, strict=True):
        row["cpus"] = np.frombuffer(mask.to_bytes(8 * made.nr_words, "little"), "<u8")
    return array


@settings(max_examples=200)
@given(st.data(), st.sampled_from([1, 2, 63, 64, 65, 1024, 1030, 8192]))
def test_masks_are_told_as_the_kernel_spells_them(data, nr_cpus):
    """Bits of CPUs that can't be (CPU_MASK_ALL has all that the kernel was built for) are left out."""
    made, collector = AttributeRows(nr_cpus), Collector(KNOWN)
    whole = (1 << 64 * made.nr_words) - 1
    mask = st.integers(0, whole) | st.just(whole) | st.integers(0, nr_cpus - 1).map(lambda cpu: 1 << cpu)
    masks = data.draw(st.lists(mask, max_size=6))
    half = len(masks) // 2
    for part in (records(made, masks)[:half], records(made, masks)[half:]):
        made.write(part, collector)
    told = collector.trace().attributes
    assert told["cpus"].to_list() == [
        format_cpu_list(cpu for cpu in range(nr_cpus) if mask >> cpu & 1) for mask in masks
    ]
    assert len(collector.trace().cpu_sets) == len(set(told["cpus"]))


def test_another_look_writes_what_is_new():
    made, collector = AttributeRows(2), Collector(KNOWN)
    first = records(made, [3, 3])
    made.write_news(first, collector)
    second = records(made, [3, 1])
    second["task"]["timestamp_ns"] = 9
    made.write_news(second, collector)
    made.write_news(second[:0], collector)
    assert collector.trace().attributes.select("tid", "timestamp_ns", "cpus").rows() == [
        (0, 0, "0-1"),
        (1, 0, "0-1"),
        (1, 9, "0"),
    ]
    assert len(collector.trace().attribute_rows) == 3


def test_proc_tells_of_tasks_that_are_not_listed():
    made, collector = AttributeRows(os.cpu_count() or 1), Collector(KNOWN)
    everybody = unlisted_tasks(())
    gone = task_rows([])
    made.write_from_proc(everybody[everybody["tid"] == os.getpid()], collector)
    made.write_from_proc(gone, collector)
    (row,) = attribute_table(collector.trace().attribute_rows, collector.trace().cpu_sets).to_dicts()
    assert (row["tid"], row["nice"], row["policy"]) == (
        os.getpid(),
        os.getpriority(os.PRIO_PROCESS, 0),
        "OTHER",
    )
    assert row["cpus"] == format_cpu_list(os.sched_getaffinity(0))
    assert (row["slice_ns"], row["weight"]) == (None, None)
    assert collector.trace().attribute_rows["slice_ns"] == UNKNOWN_SLICE
