import os
import subprocess
import sys

import pytest

from schedtuna.errors import SpaceError, UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes


@pytest.fixture
def child():
    """A process whose threads may be changed, and which can't be waited on for ever."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "state")


def nice(pid):
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_settings_hold_inside_the_block_and_are_put_back_after_it(child, journal):
    if os.geteuid() != 0:
        pytest.skip("only root lowers nice again")
    before = nice(child)
    with Changes(Target(Scope.PID, pid=child), journal) as changes:
        changes.apply({"nice": before + 2})
        assert nice(child) == before + 2
        assert journal.open_records()
    assert nice(child) == before
    assert journal.open_records() == []


def test_what_shows_its_value_already_is_left_alone(child, journal):
    with Changes(Target(Scope.TREE, pid=child), journal) as changes:
        changes.apply({"nice": nice(child)})
        assert journal.open_records() == []


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"nise": 3}, UsageError, "unknown knob 'nise'"),
        ({"nice": 99}, SpaceError, "out of bounds"),
    ],
)
def test_everything_is_checked_before_anything_is_changed(child, journal, values, error, says):
    before = nice(child)
    with pytest.raises(error, match=says), Changes(Target(Scope.TREE, pid=child), journal) as changes:
        changes.apply({"policy": "batch", **values})
    assert nice(child) == before
    assert os.sched_getscheduler(child) == os.sched_getscheduler(0)
    assert journal.open_records() == []


def test_a_knob_of_another_scope_is_refused(journal):
    changes = Changes(Target(Scope.MACHINE), journal)
    with pytest.raises(UsageError, match="nice can't be changed in scope machine"):
        changes.apply({"nice": 3})


def test_a_failure_reverts_and_stays_the_error_that_is_raised(child, journal):
    if os.geteuid() != 0:
        pytest.skip("only root lowers nice again")
    before = nice(child)

    def fail():
        with Changes(Target(Scope.PID, pid=child), journal) as changes:
            changes.apply({"nice": before + 1})
            raise RuntimeError("the first")

    with pytest.raises(RuntimeError, match="the first"):
        fail()
    assert nice(child) == before
