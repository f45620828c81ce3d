import pytest
from tests.unit.tune.studies import WALL, make_study
from tests.unit.tune.surface import SCHEDULER, SurfaceBackend, smooth_gain

from schedtuna.errors import StudyError, UsageError
from schedtuna.experiment.triallog import TrialLog
from schedtuna.history.plan import PastRun, StudyPlan
from schedtuna.history.warmstart import past_runs
from schedtuna.machine.manifest import FILE_NAME, build_manifest
from schedtuna.tune.study import Study
from schedtuna.workload.spec import Direction, MetricSpec, Workload

LOAD = Workload(argv=("true",))
BEST = {"slice_us": 300, "policy": "batch"}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("results") / "earlier", seed=1)


def plan(**changes):
    content = {
        "scheduler": SCHEDULER,
        "workload": LOAD,
        "metrics": (WALL,),
        "sampler": "gp",
        "episodes": 12,
        "seed": 3,
    }
    return StudyPlan.model_validate(content | changes)


def search_of(folder, chosen):
    with TrialLog(folder, chosen.identity()) as log:
        Study(chosen, SurfaceBackend(smooth_gain), log).run()
        return [record.trial.values for record in log.records("search")]


def test_the_runs_of_the_search_are_carried_over(earlier):
    runs, notes = past_runs([earlier], SCHEDULER, LOAD, [WALL])
    assert len(runs) == 40
    assert {run.study for run in runs} == {"earlier"}
    assert runs[0].cost == pytest.approx(
        smooth_gain(SCHEDULER.space.validate_assignment(runs[0].values)), abs=0.1
    )
    assert any("40 of 40 runs" in note for note in notes)


def test_what_differs_between_the_machines_is_told(earlier):
    _, notes = past_runs([earlier], SCHEDULER, LOAD, [WALL])
    assert any("where it ran is not known" in note for note in notes)
    here = build_manifest(("true",))
    elsewhere = here.machine.model_copy(update={"cpu_model": "another", "kernel_release": "5.0"})
    (earlier / FILE_NAME).write_text(here.model_copy(update={"machine": elsewhere}).model_dump_json())
    _, notes = past_runs([earlier], SCHEDULER, LOAD, [WALL])
    assert any("cpu_model, kernel_release differ" in note for note in notes)
    (earlier / FILE_NAME).write_text(here.model_dump_json())
    _, notes = past_runs([earlier], SCHEDULER, LOAD, [WALL])
    assert len(notes) == 1


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_what_was_good_elsewhere_is_tried_early_and_only_tried(tmp_path, sampler):
    past = (PastRun(study="x", values=BEST, cost=-0.3),) * 3 + (PastRun(study="x", values={}, cost=0.0),) * 3
    warm = search_of(tmp_path / "warm", plan(sampler=sampler, warm_start=past))
    assert BEST in warm[:3]
    cold = search_of(tmp_path / "cold", plan(sampler=sampler))
    assert BEST not in cold[:3]


def test_a_resumed_study_keeps_its_warm_start_and_no_other(tmp_path):
    past = (PastRun(study="x", values=BEST, cost=-0.3),)
    chosen = plan(warm_start=past)
    search_of(tmp_path, chosen)
    assert StudyPlan.read(tmp_path) == chosen
    with pytest.raises(StudyError, match="warm start"):
        TrialLog(tmp_path, plan().identity())


def test_another_scheduler_or_metric_is_refused(earlier):
    with pytest.raises(UsageError, match="tuned fair, not scx_x"):
        past_runs([earlier], SCHEDULER.model_copy(update={"name": "scx_x"}), LOAD, [WALL])
    with pytest.raises(UsageError, match="no metric 'rps'"):
        past_runs([earlier], SCHEDULER, LOAD, [MetricSpec(name="rps", direction=Direction.MAX)])
    with pytest.raises(UsageError, match="is not a folder"):
        past_runs([earlier / "nope"], SCHEDULER, LOAD, [WALL])


def test_no_folder_is_no_warm_start():
    assert past_runs([], SCHEDULER, LOAD, [WALL]) == ((), [])
