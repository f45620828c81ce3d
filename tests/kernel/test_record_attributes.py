"""Does the recorder tell what tasks ask for, and each change of it? Judged by who asked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.kernel.recording import Memory, Puppet, until

from schedtuna.errors import UnavailableError
from schedtuna.kernel import programs
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import BpfObject
from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.record import attributes
from schedtuna.record.filters import TaskFilter
from schedtuna.record.recorder import Recorder, RecordOptions
from schedtuna.record.stream import EventStream
from schedtuna.resources import resource_path
from schedtuna.sim import simulate
from schedtuna.trace.store import open_trace

pytestmark = pytest.mark.usefixtures("bpf", "tracefs")
CPUS = sorted(os.sched_getaffinity(0))
ALL, FIRST = format_cpu_list(CPUS), str(CPUS[0])


@pytest.fixture
def puppet():
    with Puppet() as started:
        yield started


def seen(table, tid):
    return [
        (row["nice"], row["policy"], row["slice_ns"], row["cpus"], row["reason"])
        for row in table.filter(table["tid"] == tid).iter_rows(named=True)
    ]


def test_every_change_is_told_once_whoever_makes_it(puppet):
    sink = Memory()
    wanted = [(0, "OTHER", 0, ALL, "snapshot")]
    with EventStream(TaskFilter(tgid=puppet.pid)) as stream:
        stream.write_attributes(sink)
        changed = "changed" if stream.follows_attributes else "snapshot"

        def shows(*state):
            """Where changes are not followed, the next has to wait until this one was found."""
            wanted.append((*state, changed))

            def found():
                stream.drain(sink)
                return len(seen(sink.attributes, puppet.pid)) >= len(wanted)

            until(found)

        for nice in (3, 3, 5):
            os.setpriority(os.PRIO_PROCESS, puppet.pid, nice)
            if nice != wanted[-1][0]:
                shows(nice, "OTHER", 0, ALL)
        os.sched_setscheduler(puppet.pid, os.SCHED_BATCH, os.sched_param(0))
        shows(5, "BATCH", 0, ALL)
        if len(CPUS) > 1:
            os.sched_setaffinity(puppet.pid, CPUS[:1])
            shows(5, "BATCH", 0, FIRST)
        os.sched_setscheduler(puppet.pid, os.SCHED_FIFO, os.sched_param(1))
        shows(5, "FIFO", 0, FIRST)
        assert stream.attributes_told["nr_lost"] == 0
    assert seen(sink.attributes, puppet.pid) == wanted
    assert sink.attributes["timestamp_ns"].is_sorted()


def test_what_a_task_changes_of_itself_is_told_at_once(puppet):
    sink = Memory()
    with EventStream(TaskFilter(tgid=puppet.pid)) as stream:
        stream.write_attributes(sink)
        puppet.do("for nice in (1, 2, 3): os.nice(1)")
        puppet.do("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))")
        puppet.do("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))")
        stream.drain(sink)
    assert seen(sink.attributes, puppet.pid) == [
        (0, "OTHER", 0, ALL, "snapshot"),
        *[(nice, "OTHER", 0, ALL, "changed") for nice in (1, 2, 3)],
        (3, "BATCH", 0, ALL, "changed"),
        (3, "IDLE", 0, ALL, "changed"),
    ]


def test_children_are_born_with_what_is_theirs(puppet):
    os.setpriority(os.PRIO_PROCESS, puppet.pid, 4)
    os.sched_setscheduler(puppet.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    sink = Memory()
    with EventStream(TaskFilter(tree=(puppet.pid,))) as stream:
        puppet.do(f"os.sched_setaffinity(0, [{FIRST}]); pid = os.fork() or os._exit(0); os.waitpid(pid, 0)")
        stream.drain(sink)
    table = sink.attributes
    (child,) = set(table["tid"]) - {puppet.pid}
    assert seen(table, child)[0] == (0, "OTHER", 0, FIRST, "fork")


def test_the_player_does_what_its_file_says_and_so_does_the_simulator(tmp_path):
    phases = {
        "hot": {"loop": 3, "run": 500, "priority": -3, "dl-runtime": 300},
        "bound": {"loop": 3, "run": 500, "cpus": [CPUS[0]], "policy": "SCHED_BATCH"},
        "idle": {"loop": 3, "run": 500, "policy": "SCHED_IDLE", "priority": 7},
    }
    task = {"priority": 5, "cpus": CPUS, "loop": 1, "phases": phases}
    file = tmp_path / "load.json"
    file.write_text(json.dumps({"tasks": {"one": task}}))
    with Recorder(tmp_path / "t", RecordOptions(processes=False, task_filter=TaskFilter(comm="one"))):
        subprocess.run(
            [resource_path("native/schedtuna-player"), file], check=True, stdout=subprocess.DEVNULL
        )
    recorded, simulated = open_trace(tmp_path / "t"), simulate(file, cpus=CPUS[-1] + 1)
    assert simulated.attribute_doubts == []
    (tid,) = recorded.tasks.filter(recorded.tasks["comm"] == "one")["tid"]
    with KernelBtf() as kernel:
        has_slices = kernel.has_member("sched_entity", "custom_slice")
    slice_ns = 300_000 if has_slices else 0
    wanted = [
        (5, "OTHER", 0, ALL),
        (-3, "OTHER", slice_ns, ALL),
        (-3, "BATCH", slice_ns, FIRST),
        (7, "IDLE", slice_ns, ALL),
    ]
    for states in (seen(recorded.attributes, tid), seen(simulated.attributes, 1)):
        told = iter(state[:4] for state in states)
        assert all(state in told for state in wanted), states
        assert states[-1][:4] == wanted[-1]


def test_what_can_not_be_followed_is_said_and_found(tmp_path, monkeypatch, puppet):
    monkeypatch.setitem(attributes.FOLLOWERS, "after_nice", "no_such_function")
    with Recorder(tmp_path / "t", RecordOptions(processes=False, task_filter=TaskFilter(tgid=puppet.pid))):
        os.setpriority(os.PRIO_PROCESS, puppet.pid, 6)
    trace = open_trace(tmp_path / "t")
    (doubt,) = trace.attribute_doubts
    assert doubt.endswith("this kernel has no function no_such_function to attach to")
    assert seen(trace.attributes, puppet.pid) == [
        (0, "OTHER", 0, ALL, "snapshot"),
        (6, "OTHER", 0, ALL, "snapshot"),
    ]


def test_where_system_calls_can_not_be_followed_either_that_is_said(tmp_path, monkeypatch, puppet):
    attach = BpfObject.attach

    def refuse(self, names):
        if attributes.CALLS & set(names):
            raise UnavailableError("no such event")
        attach(self, names)

    monkeypatch.setitem(attributes.FOLLOWERS, "after_nice", "no_such_function")
    monkeypatch.setattr(BpfObject, "attach", refuse)
    with Recorder(tmp_path / "t", RecordOptions(processes=False, task_filter=TaskFilter(tgid=puppet.pid))):
        os.setpriority(os.PRIO_PROCESS, puppet.pid, 6)
    trace = open_trace(tmp_path / "t")
    (doubt,) = trace.attribute_doubts
    assert "no_such_function" in doubt and "tracefs" in doubt
    assert seen(trace.attributes, puppet.pid)[-1] == (6, "OTHER", 0, ALL, "snapshot")


def test_what_the_kernel_says_of_a_small_program_holds_for_those_of_the_recorder(monkeypatch):
    asked = programs.why_not_followed(attributes.FOLLOWERS.values())
    monkeypatch.setattr(programs, "refuses_fexit", lambda id_: None)
    with EventStream() as stream:  # tries all of them, and goes without where they are refused
        assert stream.follows_attributes == (asked is None)


def test_every_task_is_found_but_the_recorder(tmp_path):
    with Recorder(tmp_path / "t", RecordOptions(processes=False)):
        pass
    trace = open_trace(tmp_path / "t")
    table, tasks = trace.attributes, trace.tasks
    others = tasks.filter(tasks["tgid"] != os.getpid())
    stayed = set(others.filter(others["exit_ns"].is_null())["tid"])
    assert {1, 2} <= stayed <= set(table["tid"]) <= set(others["tid"])
    parent = table.filter(table["tid"] == os.getppid())
    assert parent["cpus"][0] == format_cpu_list(os.sched_getaffinity(os.getppid()))
    assert not list(Path(tmp_path / "t").glob("*.spool"))
