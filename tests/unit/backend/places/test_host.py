from pathlib import Path

import pytest

from schedtuna.backend.base import Validity
from schedtuna.backend.places import host as place
from schedtuna.backend.places.host import Host
from schedtuna.errors import OutOfBoundsError, UnavailableError, UnknownParameterError, UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.claims import claimed
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import TargetBusyError
from schedtuna.scheduler import tuna
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.spec import RunSpec, Workload


def test_a_pid_or_a_cgroup_implies_its_scope():
    assert Host.of(None, None, None).scope is Scope.TREE
    assert Host.of(None, 1, None).scope is Scope.PID
    assert Host.of(Scope.MACHINE, None, None).scope is Scope.MACHINE
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        pytest.skip("no cpu controller is mounted here")
    assert Host.of(None, None, hierarchy.mount).scope is Scope.CGROUP


def test_a_folder_that_only_looks_like_a_control_group_is_refused(tmp_path):
    (tmp_path / "cgroup.procs").write_text("")
    with pytest.raises(UsageError, match="is not a control group"):
        Host.of(None, None, tmp_path)


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
        Host.of(scope, pid, cgroup)


def test_what_this_machine_lacks_is_not_blamed_on_the_text(monkeypatch):
    monkeypatch.setattr(place, "unavailable", lambda target: {"made_up": "the kernel has none"})
    with pytest.raises(UnavailableError, match="made_up can't be changed here: the kernel has none"):
        Host().scheduler("fair:made_up=1")
    with pytest.raises(UsageError, match="can't be set in scope machine"):
        Host(scope=Scope.MACHINE).scheduler("fair:policy=batch")


def test_what_of_scx_tuna_does_nothing_here_is_left_out_of_a_search(monkeypatch):
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    monkeypatch.setattr(
        place, "ineffective_there", lambda machine, values: {"sticky_cpu": "there is one CPU"}
    )
    assert Host().left_out("scx_tuna") == ["sticky_cpu is left out: there is one CPU"]
    monkeypatch.setattr(place, "read_state", lambda machine: None)
    assert set(tuna.DEFAULTS) - set(Host().tunable("scx_tuna").parameters) == {"sticky_cpu"}


def test_only_a_nice_that_root_could_set_takes_root(monkeypatch):
    spec = ParameterSpec(name="nice", type=ParameterType.INTEGER, default=0, min_value=0, max_value=19)
    own = SchedulerConfig(name="fair", parameters={"nice": spec}, description="as an unprivileged user")
    monkeypatch.setattr(place, "lookup", lambda name, target: own)
    monkeypatch.setattr(place, "may_have_nice", lambda value: False)
    with pytest.raises(UnavailableError, match=r"only root may lower nice so far; .*: expected 0 to 19"):
        Host().scheduler("fair:nice=-5")
    with pytest.raises(OutOfBoundsError, match="fair:nice=-21: nice=-21: out of bounds"):
        Host().scheduler("fair:nice=-21")
    with pytest.raises(
        UnknownParameterError, match=r"fair:nise=1: unknown parameter 'nise': did you mean nice"
    ) as caught:
        Host().scheduler("fair:nise=1")
    assert caught.value.name == "nise"


def test_what_is_run_as_the_machine_is_may_be_the_load_of_a_run_that_turns_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))  # others may be at work here
    spec = RunSpec(workload=Workload(argv=("true",)))
    default = SchedulerConfig(name="default")
    with claimed(Target(Scope.MACHINE)):
        with Host().open(spec) as backend:
            assert backend.run(spec.workload, default, seed=1).validity is Validity.OK
        with pytest.raises(TargetBusyError), Host().open(spec, [default]):
            pass


def test_what_can_not_be_turned_any_more_is_told(monkeypatch):
    scheduler = fair()
    assert Host().missing(scheduler) == {}
    monkeypatch.setattr(place, "unavailable", lambda _: {"slice_us": "no slices", "made_up": "none"})
    assert Host().missing(scheduler) == (
        {"slice_us": "no slices"} if "slice_us" in scheduler.parameters else {}
    )
    assert Host().missing(SchedulerConfig(name="scx_x", parameters=scheduler.parameters)) == {}
