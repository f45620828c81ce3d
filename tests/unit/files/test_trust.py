import ctypes
import os
from pathlib import Path

import pytest

from schedtuna.files import trust

PR_SET_NAME = 15


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a capability to be told of")
def test_a_process_name_tells_no_capabilities():
    comm = Path("/proc/self/comm").read_bytes().rstrip(b"\n")
    libc = ctypes.CDLL(None)
    before = trust._capabilities()
    assert before
    libc.prctl(PR_SET_NAME, b"\rCapEff:\t0")
    try:
        assert trust._capabilities() == before
    finally:
        libc.prctl(PR_SET_NAME, comm)
