"""Thread attributes on real processes, judged by what /proc says of them."""

import os
import subprocess
import sys

import pytest
from tests.kernel.knob_target import Program, observe

from schedtuna.errors import KnobError, SpaceError, UnavailableError, UsageError
from schedtuna.knobs.affinity import Affinity
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.realtime import REALTIME_LIMIT_US
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.session import Changes
from schedtuna.knobs.task_attributes import Slice, slice_support

pytestmark = pytest.mark.usefixtures("root")

needs_slices = pytest.mark.skipif(not slice_support().works, reason="this kernel has no slice per thread")
needs_two_cpus = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU only")
FIRST_CPU = str(min(os.sched_getaffinity(0)))

# knob, value, and what then has to be seen
TURNS = [
    pytest.param("nice", 7, {"nice": 7}, id="nice"),
    pytest.param("policy", "batch", {"policy": os.SCHED_BATCH}, id="batch"),
    pytest.param("policy", "idle", {"policy": os.SCHED_IDLE}, id="idle"),
    pytest.param("slice_us", 333, {"slice_ns": 333_000}, id="slice", marks=needs_slices),
    pytest.param("timer_slack_us", 1234, {"slack_ns": 1_234_000}, id="slack"),
    pytest.param("affinity", "cpus_1", {"cpus": FIRST_CPU}, id="affinity", marks=needs_two_cpus),
    pytest.param("realtime", "fifo", {"policy": os.SCHED_FIFO, "priority": 1}, id="fifo"),
    pytest.param("realtime", "rr", {"policy": os.SCHED_RR, "rttime": str(REALTIME_LIMIT_US)}, id="rr"),
]


def snapshot(program):
    return {tid: observe(tid) for tid in program.tids}


@pytest.mark.parametrize(("knob", "value", "seen"), TURNS)
def test_every_thread_is_changed_and_put_back(program, journal, knob, value, seen):
    before = snapshot(program)
    target = Target(Scope.PID, pid=program.pid)
    with Changes(target, journal) as changes:
        changes.apply({knob: value})
        for tid in program.tids:
            assert seen.items() <= observe(tid).items()
        assert knob_named(knob).show(target) == value
    assert snapshot(program) == before
    assert journal.open_records() == []


@pytest.mark.parametrize(("knob", "value", "seen"), TURNS)
def test_what_is_born_under_the_change_gets_its_leaders_old_values(program, journal, knob, value, seen):
    before = observe(program.pid)
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply({knob: value})
        born = [program.order("thread"), program.order("child")]
        for tid in born:
            assert seen.items() <= observe(tid).items()
    for tid in born:
        assert observe(tid) == before


def test_threads_that_differ_get_their_own_values_back(program, journal):
    own = {program.pid: 1, program.threads[0]: 2, program.children[0]: 3}
    for tid, nice in own.items():
        os.setpriority(os.PRIO_PROCESS, tid, nice)
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply({"nice": 9})
        assert {observe(tid)["nice"] for tid in own} == {9}
        orphan = program.order("thread")
    assert {tid: observe(tid)["nice"] for tid in own} == own
    assert observe(orphan)["nice"] == own[program.pid]


def test_a_child_is_put_back_after_its_parent_has_gone(journal):
    program = Program(threads=0, children=0)
    try:
        child = program.order("child")
        os.setpriority(os.PRIO_PROCESS, child, 4)
        changes = Changes(Target(Scope.PID, pid=program.pid), journal)
        changes.apply({"nice": 11})
        os.kill(program.pid, 9)
        program._process.wait()
        changes.revert()
        assert observe(child)["nice"] == 4
        assert journal.open_records() == []
    finally:
        program.close()
        os.kill(child, 9)


@pytest.mark.parametrize("values", [{"policy": "batch"}, {"nice": 5}, {"realtime": "rr"}])
def test_a_realtime_thread_of_the_service_stays_as_it_is(program, journal, values):
    thread = program.threads[0]
    os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
    before = snapshot(program)
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply(values)
        assert observe(thread)["policy"] == os.SCHED_FIFO
        assert observe(program.pid) != before[program.pid]
    assert snapshot(program) == before


def test_a_program_under_a_realtime_policy_has_no_fair_knobs(program):
    os.sched_setscheduler(program.pid, os.SCHED_RR, os.sched_param(1))
    for name in ("slice_us", "nice", "policy"):
        found = knob_named(name).probe(Target(Scope.PID, pid=program.pid))
        assert not found.ok
        assert "scheduling class" in found.reason


def test_reset_on_fork_survives_a_change_of_policy(program, journal):
    os.sched_setscheduler(program.pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply({"policy": "batch"})
        assert os.sched_getscheduler(program.pid) == os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
    assert os.sched_getscheduler(program.pid) == os.SCHED_OTHER | os.SCHED_RESET_ON_FORK


@needs_slices
def test_a_slice_of_its_own_is_kept_apart_from_the_default(program, journal):
    target = Target(Scope.PID, pid=program.pid)
    default_us = knob_named("slice_us").show(target)
    with Changes(target, journal) as outer:
        outer.apply({"slice_us": 500})
        with Changes(target, journal) as inner:
            inner.apply({"slice_us": 900})
        assert observe(program.pid)["slice_ns"] == 500_000
    assert knob_named("slice_us").show(target) == default_us
    # The default is followed again, which the kernel tells only by what the next policy call keeps.
    assert Slice().read(program.pid) == 0


@needs_slices
def test_nice_and_policy_leave_the_slice_alone(program, journal):
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply({"slice_us": 444, "nice": 3, "policy": "batch"})
        seen = observe(program.pid)
        assert (seen["slice_ns"], seen["nice"], seen["policy"]) == (444_000, 3, os.SCHED_BATCH)


def test_a_tree_inherits_and_is_closed_as_gone(journal):
    program = Program(threads=0, children=0)
    changes = Changes(Target(Scope.TREE, pid=program.pid), journal)
    try:
        changes.apply({"nice": 6, "policy": "batch"})
        for tid in (program.order("thread"), program.order("child")):
            assert (observe(tid)["nice"], observe(tid)["policy"]) == (6, os.SCHED_BATCH)
    finally:
        program.close()
    assert [outcome.result for outcome in changes.revert()] == ["gone", "gone"]
    assert changes.revert() == []
    assert journal.open_records() == []


def test_threads_may_come_and_go_while_they_are_changed(journal):
    busy = "import threading\nwhile True: t = threading.Thread(target=int); t.start(); t.join()"
    process = subprocess.Popen([sys.executable, "-S", "-c", busy])
    try:
        for _ in range(20):
            with Changes(Target(Scope.PID, pid=process.pid), journal) as changes:
                changes.apply({"nice": 5, "timer_slack_us": 70})
            assert observe(process.pid)["nice"] == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        process.kill()
        process.wait()


def test_nothing_is_changed_when_a_value_or_a_name_is_wrong(program, journal):
    before = snapshot(program)
    target = Target(Scope.PID, pid=program.pid)
    with pytest.raises(SpaceError, match="nice=99"):
        Changes(target, journal).apply({"policy": "batch", "nice": 99})
    with pytest.raises(UsageError, match="unknown knob 'nize'") as raised:
        Changes(target, journal).apply({"nice": 3, "nize": 3})
    assert "nice" in str(raised.value.hint)
    with pytest.raises(UsageError, match="can't be changed in scope pid"):
        Changes(target, journal).apply({"nice": 3, "cpu_weight": 200})
    assert snapshot(program) == before
    assert journal.open_records() == []


def test_a_knob_that_is_not_there_is_named_with_the_reason(program, journal):
    os.sched_setscheduler(program.pid, os.SCHED_FIFO, os.sched_param(1))
    with pytest.raises(UnavailableError, match=r"policy can't be changed: .*scheduling class"):
        Changes(Target(Scope.PID, pid=program.pid), journal).apply({"policy": "batch"})


def test_a_value_that_is_set_already_needs_no_record(program, journal):
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply({"nice": os.getpriority(os.PRIO_PROCESS, program.pid), "policy": "other"})
        assert journal.open_records() == []


def test_a_process_that_ends_before_the_change(journal):
    program = Program(threads=0, children=0)
    target = Target(Scope.PID, pid=program.pid)
    program.close()
    with pytest.raises(UnavailableError, match="no threads"):
        Changes(target, journal).apply({"nice": 5})
    with pytest.raises(KnobError, match="no threads left"):
        knob_named("nice").apply(target, 5, journal)
    assert journal.open_records() == []


@needs_two_cpus
def test_an_affinity_that_is_not_a_strategy_reads_as_found_and_comes_back():
    program = Program(threads=0, children=0)
    try:
        last = max(os.sched_getaffinity(0))
        os.sched_setaffinity(program.pid, {last})
        target = Target(Scope.PID, pid=program.pid)
        assert knob_named("affinity").spec(target).default == Affinity().to_value([last], target)
        assert knob_named("affinity").spec(target).default in knob_named("affinity").spec(target).choices
    finally:
        program.close()
