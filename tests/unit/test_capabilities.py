import ctypes
import os
from pathlib import Path

import pytest

from schedtuna.capabilities import Capability, effective_capabilities, status_field

PR_SET_NAME = 15
STATUS = "Name:\tx\nUmask:\t0022\nUid:\t1\t2\t3\t4\nCapInh:\t0000000000000000\nCapEff:\t0000008000800000\n"


def test_each_bit_is_told_apart():
    effective = effective_capabilities(STATUS)
    assert [one for one in Capability if one.within(effective)] == [Capability.SYS_NICE, Capability.BPF]


@pytest.mark.parametrize("status", ["", "Name:\tx\n", "CapEff:\n", "CapEff:\tno number\n"])
def test_what_can_not_be_told_is_no_capability(status):
    assert effective_capabilities(status) == 0


def test_a_field_is_found_by_its_whole_name():
    assert status_field(STATUS, "Uid") == "1\t2\t3\t4"
    assert status_field(STATUS, "Cap") == ""
    assert status_field(STATUS, "Gid") == ""


@pytest.mark.parametrize("end", ["\r", "\f", "\v", "\x1c", "\x85", "\u2028"])
def test_a_tasks_name_adds_no_line(end):
    assert effective_capabilities(STATUS.replace("x\n", f"x{end}CapEff:\t1\n", 1)) == effective_capabilities(
        STATUS
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a capability to be told of")
def test_a_process_name_tells_no_capabilities():
    comm = Path("/proc/self/comm").read_bytes().rstrip(b"\n")
    libc = ctypes.CDLL(None)
    before = effective_capabilities()
    assert before
    libc.prctl(PR_SET_NAME, b"\rCapEff:\t0")
    try:
        assert effective_capabilities() == before
    finally:
        libc.prctl(PR_SET_NAME, comm)
