import json

import pytest
from tests.unit.tune.surface import SCHEDULER

from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.host import Host
from schedtuna.errors import StudyError
from schedtuna.history.plan import PLAN_NAME, StudyPlan
from schedtuna.knobs.base import Scope
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import Workload

PLAN = StudyPlan(scheduler=SCHEDULER, workload=Workload(argv=("a",)), metrics=(parse_metric("x:min"),))
FLAT = {
    "scope": "tree",
    "pid": None,
    "pid_is": "",
    "cgroup": None,
    "backend": "host",
    "kernel": None,
    "cpus": 2,
}


@pytest.mark.parametrize(
    ("place", "now"),
    [
        (FLAT, Host()),
        (
            FLAT | {"scope": "pid", "pid": 4711, "pid_is": "boot 5"},
            Host(scope=Scope.PID, pid=4711, pid_is="boot 5"),
        ),
        (FLAT | {"backend": "vm", "kernel": "6.12", "cpus": 4}, Guest(kernel="6.12", cpus=4)),
        ({}, Host()),
    ],
)
def test_a_plan_of_version_1_had_its_place_flat(tmp_path, place, now):
    content = json.loads(PLAN.model_dump_json())
    del content["limits"]
    content |= {"version": 1, "place": place, "scheduler": content["scheduler"] | {"kernel": None}}
    (tmp_path / PLAN_NAME).write_text(json.dumps(content))
    assert StudyPlan.read(tmp_path) == PLAN.model_copy(update={"place": now})


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = PLAN.model_copy(update={"place": Guest(kernel="6.12", deterministic=True)})
    plan.write(tmp_path)
    assert StudyPlan.read(tmp_path) == plan


def test_a_plan_of_an_unknown_place_is_a_damaged_one_that_is_named(tmp_path):
    PLAN.write(tmp_path)
    path = tmp_path / PLAN_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"place": {"kind": "docker"}}))
    with pytest.raises(StudyError, match=r"study.json is damaged: place: .*unknown place 'docker'"):
        StudyPlan.read(tmp_path)


def test_the_budget_is_told_run_by_run():
    plan = PLAN.model_copy(update={"budget": 24})
    nr_search, nr_confirmation = plan.split(0.0)
    told = f"3 of the default first, {nr_search} to search (episodes), {nr_confirmation} to confirm"
    assert plan.told_budget == f"runs: 24 at most: {told}"
    assert plan.folder_names[-1] == f"{nr_search}ep"
