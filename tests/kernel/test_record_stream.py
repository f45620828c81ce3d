"""Does the stream have every event of a task, and say what happened? Judged by the kernel's own counts."""

import os
import subprocess
import time

import numpy as np
import pytest
from tests.kernel.recording import Memory, Puppet, until

from schedtuna.errors import UnavailableError
from schedtuna.record.filters import TaskFilter
from schedtuna.record.layout import check_layouts
from schedtuna.record.stream import EventStream
from schedtuna.trace.schema import EventType, PrevState, TaskReason, Waker

pytestmark = pytest.mark.usefixtures("bpf")


@pytest.fixture
def puppet():
    with Puppet() as started:
        yield started


def of(events, tid, *types):
    return events[(events["tid"] == tid) & np.isin(events["type"], types)]


@pytest.mark.parametrize("task_filter", [TaskFilter(), None], ids=["everything", "only it"])
def test_every_switch_of_a_task_is_there(puppet, task_filter):
    sink = Memory()
    with EventStream(task_filter or TaskFilter(tgid=puppet.pid)) as stream:
        before = puppet.switches()
        stream.drain(Memory())
        for _ in range(20):
            puppet.do("time.sleep(0.001); sum(range(10000))")
        after = puppet.switches()
        stream.drain(sink)
        assert stream.new_losses() == []
    # `before` and `after` are read while it waits for its input.
    switches = of(sink.events, puppet.pid, EventType.SWITCH)
    involuntary = np.isin(switches["prev_state"], [PrevState.PREEMPTED, PrevState.RUNNABLE])
    voluntary, preempted = np.subtract(after, before)
    assert (np.count_nonzero(~involuntary), np.count_nonzero(involuntary)) == (voluntary, preempted)
    assert voluntary >= 20
    # It was woken after each of them, and after the one before the first.
    assert len(of(sink.events, puppet.pid, EventType.WAKEUP)) >= voluntary - 1


def test_23_wakeups_are_23_wakeups(puppet):
    sink = Memory()
    with EventStream(TaskFilter(tgid=puppet.pid), waking=True) as stream:
        puppet.rest()
        stream.drain(Memory())
        for _ in range(23):
            puppet.do("pass")
            puppet.rest()
        stream.drain(sink)
    events = sink.events
    wakeups, wakings = (of(events, puppet.pid, t) for t in (EventType.WAKEUP, EventType.WAKING))
    assert (len(wakeups), len(wakings)) == (23, 23)
    assert (wakings["other_tid"] == os.getpid()).all()
    assert (wakings["timestamp_ns"] <= wakeups["timestamp_ns"]).all()
    assert (wakings["aux"] == Waker.TASK).all()


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_timer_is_no_task_that_wakes(puppet, is_busy):
    """It interrupts the idle task, or a hog in user space on the same CPU."""
    sink, cpu = Memory(), min(os.sched_getaffinity(0))
    os.sched_setaffinity(puppet.pid, [cpu])
    command = [
        "taskset",
        "-c",
        str(cpu),
        *(["sh", "-c", "while :; do :; done"] if is_busy else ["sleep", "9"]),
    ]
    with (
        subprocess.Popen(command) as other,
        EventStream(TaskFilter(tgid=puppet.pid), waking=True) as stream,
    ):
        stream.drain(Memory())
        puppet.do("for _ in range(20): time.sleep(0.002)")
        stream.drain(sink)
        other.kill()
    # That it sleeps on the CPU whose timer wakes it is seldom; its line of input came from here.
    told = of(sink.events, puppet.pid, EventType.WAKING)["aux"].tolist()
    assert told.count(Waker.INTERRUPT) >= 18
    assert told.count(Waker.TASK) <= 2


def test_a_life_is_told_from_fork_to_exit():
    sink = Memory()
    with EventStream() as stream:
        stream.drain(Memory())
        with Puppet() as puppet:
            puppet.do("threading.Thread(target=time.sleep, args=(0,)).start()")
            stream.drain(sink)

        def is_over():
            stream.drain(sink)
            switches = sink.events[sink.events["prev_state"] == PrevState.DEAD]
            return set(sink.rows["tid"][sink.rows["tgid"] == puppet.pid]) <= set(switches["tid"])

        until(is_over)
    rows = sink.rows
    mine = rows[rows["tgid"] == puppet.pid]
    leader, thread = (mine[(mine["tid"] == puppet.pid) == is_leader] for is_leader in (True, False))
    assert leader["reason"].tolist() == [TaskReason.FORK, TaskReason.RENAME, TaskReason.EXEC, TaskReason.EXIT]
    assert thread["reason"].tolist()[0] == TaskReason.FORK
    assert thread["reason"].tolist()[-1] == TaskReason.EXIT
    assert (leader["ppid"] == os.getpid()).all()
    assert len(np.unique(leader["start_time_ns"])) == 1
    assert leader["comm"][-1].startswith(b"python")
    for tid in (puppet.pid, int(thread["tid"][0])):
        life = sink.events[(sink.events["tid"] == tid) | (sink.events["other_tid"] == tid)]
        types = life["type"][life["tid"] == tid].tolist()
        assert types[0] == EventType.FORK
        assert EventType.WAKEUP_NEW in types
        assert life["prev_state"][life["tid"] == tid][-1] == PrevState.DEAD  # its last switch


def test_moves_between_cpus_are_recorded(puppet):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    sink = Memory()
    with EventStream(TaskFilter(tgid=puppet.pid)) as stream:
        os.sched_setaffinity(puppet.pid, cpus[:1])
        puppet.do("pass")
        stream.drain(Memory())
        for turn in range(1, 7):
            os.sched_setaffinity(puppet.pid, [cpus[turn % 2]])
            puppet.do("pass")
        stream.drain(sink)
    moves = of(sink.events, puppet.pid, EventType.MIGRATE)
    assert list(zip(moves["orig_cpu"], moves["target_cpu"], strict=True)) == [
        (cpus[(turn + 1) % 2], cpus[turn % 2]) for turn in range(1, 7)
    ]


def test_names_are_recorded_as_they_are(puppet):
    hostile = b"\x1b[2J\n\"<'\xff"
    sink = Memory()
    with EventStream(TaskFilter(tgid=puppet.pid)) as stream:
        puppet.do(f"open('/proc/self/comm', 'wb').write({hostile!r})")
        stream.drain(sink)
        [row] = stream.tasks()
    renamed = sink.rows[sink.rows["reason"] == TaskReason.RENAME]
    assert renamed["comm"].tolist() == [row["comm"]] == [hostile]


def test_only_what_the_filter_wants_is_recorded():
    with Puppet() as wanted, Puppet() as other:
        wanted.do("open('/proc/self/comm', 'w').write('wanted')")
        for task_filter in (
            TaskFilter(tgid=wanted.pid),
            TaskFilter(comm="wanted"),
            TaskFilter(tree=(wanted.pid,)),
        ):
            sink = Memory()
            with EventStream(task_filter) as stream:
                wanted.do("os.spawnlp(os.P_WAIT, 'true', 'true')")
                other.do("os.spawnlp(os.P_WAIT, 'true', 'true')")
                stream.drain(sink)
                assert stream.tasks()["tid"].tolist() == [wanted.pid]
            events = sink.events
            switches = events["type"] == EventType.SWITCH
            mine = (events["tid"] == wanted.pid) | (events["other_tid"] == wanted.pid)
            assert mine[switches].any()
            assert other.pid not in events["tid"][~mine]
            children = {int(e["tid"]) for e in events if e["type"] == EventType.FORK}
            # A child has its parent's name until it runs another program.
            assert len(children) == (0 if task_filter.tgid else 1)
            lives = [of(events, child, EventType.SWITCH, EventType.EXIT) for child in children]
            assert all((EventType.EXIT in life["type"]) == bool(task_filter.tree) for life in lives)


def test_sampling_takes_a_share_of_the_tasks(puppet):
    puppet.do("[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(60)]")
    tids = {int(tid) for tid in os.listdir(f"/proc/{puppet.pid}/task")}  # noqa: PTH208
    with EventStream(TaskFilter(sample_1_in=4)) as stream:
        rows = stream.tasks()
    chosen = {tid for tid in tids if tid * 2654435761 % 2**32 * 4 < 2**32}
    assert set(rows["tid"][rows["tgid"] == puppet.pid].tolist()) == chosen
    assert 0 < len(chosen) < len(tids)


def test_losses_are_counted_one_by_one(puppet):
    sink = Memory()
    with (
        EventStream(TaskFilter(tgid=puppet.pid), ring_bytes=1) as small,
        EventStream(TaskFilter(tgid=puppet.pid)) as large,
    ):
        for _ in range(200):
            puppet.do("time.sleep(0)")
        small.detach()
        large.detach()
        lost = sum(loss.nr_lost for loss in small.new_losses())
        assert small.new_losses() == []
        kept = small.drain(Memory())
        large.drain(sink)
        assert large.nr_lost == 0
    assert lost > 0
    assert kept + lost == pytest.approx(len(sink.events), abs=8)  # attached and detached one by one


def test_a_sink_that_fails_loses_nothing(puppet):
    class Full(Memory):
        def write_events(self, events):
            raise OSError(28, "No space left on device")

    sink = Memory()
    with EventStream(TaskFilter(tgid=puppet.pid)) as stream:
        puppet.do("pass")
        with pytest.raises(OSError, match="No space"):
            stream.drain(Full())
        stream.drain(sink)
    assert len(of(sink.events, puppet.pid, EventType.WAKEUP)) >= 1


def test_the_recorders_own_wakeups_are_left_out():
    sink = Memory()
    with EventStream() as stream:
        for _ in range(5):
            time.sleep(0.002)
        stream.drain(sink)
    assert len(of(sink.events, os.getpid(), EventType.WAKEUP)) == 0
    assert len(of(sink.events, os.getpid(), EventType.SWITCH)) >= 5


def test_layouts_of_another_version_are_refused():
    with EventStream() as stream:
        btf = stream._bpf.btf
    check_layouts(btf, ["sched_event", "task_row"])
    btf.structs["sched_event"].offsets["tid"] = 4
    with pytest.raises(UnavailableError, match="sched_event is not what this version"):
        check_layouts(btf, ["sched_event"])
