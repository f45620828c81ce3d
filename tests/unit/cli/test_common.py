from pathlib import Path

import pytest

from schedtuna.cli.common import make_target, parse_duration
from schedtuna.errors import UsageError
from schedtuna.knobs.base import Scope
from schedtuna.knobs.hierarchies import find_hierarchy


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("500ms", 0.5),
        ("5m", 300),
        ("1.5h", 5400),
        ("1m30s", 90),
        (".5", 0.5),
        ("0", 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "-5", "5 m", "5min", "1e3", "nan", "inf", "5m!", "10000d"])
def test_what_is_not_a_duration(text):
    with pytest.raises(UsageError):
        parse_duration(text)


def test_a_pid_or_a_cgroup_implies_its_scope():
    assert make_target(None, None, None).scope is Scope.TREE
    assert make_target(None, 1, None).scope is Scope.PID
    assert make_target(Scope.MACHINE, None, None).scope is Scope.MACHINE
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        pytest.skip("no cpu controller is mounted here")
    assert make_target(None, None, hierarchy.mount).scope is Scope.CGROUP


def test_a_folder_that_only_looks_like_a_control_group_is_refused(tmp_path):
    (tmp_path / "cgroup.procs").write_text("")
    with pytest.raises(UsageError, match="is not a control group"):
        make_target(None, None, tmp_path)


@pytest.mark.parametrize(
    ("scope", "pid", "cgroup"),
    [
        (Scope.TREE, 1, None),
        (None, 1, Path("/")),
        (Scope.MACHINE, None, Path("/")),
        (None, None, Path("/nope")),
    ],
)
def test_scopes_that_contradict_themselves(scope, pid, cgroup):
    with pytest.raises(UsageError):
        make_target(scope, pid, cgroup)
