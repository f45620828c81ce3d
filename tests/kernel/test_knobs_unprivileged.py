"""What a user without privileges may change: less, and nothing that could not be put back."""

import ctypes
import json
import os
import signal
import stat
import traceback
from pathlib import Path

import pytest
from tests.kernel.knob_target import Program, observe

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.knobs.state import state_directory
from schedtuna.knobs.task_attributes import slice_support
from schedtuna.scheduler.fair import fair, unavailable

pytestmark = pytest.mark.usefixtures("root")  # to become somebody else

NOBODY = 65534
PR_SET_DUMPABLE = 4


@pytest.fixture
def as_nobody(everybodys_folder):
    """Call a function as the user `nobody`, in a child; return its result, which must be JSON."""
    home = everybodys_folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    slice_support()  # imports what `nobody` may not be able to read

    def call(function):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(HOME=str(home), XDG_STATE_HOME=str(home / "state"))
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
                os.write(writer, json.dumps(function()).encode())
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader) as file:
            text = file.read()
        assert os.waitpid(child, 0)[1] == 0
        return json.loads(text)

    return call


@pytest.fixture
def own_program():
    program = Program(threads=1, children=1, uid=NOBODY)
    yield program
    program.close()


def survey(target, *include):
    found = fair(target, include=include).parameters
    space = {name: spec.model_dump(mode="json") for name, spec in found.items()}
    return space, unavailable(target)


def test_bounds_are_what_the_user_may_set(as_nobody):
    space, reasons = as_nobody(lambda: survey(Target(), "nice"))
    now = os.getpriority(os.PRIO_PROCESS, 0)
    assert space["nice"]["min_value"] == space["nice"]["default"] == now
    assert space["policy"]["choices"] == ["other", "batch", "idle"]
    assert "autogroup" not in space
    assert "only root" in reasons["timer_slack_us"]
    assert "root" in reasons["autogroup"]
    assert "privilege" in reasons["realtime"]
    assert "cpu_weight" in reasons


def test_a_running_process_is_offered_only_what_can_be_put_back(as_nobody, own_program):
    space, reasons = as_nobody(lambda: survey(Target(Scope.PID, pid=own_program.pid)))
    assert space["policy"]["choices"] == ["other", "batch"]
    assert "put back" in reasons["nice"]


def test_another_users_process_is_out_of_reach(as_nobody, program):
    space, reasons = as_nobody(lambda: survey(Target(Scope.PID, pid=program.pid)))
    assert space == {}
    assert "another user" in reasons["policy"]


def test_a_service_is_changed_and_put_back_without_privileges(as_nobody, own_program):
    before = [observe(tid) for tid in own_program.tids]
    values = {"policy": "batch", "affinity": "cpus_1"} | ({"slice_us": 700} if slice_support().works else {})
    if len(os.sched_getaffinity(0)) < 2:
        del values["affinity"]

    def cycle():
        journal = Journal()
        with Changes(Target(Scope.PID, pid=own_program.pid), journal) as changes:
            changes.apply(values)
            policies = [os.sched_getscheduler(tid) for tid in own_program.tids]
        mode = stat.S_IMODE(journal.directory.stat().st_mode)
        return policies, len(journal.open_records()), mode, str(journal.directory)

    policies, nr_open, mode, folder = as_nobody(cycle)
    assert set(policies) == {os.SCHED_BATCH}
    assert (nr_open, mode) == (0, 0o700)
    assert folder.endswith("/state/schedtuna")
    assert [observe(tid) for tid in own_program.tids] == before


def test_a_command_may_be_given_what_only_its_end_takes_back(as_nobody):
    now = os.getpriority(os.PRIO_PROCESS, 0)
    program = Program(threads=0, children=0, uid=NOBODY)

    def cycle():
        journal = Journal()
        changes = Changes(Target(Scope.TREE, pid=program.pid), journal)
        changes.apply({"nice": now + 3, "policy": "idle"})
        seen = [os.getpriority(os.PRIO_PROCESS, program.pid), os.sched_getscheduler(program.pid)]
        os.kill(program.pid, signal.SIGKILL)
        while observe_state(program.pid) != "Z":
            pass
        changes.revert()
        return seen, len(journal.open_records())

    try:
        assert as_nobody(cycle) == [[now + 3, os.SCHED_IDLE], 0]
    finally:
        program.close()


def observe_state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_each_user_has_a_journal_of_their_own(as_nobody, monkeypatch):
    monkeypatch.delenv("SCHEDTUNA_STATE_DIR", raising=False)
    assert str(state_directory()) == "/var/lib/schedtuna"
    assert as_nobody(lambda: str(state_directory())) != "/var/lib/schedtuna"
