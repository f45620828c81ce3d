from pathlib import Path

import pytest

from schedtuna.cli.common import find_scheduler, make_target, parse_duration
from schedtuna.errors import OutOfBoundsError, UnavailableError, UnknownParameterError, UsageError
from schedtuna.knobs import task_attributes
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.scheduler import fair, lookup
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType


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


def test_what_this_machine_lacks_is_not_blamed_on_the_text(monkeypatch):
    monkeypatch.setattr(fair, "unavailable", lambda target: {"made_up": "the kernel has none"})
    with pytest.raises(UnavailableError, match="made_up can't be changed here: the kernel has none"):
        find_scheduler("fair:made_up=1", Target())
    with pytest.raises(UsageError, match="can't be set in scope machine"):
        find_scheduler("fair:policy=batch", Target(Scope.MACHINE))


def test_only_a_nice_that_root_could_set_takes_root(monkeypatch):
    spec = ParameterSpec(name="nice", type=ParameterType.INTEGER, default=0, min_value=0, max_value=19)
    own = SchedulerConfig(name=fair.NAME, parameters={"nice": spec}, description="as an unprivileged user")
    monkeypatch.setattr(lookup, "lookup", lambda name, target: own)
    monkeypatch.setattr(task_attributes, "may_have_nice", lambda value: False)
    with pytest.raises(UnavailableError, match=r"only root may lower nice so far; .*: expected 0 to 19"):
        find_scheduler("fair:nice=-5", Target())
    with pytest.raises(OutOfBoundsError, match="fair:nice=-21: nice=-21: out of bounds"):
        find_scheduler("fair:nice=-21", Target())
    with pytest.raises(
        UnknownParameterError, match=r"fair:nise=1: unknown parameter 'nise': did you mean nice"
    ) as caught:
        find_scheduler("fair:nise=1", Target())
    assert caught.value.name == "nise"
