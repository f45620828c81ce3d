"""Are the candidates of each pick those that the kernel had? Judged by its own sums over the queue."""

import subprocess
import sys
import time

import numpy as np
import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.record.filters import TaskFilter
from schedtuna.record.picks import PickStream
from schedtuna.trace.picks import CandidateFlag, PickFlag, concatenate, from_rows

pytestmark = pytest.mark.usefixtures("bpf")


class Memory:
    """A sink that keeps everything."""

    def __init__(self):
        self._parts = []

    def write_picks(self, rows):
        self._parts.append(from_rows(rows.copy()))

    @property
    def picks(self):
        return concatenate(self._parts)


def record(start, task_filter=None, **options):
    """Record while what is started runs; return the picks and the tally."""
    sink = Memory()
    try:
        stream = PickStream(task_filter or TaskFilter(), **options)
    except UnavailableError as error:
        pytest.skip(str(error))
    try:
        stream.attach()
        is_running = start()
        while is_running():
            time.sleep(0.01)
            stream.drain(sink)
        stream.detach()
        stream.drain(sink)
        return sink.picks, stream.tally
    finally:
        stream.close()


def process(*arguments):
    """Start Python with these arguments when asked to."""

    def start():
        started = subprocess.Popen([sys.executable, *arguments])
        return lambda: started.poll() is None

    return start


def time_s(seconds):
    """Let so much time pass, from when it is asked to."""

    def start():
        end_s = time.monotonic() + seconds
        return lambda: time.monotonic() < end_s

    return start


HOG = "import os\nos.sched_setaffinity(0, [max(os.sched_getaffinity(0))])\nwhile True: pass"


@pytest.fixture(scope="module")
def found():
    # Another session on that CPU is another group, to choose among.
    with subprocess.Popen([sys.executable, "-c", HOG], start_new_session=True) as other:
        try:
            return record(process("-m", "tests.kernel.pick_load", "1", "2.5"), levels=3)
        finally:
            other.kill()


def test_the_candidates_of_every_pick_give_the_kernels_own_sums(found):
    picks, tally = found
    assert tally.nr_picks == tally.nr_consistent == len(picks.queues) > 1000
    assert tally.nr_lost == tally.nr_truncated == 0
    assert picks.is_consistent().all()


def test_what_decides_a_pick_is_among_the_candidates(found):
    picks, _ = found
    own = np.repeat(picks.queues["level"] == 0, picks.queues["nr_candidates"])
    tasks = picks.candidates[own]
    assert len(np.unique(tasks["weight"])) >= 5
    for flag in (CandidateFlag.DELAYED, CandidateFlag.PREV):
        assert np.any(tasks["flags"] & flag)
    chosen = picks.candidates[picks.starts]
    assert np.array_equal(
        chosen["tid"][picks.queues["level"] == 0], picks.queues["tid"][picks.queues["level"] == 0]
    )
    assert not np.any(chosen["flags"] & CandidateFlag.DELAYED)


def test_the_simulators_rules_name_whom_the_kernel_chose(found):
    verify_picks = pytest.importorskip("schedtuna.sim.picks").verify_picks
    report = verify_picks([found[0]])
    flat, groups = report.flat, report.groups
    assert flat.nr_native == flat.nr_python == flat.nr_judged == flat.nr_picks
    assert flat.nr_choices > 1000
    assert max(flat.mutants.values()) < flat.nr_judged  # rules that are nearly right are told apart
    # A group that was a buddy until the pick cleared that is preferred to others, if it is eligible.
    assert groups.nr_native == groups.nr_python > 0.95 * groups.nr_judged
    assert groups.misses["ineligible"] == 0


def test_a_group_is_known_by_the_number_of_its_queue(found):
    picks, _ = found
    queues, chosen = picks.queues, picks.candidates[picks.starts]
    upper = np.flatnonzero(queues["level"] == 1)
    assert np.all(chosen["flags"][upper] & CandidateFlag.GROUP)
    # The pick of the level below, of the same switch, stands just before, if there was any choice.
    after_own = upper[
        (upper > 0) & (queues["level"][upper - 1] == 0) & (queues["tid"][upper - 1] == queues["tid"][upper])
    ]
    assert len(after_own) > 100
    near = queues["timestamp_ns"][after_own] - queues["timestamp_ns"][after_own - 1] < 20_000
    assert np.array_equal(chosen["tid"][after_own][near], queues["queue"][after_own - 1][near])
    kept = queues["flags"] & PickFlag.KEPT != 0
    assert np.array_equal(kept, (queues["level"] > 0) & (chosen["flags"] & CandidateFlag.PREV != 0))


YIELDER = "import os\nos.sched_setaffinity(0, [max(os.sched_getaffinity(0))])\nwhile True: os.sched_yield()"
CROWD = """
import os, time
os.setsid()
os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
gate, opener = os.pipe()
for _ in range(150):
    if not os.fork():
        os.close(opener)
        os.read(gate, 1)
        end_s = time.monotonic() + 1
        while time.monotonic() < end_s: pass
        os._exit(0)
os.close(opener)
for _ in range(150): os.wait()
"""


def test_a_filter_leaves_the_picks_of_other_tasks_out():
    wanted, other = (subprocess.Popen([sys.executable, "-c", YIELDER]) for _ in range(2))
    try:
        picks, tally = record(time_s(1), TaskFilter(tree=(wanted.pid,)))
    finally:
        for hog in (wanted, other):
            hog.kill()
            hog.wait()
    assert set(picks.queues["tid"].tolist()) == {wanted.pid}
    assert other.pid in picks.candidates["tid"]
    assert tally.nr_picks == tally.nr_consistent


def test_more_candidates_than_are_written_are_told():
    picks, tally = record(process("-c", CROWD))
    assert tally.nr_truncated > 0
    truncated = picks.queues["flags"] & PickFlag.TRUNCATED != 0
    assert np.array_equal(truncated, picks.queues["nr_candidates"] < picks.queues["nr_queued"])
    assert picks.queues["nr_candidates"].max() == 128
    assert np.array_equal(picks.is_consistent(), ~truncated)


@pytest.mark.parametrize(
    ("member", "is_there", "message"),
    [
        ("nr_queued", False, r"no cfs_rq.nr_queued \(needs kernel 6.14"),
        ("h_curr", True, r"has cfs_rq.h_curr: its groups share one queue"),
    ],
)
def test_a_kernel_with_other_queues_is_refused_with_the_reason(monkeypatch, member, is_there, message):
    has = KernelBtf.has_member
    monkeypatch.setattr(
        KernelBtf,
        "has_member",
        lambda kernel, struct, name: is_there if name == member else has(kernel, struct, name),
    )
    with pytest.raises(UnavailableError, match=message):
        PickStream(TaskFilter())
