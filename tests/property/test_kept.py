"""Settings that stay: whatever was kept, one after the other, `undo` finds what was before the first."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.knobs.undo import undo

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "nice": st.integers(-20, 19),
        "policy": st.sampled_from(["other", "batch", "idle"]),
        "timer_slack_us": st.integers(1, 10_000),
        "affinity": st.sampled_from(["all", "cpus_1"]),
    },
)
STEPS = st.lists(st.tuples(st.booleans(), VALUES), min_size=1, max_size=5)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or len(os.sched_getaffinity(0)) < 2, reason="needs root and two CPUs"
)


@pytest.fixture(scope="module")
def pid():
    with subprocess.Popen(["sleep", "3600"]) as process:
        yield process.pid
        process.kill()


def seen(pid):
    """What the kernel says of the process."""
    return (
        os.getpriority(os.PRIO_PROCESS, pid),
        os.sched_getscheduler(pid),
        os.sched_getaffinity(pid),
        Path(f"/proc/{pid}/timerslack_ns").read_text(),
    )


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_what_was_before_the_first_is_there_again(pid, steps):
    before, target = seen(pid), Target(Scope.PID, pid=pid)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "state")
        for kept, values in steps:
            at_start = seen(pid)
            changes = Changes(target, Journal(journal.directory, keeps=kept))
            changes.apply(values)
            if not kept:
                changes.revert()
                assert seen(pid) == at_start
        assert journal.stale() == []
        outcomes = undo(journal, force=True)  # this process, which made them, is still alive
        assert all(outcome.closed for outcome in outcomes)
        assert seen(pid) == before
        assert journal.open_records() == []
