import pytest

from schedtuna.backend.places.host import Host
from schedtuna.errors import StudyError, WorkloadError
from schedtuna.experiment import campaign as campaigns
from schedtuna.experiment.campaign import (
    Question,
    changed_since,
    choose_seed,
    new_results_folder,
    open_campaign,
)
from schedtuna.experiment.triallog import TrialRecord, read_trials
from schedtuna.knobs.base import Reverted, Target
from schedtuna.knobs.claims import require_free
from schedtuna.knobs.journal import TargetBusyError
from schedtuna.knobs.task_attributes import Nice
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.spec import Direction, MetricSpec, RunSpec, Workload

WALL = MetricSpec(name="wall_time_s", direction=Direction.MIN)
TRUE = Workload(argv=("true",))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEDTUNA_STATE_DIR", str(tmp_path / "state"))


def campaign(tmp_path, workload=TRUE, schedulers=None, *, resume=None, seed=4, identity="1", turned=()):
    sides = [(Host(), scheduler) for scheduler in schedulers or [fair()]]
    asked = Question("test", sides, {"x": identity}, turned=turned)
    spec = RunSpec(workload=workload, metrics=(WALL,), seed=choose_seed(seed, resume))
    return open_campaign(asked, spec, results=tmp_path / "results", resume=resume)


def run_once(opened):
    trial = opened.sides[0].run(TRUE, seed=1)
    opened.log.append(TrialRecord(phase="p", index=len(opened.log.records()), trial=trial))


def test_a_folder_is_never_taken_twice(tmp_path):
    first = new_results_folder(tmp_path, "compare", "a/b c;rm")
    first.mkdir()
    assert first.name.startswith("compare_a-b-c-rm_")
    assert new_results_folder(tmp_path, "compare", "a/b c;rm") != first


def test_a_folder_that_another_process_took_meanwhile_is_left_to_it(tmp_path, monkeypatch):
    with campaign(tmp_path) as ended:
        run_once(ended)
    with campaign(tmp_path) as at_work:
        folders = iter([at_work.folder, ended.folder, tmp_path / "results" / "free"])
        monkeypatch.setattr(campaigns, "new_results_folder", lambda *_: next(folders))
        with campaign(tmp_path) as third:
            assert third.folder.name == "free"
            assert not third.log.records()
    assert len(read_trials(ended.folder)[1]) == 1


def test_a_folder_keeps_its_name(tmp_path):
    assert new_results_folder(tmp_path, "exp_ppo").name.startswith("exp_ppo_")
    assert new_results_folder(tmp_path, "scx_rusty", "gp", "9ep").name.startswith("scx_rusty_gp_9ep_")


def test_a_seed_that_was_asked_for_is_kept():
    assert choose_seed(0) == 0
    assert choose_seed(None) != choose_seed(None) or choose_seed(None) != choose_seed(None)


def test_what_was_put_back_though_not_to_the_letter_is_told_once(tmp_path, monkeypatch):
    """No kernel here does so: a knob says it after its real revert."""
    revert = Nice.revert
    monkeypatch.setattr(Nice, "revert", lambda knob, record: (revert(knob, record), Reverted.ALIKE)[1])
    monkeypatch.setattr(Nice, "alike", "but for a reason")
    with campaign(tmp_path, schedulers=[fair(include=["nice"]).with_values({"nice": 7})]) as opened:
        before = opened.warnings
        run_once(opened)
        run_once(opened)
        assert opened.warnings == (*before, "nice was put back: but for a reason")


def test_a_folder_without_trials_is_removed(tmp_path):
    with campaign(tmp_path) as opened:
        assert opened.folder.is_dir()
    assert not opened.folder.exists()


def test_a_folder_with_trials_stays_and_resumes_with_its_seed(tmp_path):
    with campaign(tmp_path) as opened:
        run_once(opened)
    with campaign(tmp_path, resume=opened.folder, seed=None) as again:
        assert again.spec.seed == 4
        run_once(again)
    identity, records = read_trials(opened.folder)
    assert len(records) == 2
    assert identity["experiment"] == "test"
    assert records[0].trial.manifest_hash == opened.manifest.stable_hash()


def test_a_resume_as_something_else_is_refused(tmp_path):
    with campaign(tmp_path) as opened:
        run_once(opened)
    resumed = campaign(tmp_path, resume=opened.folder, identity="2")
    with pytest.raises(StudyError, match="trials of another x"), resumed:
        pass


def test_a_command_that_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(WorkloadError), campaign(tmp_path, Workload(argv=("no-such-command-xyz",))):
        pass
    assert not (tmp_path / "results").exists()


def test_flags_of_a_sched_ext_scheduler_are_not_knobs_and_it_takes_the_whole_machine(tmp_path):
    eager = ParameterSpec(name="eager", type=ParameterType.BOOLEAN, default=False)
    other = SchedulerConfig(name="scx_mine", parameters={"eager": eager}, values={"eager": True})
    with campaign(tmp_path, schedulers=[fair(), other], turned=["eager"]):
        with pytest.raises(TargetBusyError, match="the whole machine"):
            require_free(Target())
        with pytest.raises(TargetBusyError), campaign(tmp_path):
            pass
    with campaign(tmp_path, schedulers=[fair()]), campaign(tmp_path):
        require_free(Target())


def test_a_rebuilt_scheduler_is_another_one(tmp_path):
    program = tmp_path / "scx_mine"
    program.write_text("1.0")
    mine = fair().model_copy(update={"binary_path": program})
    with campaign(tmp_path, schedulers=[mine]) as opened:
        run_once(opened)
    with campaign(tmp_path, schedulers=[mine], resume=opened.folder) as again:
        assert changed_since(again.folder, again.asked, again.spec) == []
    program.write_text("1.1")
    assert changed_since(opened.folder, opened.asked, opened.spec) == ["scheduler program"]
    with (
        pytest.raises(StudyError, match="another scheduler program"),
        campaign(tmp_path, schedulers=[mine], resume=opened.folder),
    ):
        pass


def test_what_a_former_version_did_not_write_down_can_be_continued(tmp_path):
    program = tmp_path / "scx_mine"
    program.write_text("1.0")
    mine = fair().model_copy(update={"binary_path": program})
    with campaign(tmp_path) as opened:
        run_once(opened)
    with campaign(tmp_path, schedulers=[mine], resume=opened.folder) as again:
        assert changed_since(again.folder, again.asked, again.spec) == []
