"""`schedtuna schedulers start, switch, stop, status` where nothing of that can be: a clear error each."""

import os
from pathlib import Path

import pytest
from tests.commands import run_schedtuna


def schedtuna(tmp_path, *arguments):
    return run_schedtuna(
        *arguments, env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}, timeout=120
    )


@pytest.mark.skipif(Path("/sys/kernel/sched_ext").is_dir(), reason="this kernel has sched_ext")
@pytest.mark.parametrize(
    "command", [("start", "scx_simple"), ("switch", "scx_simple"), ("stop",), ("status",)]
)
def test_without_sched_ext_each_says_so_and_where_it_can_be_had(tmp_path, command):
    done = schedtuna(tmp_path, "schedulers", *command)
    assert done.returncode == 3
    assert "no sched_ext" in done.stderr
    assert "lab start" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scx_simpel",), "scx_simple"),
        (("fair",), "kernel's own scheduler"),
        (("scx_simple", "fifo=perhaps"), "fifo"),
        (("scx_simple", "no_such=1"), "no_such"),
        (("scx_simple:fifo=true", "fifo=true"), "twice"),
        (("scx_simple", "--within", "never"), "not a duration"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_runs(tmp_path, arguments, message):
    done = schedtuna(tmp_path, "schedulers", "start", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
