import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import UnavailableError
from schedtuna.kernel.taskstats import exits, parse_taskstats

FAMILY = 29


def record(version=16, size=560, tid=42):
    data = bytearray(size)
    struct.pack_into("=H", data, 0, version)
    struct.pack_into("=Q", data, 24, 7)
    struct.pack_into("=32s", data, 80, b"name")
    struct.pack_into("=I", data, 128, tid)
    struct.pack_into("=QQ", data, 272, 3, 4)
    if size >= 372:
        struct.pack_into("=I", data, 368, 41)
    return bytes(data)


def attribute(type_, value):
    return struct.pack("=HH", 4 + len(value), type_) + value + b"\0" * (-len(value) % 4)


def datagram(*records, family=FAMILY, kind=4):
    """Messages as the kernel sends them: a number and a record, in an attribute of their own."""
    messages = b""
    for one in records:
        body = struct.pack("=BBH", 2, 1, 0)
        body += attribute(kind | 0x8000, attribute(1, b"\x2a\0\0\0") + attribute(6, b"") + attribute(3, one))
        messages += struct.pack("=IHHII", 16 + len(body), family, 0, 0, 0) + body
    return messages


def test_every_thread_of_a_datagram_is_found():
    found = exits(datagram(record(tid=1), record(tid=2)), FAMILY)
    stats = parse_taskstats(found)
    assert stats["tid"].tolist() == [1, 2]
    assert stats[0]["comm"] == b"name"
    names = ("cpu_delay_ns", "nr_voluntary_switches", "nr_involuntary_switches", "tgid")
    assert [int(stats[0][name]) for name in names] == [7, 3, 4, 41]


def test_sums_of_processes_and_other_families_are_left_out():
    assert exits(datagram(record(), kind=5), FAMILY) == []
    assert exits(datagram(record(), family=30), FAMILY) == []


def test_older_kernels_records_are_shorter():
    [stats] = parse_taskstats([record(version=8, size=328)])
    assert (stats["tid"], stats["nr_involuntary_switches"], stats["tgid"]) == (42, 4, 0)
    assert len(parse_taskstats([])) == 0


@pytest.mark.parametrize(
    ("version", "size", "readable"), [(14, 432, True), (15, 560, False), (16, 560, True)]
)
def test_the_layout_of_linux_6_14_is_refused(version, size, readable):
    if readable:
        assert parse_taskstats([record(version, size)])["tid"] == [42]
    else:
        with pytest.raises(UnavailableError, match="layout of their own"):
            parse_taskstats([record(version, size)])


@given(st.binary(max_size=200), st.integers(0, 600))
def test_any_bytes_are_read_or_left(noise, cut):
    whole = datagram(record())
    for data in (noise, whole[:cut], whole[:20] + noise + whole[20:]):
        stats = parse_taskstats(exits(data, FAMILY))
        assert isinstance(stats, np.ndarray)
