"""The report's commands are those that work where it was tuned."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.tune.surface import SCHEDULER, SurfaceBackend, no_gain, smooth_gain

from schedtuna.backend.places.guest import Guest
from schedtuna.backend.places.host import Host
from schedtuna.experiment.triallog import TrialLog
from schedtuna.history.plan import StudyPlan
from schedtuna.history.results import summary
from schedtuna.knobs.base import Scope
from schedtuna.tune.page import study_page
from schedtuna.tune.study import Study
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import Workload


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A study with a gain, and one without."""
    found = {}
    for truth in (smooth_gain, no_gain):
        plan = StudyPlan(
            scheduler=SCHEDULER.model_copy(update={"name": "scx_mine"}),
            workload=Workload(argv=("load", "-x")),
            metrics=(parse_metric("wall_time_s:min"),),
            sampler="random",
            episodes=40,
            seed=7,
        )
        with TrialLog(tmp_path_factory.mktemp("page") / "study", plan.identity()) as log:
            found[truth] = Study(plan, SurfaceBackend(truth), log).run()
    return found


def commands(result, place=Host()):  # noqa: B008 - it is frozen
    page = study_page(replace(result, plan=result.plan.model_copy(update={"place": place})), {})
    return [command.line for section in page.sections for command in section.commands]


def test_the_title_has_the_load_s_name_where_it_has_one(results):
    found = results[smooth_gain]
    assert study_page(found, {}).title.startswith("load -x · scx_mine · ")
    named = found.plan.workload.model_copy(update={"name": "interactive-mix"})
    found = replace(found, plan=found.plan.model_copy(update={"workload": named}))
    assert study_page(found, {}).title.startswith("interactive-mix · scx_mine · ")
    assert summary(found)["workload"] == "interactive-mix"


def test_a_gain_of_a_command_is_applied_to_the_command(results):
    study = results[smooth_gain].folder
    found = commands(results[smooth_gain])
    assert found[0] == f"schedtuna apply {study} -- load -x"
    again, against_the_kernel = found[-2:]
    assert again.startswith("schedtuna compare --metric wall_time_s:min scx_mine scx_mine:slice_us=")
    assert " default scx_mine:slice_us=" in against_the_kernel


def test_a_gain_of_a_service_is_not_applied_to_the_load(results):
    found = commands(results[smooth_gain], Host(scope=Scope.CGROUP, cgroup=Path("/sys/fs/cgroup/a")))
    assert not any(line.endswith("-- load -x") for line in found[:-2])
    assert "schedtuna compare --cgroup /sys/fs/cgroup/a " in found[-1]


def test_a_gain_in_a_guest_needs_a_kernel_that_can_load_the_scheduler(results):
    study = results[smooth_gain].folder
    found = commands(results[smooth_gain], Guest(kernel="6.12.1"))
    assert found[:2] == [f"schedtuna apply {study} -- load -x", f"schedtuna apply {study} --system"]
    assert found[2].startswith("scx_mine")
    assert "schedtuna compare --backend vm --kernel 6.12.1 " in found[-1]
    assert not any("--print-unit" in line for line in found)


def test_without_a_gain_there_are_only_comparisons(results):
    found = commands(results[no_gain])
    assert found
    assert all(line.startswith("schedtuna compare") for line in found)
