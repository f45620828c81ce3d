"""`schedtuna undo` and `schedtuna knobs` as a user types them."""

import json
import os
import signal
import subprocess

import pytest
from tests.commands import run_schedtuna

from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.knobs.state import JOURNAL_NAME


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def schedtuna(state):
    def run(*arguments):
        return run_schedtuna(*arguments, env={**os.environ, "SCHEDTUNA_STATE_DIR": str(state)}, timeout=60)

    return run


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def change_and_die(pid, state):
    """Change a process's policy, in a child that is killed before it can put it back."""
    child = os.fork()
    if child == 0:
        Changes(Target(Scope.PID, pid=pid), Journal(state)).apply({"policy": "batch"})
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    return child


def test_undo_puts_back_what_a_killed_run_left(schedtuna, sleeper, state):
    change_and_die(sleeper, state)
    assert os.sched_getscheduler(sleeper) == os.SCHED_BATCH
    planned = schedtuna("undo", "--dry-run")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert f"would restore policy of process {sleeper}: batch -> other" in planned.stdout
    assert os.sched_getscheduler(sleeper) == os.SCHED_BATCH
    done = schedtuna("undo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "restored" in done.stdout
    assert os.sched_getscheduler(sleeper) == os.SCHED_OTHER
    assert schedtuna("undo").stdout == f"nothing to undo in {state}\n"


def test_json_is_one_object_with_every_change(schedtuna, sleeper, state):
    owner = change_and_die(sleeper, state)
    answer = json.loads(schedtuna("undo", "--json").stdout)
    (change,) = answer["changes"]
    assert answer["failed"] is False
    assert (change["result"], change["knob"], change["old"], change["new"]) == (
        "restored",
        "policy",
        "other",
        "batch",
    )
    assert change["owner_pid"] == owner


def test_what_a_running_process_changed_needs_force(schedtuna, sleeper, state):
    with Changes(Target(Scope.PID, pid=sleeper), Journal(state)) as changes:
        changes.apply({"policy": "batch"})
        refused = schedtuna("undo")
        assert refused.returncode == 0
        assert f"process {os.getpid()} still runs" in refused.stdout
        assert "--force" in refused.stdout
        assert os.sched_getscheduler(sleeper) == os.SCHED_BATCH
        forced = schedtuna("undo", "--force")
        assert "restored" in forced.stdout
        assert os.sched_getscheduler(sleeper) == os.SCHED_OTHER


def test_what_can_not_be_put_back_fails_and_stays(schedtuna, sleeper, state):
    change_and_die(sleeper, state)
    file = state / JOURNAL_NAME
    file.write_text(file.read_text().replace('"knob": "policy"', '"knob": "warp_factor"'))
    for _ in range(2):
        done = schedtuna("undo", "--json")
        assert done.returncode == 1
        (change,) = json.loads(done.stdout)["changes"]
        assert (change["result"], change["reason"]) == ("failed", "unknown knob 'warp_factor'")


def test_a_damaged_journal_is_an_error_with_the_line(schedtuna, state):
    state.mkdir(mode=0o700)
    (state / JOURNAL_NAME).write_text("{}\n")
    done = schedtuna("undo")
    assert done.returncode == 1
    assert "line 1" in done.stderr
    assert "hint:" in done.stderr


def test_a_journal_that_others_may_have_written_is_not_followed(schedtuna, sleeper, state):
    change_and_die(sleeper, state)
    state.chmod(0o777)
    done = schedtuna("undo")
    assert done.returncode == 1
    assert "chmod 700" in done.stderr
    assert os.sched_getscheduler(sleeper) == os.SCHED_BATCH


def test_knobs_lists_what_can_be_changed_and_why_the_rest_can_not(schedtuna):
    shown = schedtuna("knobs")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "nice" in shown.stdout
    answer = json.loads(schedtuna("knobs", "--json").stdout)
    assert answer["scope"] == "tree"
    for knob in answer["knobs"]:
        assert knob["available"] == (knob["spec"] is not None)
        assert knob["available"] or knob["reason"]


def test_knobs_of_a_process(schedtuna, sleeper):
    os.sched_setscheduler(sleeper, os.SCHED_BATCH, os.sched_param(0))
    answer = json.loads(schedtuna("knobs", "--json", "--pid", sleeper).stdout)
    assert answer["scope"] == "pid"
    assert {knob["name"]: knob["value"] for knob in answer["knobs"]}["policy"] == "batch"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pid", "99999999"], "no process 99999999"),
        (["--cgroup", "/tmp"], "is not a control group"),
        (["--scope", "pid"], "needs a process"),
        (["--scope", "machine", "--pid", "1"], "contradict each other"),
        (["--pid", "1", "--cgroup", "/"], "contradict each other"),
    ],
)
def test_knobs_of_nothing(schedtuna, arguments, message):
    done = schedtuna("knobs", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_every_other_command_offers_the_undo(schedtuna, sleeper, state):
    before = schedtuna("schedulers", "list", "--json")
    assert before.stderr == ""
    change_and_die(sleeper, state)
    offered = schedtuna("schedulers", "list", "--json")
    assert offered.stderr == (
        "note: a run that was killed has left this changed: policy; `schedtuna undo` puts it back\n"
    )
    assert offered.stdout == before.stdout
    assert "`schedtuna undo`" not in schedtuna("bisect", "fair", "--", "true").stderr  # it puts back itself
    change_and_die(sleeper, state)
    schedtuna("undo")
    assert schedtuna("schedulers", "list").stderr == ""


def test_what_has_ended_is_not_said_to_be_changed(schedtuna, state):
    with subprocess.Popen(["sleep", "600"]) as process:
        change_and_die(process.pid, state)
        process.kill()
    assert schedtuna("schedulers", "list").stderr == ""
    assert "has ended" in schedtuna("undo", "--dry-run").stdout


def test_a_journal_that_is_damaged_stops_no_other_command(schedtuna, state):
    state.mkdir(mode=0o700)
    (state / JOURNAL_NAME).write_text("damaged\n")
    assert schedtuna("schedulers", "list").returncode == 0
