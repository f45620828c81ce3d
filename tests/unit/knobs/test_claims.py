"""Whose target it is: until its process ends, and against whom."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.errors import JournalError
from schedtuna.knobs import base
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import CLAIMS_NAME, claimed, require_free
from schedtuna.knobs.journal import TargetBusyError

MACHINE, TREE = Target(Scope.MACHINE), Target()
PID, OTHER_PID = Target(Scope.PID, pid=1), Target(Scope.PID, pid=os.getpid())
CLAIMING = """
import os, sys
from pathlib import Path
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import claimed
with claimed(Target(Scope.MACHINE), Path(sys.argv[1])):
    os._exit(9)  # as by kill -9: nothing is cleaned up
"""


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "is_control_group", Path.is_dir)  # only their paths matter here
    for name in ("a", "a/b", "ab"):
        (tmp_path / name).mkdir()
    return {name: Target(Scope.CGROUP, cgroup=tmp_path / name) for name in ("a", "a/b", "ab")}


@pytest.mark.parametrize(
    ("first", "second"), [(MACHINE, MACHINE), (MACHINE, PID), (MACHINE, TREE), (TREE, MACHINE), (PID, PID)]
)
def test_what_is_taken_is_refused_until_it_is_given_back(state, first, second):
    with claimed(first, state):
        with pytest.raises(TargetBusyError, match=f"process {os.getpid()} is at work on"):
            require_free(second, state)
        with pytest.raises(TargetBusyError), claimed(second, state):
            pass
    require_free(second, state)
    with claimed(second, state):
        pass


@pytest.mark.parametrize(("first", "second"), [(TREE, TREE), (PID, OTHER_PID), (TREE, PID)])
def test_what_does_not_meet_goes_side_by_side(state, first, second):
    with claimed(first, state), claimed(second, state):
        require_free(TREE, state)
        with pytest.raises(TargetBusyError):
            require_free(MACHINE, state)
    require_free(MACHINE, state)


def test_groups_meet_where_one_holds_the_other(state, groups):
    with claimed(groups["a"], state):
        for name in ("a", "a/b"):
            with pytest.raises(TargetBusyError):
                require_free(groups[name], state)
        require_free(groups["ab"], state)
    with claimed(groups["a/b"], state), pytest.raises(TargetBusyError):
        require_free(groups["a"], state)


def test_a_claim_ends_with_its_process_however_that_ends(state):
    done = subprocess.run([sys.executable, "-c", CLAIMING, str(state)], check=False)
    assert done.returncode == 9
    claims = (state / CLAIMS_NAME).read_text().splitlines()
    assert [json.loads(line)["scope"] for line in claims] == ["machine"]
    with claimed(MACHINE, state):
        assert len((state / CLAIMS_NAME).read_text().splitlines()) == 1  # the dead one's is gone


def test_looking_creates_nothing(state):
    require_free(MACHINE, state)
    assert not state.exists()


def test_without_a_place_to_write_only_commands_are_measured():
    nowhere = Path("/proc/nowhere")
    with claimed(TREE, nowhere):
        pass
    with pytest.raises((JournalError, OSError)), claimed(MACHINE, nowhere):
        pass


def test_a_command_that_turns_a_setting_of_the_machine_claims_the_machine(state):
    with claimed(TREE, state, turned=["nice", "slice_us"]), claimed(TREE, state, turned=["policy"]):
        pass
    with claimed(TREE, state, turned=["nice", "autogroup"]):
        for target in (TREE, PID, MACHINE):
            with pytest.raises(TargetBusyError, match="settings of the whole machine"):
                require_free(target, state)
    with claimed(TREE, state), pytest.raises(TargetBusyError), claimed(TREE, state, turned=["autogroup"]):
        pass
