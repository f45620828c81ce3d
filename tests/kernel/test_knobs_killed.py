"""Undo after kill -9 at every step that changing and reverting consists of."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.kernel.knob_target import Program, observe

from schedtuna.errors import JournalError, KnobError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy, parent_for
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, Record, TaskSubject
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.session import Changes
from schedtuna.knobs.state import JOURNAL_NAME
from schedtuna.knobs.undo import undo
from schedtuna.machine.tasks import start_ticks

pytestmark = pytest.mark.usefixtures("root")

MACHINE_FILES = [
    Path("/proc/sys/kernel/sched_rr_timeslice_ms"),
    Path("/proc/sys/kernel/sched_cfs_bandwidth_slice_us"),
]
CPU = find_hierarchy("cpu")
CPUSET = find_hierarchy("cpuset")


def killed_at(step, journal_folder, action):
    """Run an action in a child that kills itself at a step; return whether it got that far."""
    child = os.fork()
    if child == 0:
        steps = iter(range(1, step + 1))

        def count(_name):
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            action(Journal(journal_folder, on_step=count))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the action itself failed"
    return False


def world(program):
    groups = [path for h in (CPU, CPUSET) if h for path in h.mount.rglob("schedtuna-*")]
    files = [path.read_text() for path in MACHINE_FILES if path.exists()]
    return {tid: observe(tid) for tid in program.tids}, groups, files


def available(target, values):
    return {name: value for name, value in values.items() if knob_named(name).probe(target).ok}


def cycle(target, values):
    def action(journal):
        with Changes(target, journal) as changes:
            changes.apply(values)

    return action


SERVICE = {"affinity": "cpus_1", "timer_slack_us": 99, "policy": "batch"}
COMMAND = {
    "cfs_bandwidth_slice_us": 7000,
    "rr_timeslice_ms": 42,
    "cpuset": "cpus_1",
    "cpu_quota": 80,
    "cpu_weight": 300,
    "autogroup_nice": 3,
    "nice": 4,
}


@pytest.mark.usefixtures("machine_settings")
@pytest.mark.parametrize(("scope", "values"), [(Scope.PID, SERVICE), (Scope.TREE, COMMAND)])
def test_undo_restores_everything_after_a_kill_at_any_step(program, tmp_path, scope, values):
    target = Target(scope, pid=program.pid)
    action = cycle(target, available(target, values))
    before, step = world(program), 1
    changed = 0
    while killed_at(step, tmp_path / "state", action):
        changed += world(program) != before
        journal = Journal(tmp_path / "state")
        assert all(outcome.closed for outcome in undo(journal)), step
        assert world(program) == before, step
        assert journal.open_records() == [], step
        step += 1
    assert world(program) == before
    assert step > 20
    assert changed > 10, "the kills must come while something is changed"


def test_undo_itself_may_be_killed_at_any_step(program, tmp_path):
    target = Target(Scope.PID, pid=program.pid)
    values = available(target, {"slice_us": 500, "nice": 4, "policy": "batch"})
    before, step, died = world(program), 1, True

    def apply_only(journal):
        Changes(target, journal).apply(values)
        os.kill(os.getpid(), signal.SIGKILL)

    while died:
        assert killed_at(10**6, tmp_path / "state", apply_only)
        assert world(program) != before
        died = killed_at(step, tmp_path / "state", undo)
        undo(Journal(tmp_path / "state"))
        assert world(program) == before, step
        assert Journal(tmp_path / "state").open_records() == []
        step += 1
    assert step > 5


def test_the_next_changes_do_not_ignore_what_a_killed_run_left(program, tmp_path):
    def apply_only(journal):
        Changes(Target(Scope.PID, pid=program.pid), journal).apply({"nice": 4})
        os.kill(os.getpid(), signal.SIGKILL)

    assert killed_at(10**6, tmp_path / "state", apply_only)
    journal = Journal(tmp_path / "state")
    with pytest.raises(JournalError, match="still in force: nice") as raised:
        Changes(Target(Scope.TREE, pid=program.pid), journal).apply({"policy": "batch"})
    assert raised.value.hint == "schedtuna undo"
    told: list[Record] = []
    with Changes(Target(Scope.TREE, pid=program.pid), journal, on_stale=told.extend) as changes:
        changes.apply({"policy": "batch"})
    assert {record.knob for record in told} == {"nice"}
    undo(journal)
    assert observe(program.pid)["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


def test_what_a_killed_run_left_on_a_command_that_ended_is_closed(tmp_path):
    program = Program(threads=0, children=0)

    def apply_only(journal):
        Changes(Target(Scope.TREE, pid=program.pid), journal).apply({"nice": 4})
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        assert killed_at(10**6, tmp_path / "state", apply_only)
    finally:
        program.close()
    other = Program(threads=0, children=0)
    try:
        with Changes(Target(Scope.TREE, pid=other.pid), Journal(tmp_path / "state")) as changes:
            changes.apply({"nice": 5})
    finally:
        other.close()
    assert Journal(tmp_path / "state").open_records() == []


def dead_mans_record(journal, change):
    """Write a record whose owner has died."""

    def begin_only(journal):
        journal.begin([change])
        os.kill(os.getpid(), signal.SIGKILL)

    assert killed_at(10**6, journal.directory, begin_only)


def subject_of(pid, *, started_before=0, reach="process"):
    started = start_ticks(pid)
    assert started is not None
    return TaskSubject(tid=pid, tgid=pid, start_ticks=started - started_before, reach=reach)


@pytest.mark.parametrize("reach", ["thread", "process", "tree"])
def test_a_stranger_with_the_number_of_the_target_is_not_touched(program, journal, reach):
    dead_mans_record(journal, Change("nice", subject_of(program.pid, started_before=1, reach=reach), 13, 4))
    before = world(program)
    assert [outcome.result for outcome in undo(journal)] == ["gone"]
    assert world(program) == before


def test_a_stranger_with_the_number_of_the_owner_does_not_keep_undo_out(program, journal):
    dead_mans_record(journal, Change("nice", subject_of(program.pid), 13, 4))
    file = journal.directory / JOURNAL_NAME
    record = journal.open_records()[0]
    mine = record.model_copy(update={"owner": record.owner.model_copy(update={"pid": os.getpid()})})
    file.write_text(mine.model_dump_json() + "\n")
    assert [outcome.result for outcome in undo(journal)] == ["restored"]
    assert observe(program.pid)["nice"] == 13


def test_after_a_reboot_nothing_is_touched(program, journal):
    dead_mans_record(journal, Change("nice", subject_of(program.pid), 13, 4))
    file = journal.directory / JOURNAL_NAME
    record = journal.open_records()[0]
    file.write_text(record.model_copy(update={"boot_id": "another"}).model_dump_json() + "\n")
    before = world(program)
    assert [outcome.result for outcome in undo(journal)] == ["other_boot"]
    assert world(program) == before
    assert journal.open_records() == []


def test_a_process_that_is_killed_leaves_its_zombie_and_can_be_undone(program, tmp_path):
    """An owner that nobody has reaped yet is dead all the same."""
    child = os.fork()
    if child == 0:
        Changes(Target(Scope.PID, pid=program.pid), Journal(tmp_path / "state")).apply({"nice": 4})
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert {outcome.result for outcome in undo(Journal(tmp_path / "state"))} == {"restored"}
    finally:
        os.waitpid(child, 0)


def test_many_processes_share_one_journal(tmp_path):
    workers = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                program = Program(threads=0, children=0)
                for nice in range(1, 16):
                    with Changes(Target(Scope.TREE, pid=program.pid), Journal(tmp_path / "s")) as changes:
                        changes.apply({"nice": nice})
                program.close()
                os._exit(0)
            finally:
                os._exit(1)
        workers.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers] == [0] * 4
    assert (tmp_path / "s" / JOURNAL_NAME).read_bytes() == b""


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", folder], check=False)
    if mounted.returncode:
        pytest.skip("tmpfs can't be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder):
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_nothing_is_changed_that_a_full_disk_can_not_take_down(program, small_disk):
    state = small_disk / "state"
    state.mkdir(mode=0o700)
    fill(small_disk)
    before = world(program)
    with pytest.raises(JournalError, match="No space left") as raised:
        Changes(Target(Scope.PID, pid=program.pid), Journal(state)).apply({"nice": 4})
    assert "free some space" in str(raised.value.hint)
    assert world(program) == before


def test_a_record_that_only_half_fits_is_taken_back(program, small_disk):
    journal = Journal(small_disk / "state")
    subject = TaskSubject(tid=1, tgid=1, start_ticks=0, reach="thread")
    kept = journal.begin([Change("nice", subject, 0, 0)])
    fill(small_disk)
    with pytest.raises(JournalError, match="No space left"):
        journal.begin([Change("nice", subject, 0, 0)] * 40)  # more than what is left of the page
    assert journal.open_records() == kept


def test_undo_works_on_a_full_disk(program, small_disk):
    before = world(program)

    def apply_only(journal):
        Changes(Target(Scope.PID, pid=program.pid), journal).apply({"nice": 4, "policy": "batch"})
        os.kill(os.getpid(), signal.SIGKILL)

    assert killed_at(10**6, small_disk / "state", apply_only)
    fill(small_disk)
    assert {outcome.result for outcome in undo(Journal(small_disk / "state"))} == {"restored"}
    assert world(program) == before
    assert Journal(small_disk / "state").open_records() == []


def test_what_could_not_be_restored_stays_in_the_journal(journal):
    parent = parent_for(CPU, os.getpid()) if CPU else None
    if parent is None:
        pytest.skip("no control group with a cpu controller")
    program = Program(threads=0, children=0)
    changes = Changes(Target(Scope.TREE, pid=program.pid), journal)
    try:
        changes.apply({"cpu_weight": 50, "nice": 4})
        record = next(record for record in journal.open_records() if record.knob == "cpu_weight")
        blocker = record.subject.path
        # A mount on top of the group's directory keeps it from being removed.
        if subprocess.run(["mount", "-t", "tmpfs", "none", blocker], check=False).returncode:
            pytest.skip("tmpfs can't be mounted here")
        try:
            with pytest.raises(KnobError, match="cpu_weight"):
                changes.revert()
        finally:
            subprocess.run(["umount", blocker], check=True)
        assert [record.knob for record in journal.open_records()] == ["cpu_weight"]
        assert observe(program.pid)["nice"] == os.getpriority(os.PRIO_PROCESS, 0)
        changes.revert()
        assert journal.open_records() == []
        assert not blocker.exists()
    finally:
        program.close()
