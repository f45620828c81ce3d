"""Control groups and machine-wide files, on the real kernel."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.knob_target import Program, observe, wait_until

from schedtuna.backend.host import HostBackend
from schedtuna.errors import JournalError, KnobError, UnavailableError, UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy, make_group, parent_for
from schedtuna.knobs.journal import Journal, TargetBusyError
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.session import Changes
from schedtuna.knobs.settings import FILE_KNOBS
from schedtuna.knobs.undo import undo
from schedtuna.scheduler.fair import fair, survey
from schedtuna.workload.spec import Workload

pytestmark = pytest.mark.usefixtures("root")

CPU: Any = find_hierarchy("cpu")
CPUSET: Any = find_hierarchy("cpuset")
needs_cpu = pytest.mark.skipif(
    CPU is None or parent_for(CPU, os.getpid()) is None, reason="no control group with a cpu controller"
)
needs_cpuset = pytest.mark.skipif(
    CPUSET is None or parent_for(CPUSET, os.getpid()) is None or len(os.sched_getaffinity(0)) < 2,
    reason="no control group with a cpuset controller, or one CPU only",
)


def made_groups():
    mounts = {hierarchy.mount for hierarchy in (CPU, CPUSET) if hierarchy}
    return [path for mount in mounts for path in mount.rglob("schedtuna-*")]


def cpu_file(group, v1, v2):
    return (group / (v1 if CPU.version == 1 else v2)).read_text().split()


def own_parent() -> Any:
    return parent_for(CPU, os.getpid())


@pytest.fixture
def group():
    """An existing control group with a process in it."""
    path = own_parent() / "test-knobs"
    path.mkdir()
    yield path
    wait_until(lambda: not (path / "cgroup.procs").read_text())
    path.rmdir()


@needs_cpu
def test_a_tree_gets_a_group_that_goes_with_it(program, journal):
    before = observe(program.pid)["groups"]
    with Changes(Target(Scope.TREE, pid=program.pid), journal) as changes:
        changes.apply({"cpu_weight": 400, "cpu_quota": 50})
        inside = CPU.group_of(program.pid)
        assert inside.name.startswith("schedtuna-")
        assert cpu_file(inside, "cpu.shares", "cpu.weight") == (["4096"] if CPU.version == 1 else ["400"])
        quota = "50000"
        assert cpu_file(inside, "cpu.cfs_quota_us", "cpu.max")[0] == quota
        assert knob_named("cpu_weight").show(changes.target) == 400
        assert knob_named("cpu_quota").show(changes.target) == 50
        assert [record.subject.path for record in journal.open_records()] == [inside]  # it is removed once
        assert CPU.group_of(program.order("child")) == inside
    assert observe(program.pid)["groups"] == before
    assert made_groups() == []
    assert journal.open_records() == []


@needs_cpuset
def test_a_cpuset_confines_the_tree_and_is_removed(program, journal):
    with Changes(Target(Scope.TREE, pid=program.pid), journal) as changes:
        changes.apply({"cpuset": "cpus_1"})
        assert observe(program.order("child"))["cpus"] == "0"
        assert knob_named("cpuset").show(changes.target) == "cpus_1"
    assert made_groups() == []


@needs_cpu
def test_groups_that_the_command_made_inside_go_too(journal):
    program = Program(threads=0, children=0)
    try:
        changes = Changes(Target(Scope.TREE, pid=program.pid), journal)
        changes.apply({"cpu_weight": 50})
        nested = CPU.group_of(program.pid) / "inner"
        nested.mkdir()
        (nested / "cgroup.procs").write_text(str(program.pid))
        changes.revert()
        assert made_groups() == []
        assert "schedtuna-" not in observe(program.pid)["groups"]
    finally:
        program.close()


@needs_cpu
def test_a_group_is_removed_after_its_processes_have_ended(journal):
    program = Program(threads=0, children=0)
    changes = Changes(Target(Scope.TREE, pid=program.pid), journal)
    changes.apply({"cpu_weight": 50})
    program.close()
    changes.revert()
    assert made_groups() == []
    assert journal.open_records() == []


def refused_for_a_second_process(group, journal):
    child = os.fork()
    if child == 0:
        try:
            Changes(Target(Scope.CGROUP, cgroup=group), journal).apply({"cpu_weight": 300})
        except JournalError as error:
            os._exit(7 if f"already changed by process {os.getppid()}" in str(error) else 8)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@needs_cpu
def test_an_existing_group_keeps_its_processes(group, journal):
    program = Program(threads=1, children=1)
    try:
        (group / "cgroup.procs").write_text(str(program.pid))
        before = cpu_file(group, "cpu.shares", "cpu.weight")
        with Changes(Target(Scope.CGROUP, cgroup=group), journal) as changes:
            changes.apply({"cpu_weight": 200, "nice": 8})
            refused_for_a_second_process(group, journal)
            assert cpu_file(group, "cpu.shares", "cpu.weight") != before
            late = program.order("child")
            assert [observe(tid)["nice"] for tid in (program.pid, *program.threads, late)] == [8, 8, 8]
            assert CPU.group_of(program.pid) == group
        assert cpu_file(group, "cpu.shares", "cpu.weight") == before
        assert [observe(tid)["nice"] for tid in (program.pid, late)] == [os.getpriority(0, 0)] * 2
    finally:
        program.close()


@needs_cpu
def test_a_group_that_is_idle_has_no_weight_to_set(group):
    (group / "cpu.idle").write_text("1")
    found = knob_named("cpu_weight").probe(Target(Scope.CGROUP, cgroup=group))
    assert (found.ok, "cpu.idle" in found.reason, "0" in found.hint) == (False, True, True)
    (group / "cpu.idle").write_text("0")
    assert knob_named("cpu_weight").probe(Target(Scope.CGROUP, cgroup=group)).ok


@needs_cpu
@pytest.mark.parametrize("killed", [False, True])
def test_a_weight_that_idleness_made_the_kernel_forget_is_put_back(group, journal, killed):
    """Writing cpu.idle sets the weight: to the least, and then to the default, not to what it was."""
    before = Changes(Target(Scope.CGROUP, cgroup=group), Journal(journal.directory / "own"))
    before.apply({"cpu_weight": 400})
    own = cpu_file(group, "cpu.shares", "cpu.weight")
    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            changes = Changes(Target(Scope.CGROUP, cgroup=group), journal)
            changes.apply({"cpu_weight": 300})
            (group / "cpu.idle").write_text("1")
            if killed:
                os.kill(os.getpid(), 9)
            with pytest.raises(KnobError, match="not everything could be put back"):
                changes.revert()
            (group / "cpu.idle").write_text("0")
            changes.revert()
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (-9 if killed else 7)
    if killed:
        assert [outcome.result for outcome in undo(journal)] == ["failed"]
        (group / "cpu.idle").write_text("0")
        assert [outcome.result for outcome in undo(journal)] == ["restored"]
    assert cpu_file(group, "cpu.shares", "cpu.weight") == own
    assert journal.open_records() == []
    before.revert()


@pytest.fixture
def confined():
    """A program of two threads in a group of the cpuset controller, and the group."""
    program, path = Program(threads=1, children=0), parent_for(CPUSET, os.getpid()) / "test-knobs"
    try:
        make_group(CPUSET, path, program.pid)
        yield program, path
    finally:
        program.close()
        wait_until(lambda: not (path / "cgroup.procs").read_text())
        path.rmdir()


@needs_cpuset
@pytest.mark.parametrize("pinned", [0, 1])
@pytest.mark.parametrize("killed", [False, True])
def test_threads_pinned_outside_of_the_cpuset_that_is_tried_come_back(confined, journal, pinned, killed):
    """They can't before the group has its CPUs back, which it was given first, and so gets last."""
    program, path = confined
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    os.sched_setaffinity(program.tids[pinned], {last})
    before = {tid: observe(tid) for tid in program.tids}
    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            with Changes(Target(Scope.CGROUP, cgroup=path), journal) as changes:
                changes.apply({"cpuset": "cpus_1", "affinity": "cpus_1"})
                assert [observe(tid)["cpus"] for tid in program.tids] == [str(first)] * 2
                if killed:
                    os.kill(os.getpid(), 9)
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (-9 if killed else 7)
    assert {outcome.result for outcome in undo(journal)} == ({"restored"} if killed else set())
    assert {tid: observe(tid) for tid in program.tids} == before
    assert journal.open_records() == []


@needs_cpuset
def test_a_thread_gets_its_own_back_though_its_process_could_not_at_first(confined, journal):
    program, path = confined
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    os.sched_setaffinity(program.pid, {last})
    before = {tid: observe(tid) for tid in program.tids}
    changes = Changes(Target(Scope.PID, pid=program.pid), journal)
    changes.apply({"affinity": "cpus_1"})
    cpus = (path / "cpuset.cpus").read_text()
    (path / "cpuset.cpus").write_text(str(first))
    with pytest.raises(KnobError, match="not everything could be put back"):
        changes.revert()
    (path / "cpuset.cpus").write_text(cpus)
    changes.revert()
    assert {tid: observe(tid) for tid in program.tids} == before
    assert journal.open_records() == []


@needs_cpu
def test_a_namesake_of_a_removed_group_is_not_touched(journal):
    path = own_parent() / "test-knobs"
    path.mkdir()
    try:
        changes = Changes(Target(Scope.CGROUP, cgroup=path), journal)
        changes.apply({"cpu_weight": 300})
        path.rmdir()
        path.mkdir()
        strangers = cpu_file(path, "cpu.shares", "cpu.weight")
        assert [outcome.result for outcome in changes.revert()] == ["gone"]
        assert cpu_file(path, "cpu.shares", "cpu.weight") == strangers
    finally:
        path.rmdir()


@needs_cpu
def test_a_group_with_this_process_below_it_is_tuned_on_purpose_only(group, program, journal):
    (group / "cgroup.procs").write_text(str(program.pid))
    Changes(Target(Scope.CGROUP, cgroup=group), journal)
    below = group / "below"
    below.mkdir()
    child = os.fork()
    if child == 0:
        (below / "cgroup.procs").write_text(str(os.getpid()))
        try:
            Changes(Target(Scope.CGROUP, cgroup=group), journal)
        except UsageError as error:
            os._exit(0 if "holds this very run" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    below.rmdir()
    Changes(Target(Scope.CGROUP, cgroup=group), journal)
    (own_parent() / "cgroup.procs").write_text(str(program.pid))


needs_rt_groups = pytest.mark.skipif(
    CPU is None or not (CPU.mount / "cpu.rt_runtime_us").exists(), reason="no RT group scheduling"
)


@needs_cpu
@needs_rt_groups
def test_a_group_without_a_realtime_budget_is_offered_no_realtime_policy(group, program, journal):
    (group / "cgroup.procs").write_text(str(program.pid))
    (row,) = [one for one in survey(Target(Scope.PID, pid=program.pid)) if one.knob.name == "realtime"]
    assert f"{group} has no realtime budget" in row.availability.reason
    assert "cpu.rt_runtime_us" in row.availability.hint
    with pytest.raises(UnavailableError, match="budget"):
        Changes(Target(Scope.CGROUP, cgroup=group), journal).apply({"realtime": "fifo"})
    (group / "cpu.rt_runtime_us").write_text("1000")
    with Changes(Target(Scope.PID, pid=program.pid), journal) as changes:
        changes.apply({"realtime": "fifo"})
        assert observe(program.pid)["policy"] == os.SCHED_FIFO
    (own_parent() / "cgroup.procs").write_text(str(program.pid))


@needs_cpu
@needs_rt_groups
def test_when_a_late_knob_fails_all_are_put_back(program, journal):
    """A new v1 group has no realtime budget, so the kernel refuses `realtime` after everything else."""
    before = observe(program.pid)
    changes = Changes(Target(Scope.TREE, pid=program.pid), journal)
    with pytest.raises(KnobError, match="realtime: the kernel refused") as refused:
        changes.apply({"cpu_weight": 200, "nice": 5, "timer_slack_us": 99, "realtime": "fifo"})
    assert "cpu.rt_runtime_us" in str(refused.value.hint)
    assert observe(program.pid) == before
    assert made_groups() == []
    assert journal.open_records() == []


def writable(name):
    return knob_named(name).probe(Target(Scope.MACHINE)).ok


@pytest.mark.usefixtures("machine_settings")
@pytest.mark.parametrize(  # autogroup changes what all others get meanwhile: it is turned in a guest
    "knob",
    [
        pytest.param(knob, id=knob.name)
        for knob in FILE_KNOBS
        if knob.name != "autogroup" and writable(knob.name)
    ],
)
def test_a_machine_wide_setting_comes_back_to_the_letter(journal, knob):
    target = Target(Scope.MACHINE)
    wait_until(lambda: knob.probe(target).ok)  # other tests on this machine may be at it
    text = knob.path.read_text()
    spec = knob.spec(target)
    values = spec.choices or (spec.min_value, spec.max_value, True, False)
    value = next(value for value in values if value not in (spec.default, None))
    with Changes(target, journal) as changes:
        changes.apply({knob.name: value})
        assert knob.show(target) == value
        assert knob.path.read_text() != text
    assert knob.path.read_text() == text


def other_change(journal):
    """Change a setting in another process; return its pid, and what ends it."""
    ready, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException), Changes(Target(Scope.MACHINE), journal) as changes:
            changes.apply({"rr_timeslice_ms": 50})
            os.write(ready[1], b".")
            os.read(told[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"."

    def end():
        os.write(told[1], b".")
        os.waitpid(child, 0)
        for descriptor in (*ready, *told):
            os.close(descriptor)

    return child, end


@pytest.mark.usefixtures("machine_settings")
@pytest.mark.parametrize("same_journal", [True, False])
def test_two_living_processes_do_not_change_the_same_setting(journal, tmp_path, same_journal):
    path = Path("/proc/sys/kernel/sched_rr_timeslice_ms")
    before = path.read_text()
    candidate = fair(include=["rr_timeslice_ms"]).with_values({"rr_timeslice_ms": 60})
    _, end = other_change(journal)
    try:
        mine = journal if same_journal else Journal(tmp_path / "another")
        assert "another process" in knob_named("rr_timeslice_ms").probe(Target(Scope.MACHINE)).reason
        with pytest.raises(TargetBusyError, match="another process"):
            Changes(Target(Scope.MACHINE), mine).apply({"rr_timeslice_ms": 60})
        backend = HostBackend(journal=mine)
        assert backend.run(Workload(argv=("true",)), fair(), seed=0).validity == "ok"
        with pytest.raises(TargetBusyError, match="another process"):  # it says nothing about the candidate
            backend.run(Workload(argv=("true",)), candidate, seed=0)
        with pytest.raises(TargetBusyError, match="another process"):
            knob_named("rr_timeslice_ms").apply(Target(Scope.MACHINE), 60, mine)
        assert path.read_text().strip() == "50"
    finally:
        end()
    assert path.read_text() == before


@pytest.mark.usefixtures("machine_settings")
def test_undo_leaves_what_a_living_process_changed_unless_forced(journal):
    path = Path("/proc/sys/kernel/sched_rr_timeslice_ms")
    before = path.read_text()
    child, end = other_change(journal)
    try:
        outcomes = undo(Journal(journal.directory))
        assert [(outcome.result, str(child) in outcome.reason) for outcome in outcomes] == [("running", True)]
        assert path.read_text().strip() == "50"
        assert [o.result for o in undo(Journal(journal.directory), force=True)] == ["restored"]
        assert path.read_text() == before
    finally:
        end()
    assert path.read_text() == before


@pytest.mark.skipif(Path("/sys/kernel/debug/sched").exists(), reason="debugfs is mounted")
def test_a_knob_in_debugfs_says_that_it_is_not_mounted():
    found = knob_named("base_slice_us").probe(Target(Scope.MACHINE))
    assert not found.ok
    assert "debugfs is not mounted" in found.reason
    with pytest.raises(UnavailableError, match="debugfs is not mounted"):
        Changes(Target(Scope.MACHINE), Journal(Path("/nonexistent"))).apply({"base_slice_us": 1000})


def test_the_session_of_a_command_can_be_weighed(journal):
    if not writable("autogroup") or not knob_named("autogroup").show(Target(Scope.MACHINE)):
        pytest.skip("no autogroup here")
    program = Program(threads=0, children=1)  # it leads a session of its own
    try:
        with Changes(Target(Scope.TREE, pid=program.pid), journal) as changes:
            changes.apply({"autogroup_nice": 7})
            assert "nice 7" in Path(f"/proc/{program.children[0]}/autogroup").read_text()
        assert "nice 0" in Path(f"/proc/{program.children[0]}/autogroup").read_text()
        member = Target(Scope.PID, pid=program.children[0])
        assert "does not lead its session" in knob_named("autogroup_nice").probe(member).reason
    finally:
        program.close()


@pytest.mark.parametrize("pid", [2, 99_999_999])
def test_kernel_threads_and_strangers_are_not_targets(pid):
    if pid == 2:
        assert "no threads of user space" in knob_named("nice").probe(Target(Scope.PID, pid=pid)).reason
    else:
        with pytest.raises(UsageError, match="no process"):
            Target(Scope.PID, pid=pid)


def test_a_directory_that_is_not_a_group_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a control group"):
        Target(Scope.CGROUP, cgroup=tmp_path)
