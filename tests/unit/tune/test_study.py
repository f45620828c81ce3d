import json

import pytest
from tests.unit.tune.surface import SCHEDULER, SurfaceBackend, no_gain, smooth_gain

from schedtuna.errors import StudyError, UnavailableError, UsageError
from schedtuna.experiment.triallog import TrialLog
from schedtuna.history.plan import PLAN_NAME, StudyPlan
from schedtuna.history.results import summary
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.random import RandomSampler
from schedtuna.tune.page import study_page
from schedtuna.tune.search import best_alternative
from schedtuna.tune.study import Study
from schedtuna.workload.spec import Direction, MetricSpec, Workload


def plan(**changes):
    base = {
        "scheduler": SCHEDULER,
        "workload": Workload(argv=("load",)),
        "metrics": (MetricSpec(name="wall_time_s", direction=Direction.MIN),),
        "sampler": "random",
        "budget": 90,
        "seed": 7,
    }
    return StudyPlan.model_validate(base | changes)


def run(folder, backend, machine="one", *, fixed=(), **changes):
    chosen = plan(**changes)
    identity = {**chosen.identity(), "machine": machine, "workload": chosen.workload.model_dump_json()}
    with TrialLog(folder, identity) as log:
        return Study(chosen, backend, log, fixed=fixed).run()


class Forgetful(RandomSampler):
    """Keeps no history, and prefers the default."""

    def ask(self):
        return self.space.sample(self.rng)

    def tell(self, observation):
        pass

    def recommend(self):
        return self.space.default()


class Silent(RandomSampler):
    def ask(self):
        return None


class Wild(RandomSampler):
    def recommend(self):
        return {"no_such_parameter": 1}


def test_the_best_other_setting_is_confirmed_though_the_sampler_keeps_no_history(tmp_path):
    result = run(tmp_path, SurfaceBackend(smooth_gain), sampler=f"{__name__}:Forgetful", episodes=12)
    assert result.candidate
    assert result.comparison.nr_runs >= 12


@pytest.mark.parametrize(
    ("name", "says"), [("Silent", "Silent asked for None"), ("Wild", "Wild recommended .*no_such_parameter")]
)
def test_a_sampler_that_breaks_its_contract_is_named(tmp_path, name, says):
    with pytest.raises(StudyError, match=says) as raised:
        run(tmp_path, SurfaceBackend(no_gain), sampler=f"{__name__}:{name}", episodes=2)
    assert "check_sampler" in str(raised.value.hint)


def test_a_real_gain_is_found_and_confirmed(tmp_path):
    backend = SurfaceBackend(smooth_gain)
    result = run(tmp_path, backend)
    assert result.comparison.verdict == "improved"
    assert result.best == result.candidate
    assert smooth_gain(SCHEDULER.space.validate_assignment(result.candidate)) < -0.05


def test_no_gain_is_not_claimed_and_the_default_stays(tmp_path):
    result = run(tmp_path, SurfaceBackend(no_gain))
    assert result.comparison.verdict != "improved"
    assert result.best is None


def test_the_budget_counts_every_run(tmp_path):
    backend = SurfaceBackend(no_gain, noise=0.2)
    result = run(tmp_path, backend, budget=60)
    assert len(backend.runs) <= 60
    assert result.nr_search_runs + result.comparison.nr_runs == len(backend.runs)


def test_the_claim_rests_on_fresh_runs_only(tmp_path):
    result = run(tmp_path, SurfaceBackend(smooth_gain))
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()[1:]]
    searched = {(line["phase"], line["index"]) for line in lines if line["phase"] != "confirmation"}
    confirmed = [line for line in lines if line["phase"] == "confirmation"]
    assert len(confirmed) == result.comparison.nr_runs
    assert not searched & {(line["phase"], line["index"]) for line in confirmed}
    assert lines.index(confirmed[0]) == len(searched)


@pytest.mark.parametrize("sampler", ["random", f"{__name__}:Forgetful"])
def test_what_can_not_be_set_any_more_is_neither_tried_nor_confirmed(tmp_path, sampler):
    """Though it was best: all of the gain lies in the slice."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SurfaceBackend(smooth_gain, dies_at=25), sampler=sampler)
    second = SurfaceBackend(smooth_gain)
    result = run(tmp_path, second, sampler=sampler, fixed={"slice_us": "this kernel has none"})
    assert result.candidate
    assert "slice_us" not in result.candidate
    assert second.runs
    assert not any("slice_us" in values for values, _ in second.runs)


@pytest.mark.parametrize("dies_at", [1, 4, 20, 50, 60])
def test_an_interrupted_study_continues_where_it_was(tmp_path, dies_at):
    whole = SurfaceBackend(smooth_gain)
    expected = run(tmp_path / "whole", whole)
    first = SurfaceBackend(smooth_gain, dies_at=dies_at)
    if dies_at < expected.nr_search_runs:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", first)
    else:
        run(tmp_path / "cut", first)
    second = SurfaceBackend(smooth_gain)
    second.runs = list(first.runs)  # the noise goes on where it was
    run(tmp_path / "cut", second)
    lines = (tmp_path / "cut" / "trials.jsonl").read_text().splitlines()[1:]
    keys = [(json.loads(line)["phase"], json.loads(line)["index"]) for line in lines]
    assert len(keys) == len(set(keys)) == len(second.runs)


@pytest.mark.parametrize(
    ("changes", "machine", "word"),
    [
        ({"workload": Workload(argv=("other",))}, "one", "workload"),
        ({"scheduler": SCHEDULER.model_copy(update={"parameters": {}})}, "one", "space"),
        ({}, "two", "machine"),
    ],
)
def test_a_resume_elsewhere_is_refused(tmp_path, changes, machine, word):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SurfaceBackend(no_gain, dies_at=5))
    with pytest.raises(StudyError, match=word):
        run(tmp_path, SurfaceBackend(no_gain), machine, **changes)


def test_a_default_that_never_works_is_an_error_with_its_output(tmp_path):
    with pytest.raises(StudyError, match="boom"):
        run(tmp_path, SurfaceBackend(no_gain, fails=lambda values: True))


def test_candidates_that_all_fail_are_an_error(tmp_path):
    default = SCHEDULER.space.default()
    with pytest.raises(StudyError, match="nothing to confirm"):
        run(tmp_path, SurfaceBackend(no_gain, fails=lambda values: values != default))


def test_a_winner_that_never_works_again_gets_no_verdict(tmp_path):
    backend = SurfaceBackend(smooth_gain)
    defaults = SCHEDULER.space.validate_assignment({})
    searched = 1 + plan().baseline_runs + plan().split(0.0)[0]
    backend.fails = lambda values: len(backend.runs) >= searched and values != defaults
    with pytest.raises(
        StudyError, match=r"no verdict: fair:.* failed in each of its 4 runs.*: exit code 1\n.*\nboom"
    ):
        run(tmp_path, backend)
    assert len(backend.runs) == searched - 1 + 12
    assert not (tmp_path / "result.json").exists()


def test_a_budget_without_a_search_is_refused(tmp_path):
    with pytest.raises(UsageError, match="a budget of 14 runs leaves none to search with"):
        run(tmp_path, SurfaceBackend(no_gain), budget=14)


def test_a_plan_survives_its_file(tmp_path):
    plan().write(tmp_path)
    assert StudyPlan.read(tmp_path) == plan()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 99}', '{"version": 1}', '{"version": 1, "budget": "x"}']
)
def test_a_damaged_plan_is_an_error(tmp_path, content):
    (tmp_path / PLAN_NAME).write_text(content)
    with pytest.raises(StudyError):
        StudyPlan.read(tmp_path)


def test_the_best_alternative_is_judged_by_its_median():
    def seen(slice_us, cost):
        return Observation({"slice_us": slice_us}, cost)

    history = [seen(1, -0.9), seen(1, 0.5), seen(1, 0.5), seen(2, -0.1), seen(3, 0.0), seen(4, None)]
    assert best_alternative(history, {"slice_us": 3}) == {"slice_us": 2}


def test_episodes_are_runs_of_the_search_alone(tmp_path):
    result = run(tmp_path, SurfaceBackend(no_gain), episodes=12)
    assert len(result.searches[0].records) == 12
    assert result.comparison.nr_runs >= 12


def test_a_bake_off_gives_every_sampler_that_was_planned_the_same_runs(tmp_path):
    """Whoever resumes it may have other samplers installed."""
    backend = SurfaceBackend(smooth_gain)
    names = {"samplers": ["random", "gp", "ucb"]}
    result = run(tmp_path, backend, sampler="all", sampler_options=names, budget=150)
    assert [outcome.sampler for outcome in result.searches] == ["random", "gp", "ucb"]
    assert len({len(outcome.records) for outcome in result.searches}) == 1
    assert all(len(outcome.playoff) == 3 for outcome in result.searches)
    assert result.nr_search_runs + result.comparison.nr_runs == len(backend.runs) <= 150
    assert result.comparison.verdict == "improved"


def test_a_bake_off_needs_runs_for_everybody(tmp_path):
    with pytest.raises(UsageError, match="too few for a bake-off"):
        run(tmp_path, SurfaceBackend(no_gain), sampler="all", budget=40)


def test_hopeless_runs_are_cut_short_in_the_search_only(tmp_path):
    backend = SurfaceBackend(smooth_gain)
    result = run(tmp_path, backend, budget=60, workload=Workload(argv=("load",), timeout_s=300))
    first, searched = backend.timeouts_s[0], backend.timeouts_s[5]
    assert (first, searched, backend.timeouts_s[-1]) == (300, 8, 300)
    assert result.plan.workload.timeout_s == 300


def test_settings_that_exclude_each_other_are_learned_from(tmp_path):
    class Refuses(SurfaceBackend):
        def run(self, workload, scheduler, *, seed, nth=0):
            if scheduler.values.get("policy") == "idle":
                raise UnavailableError("slice_us can't be changed under policy idle")
            return super().run(workload, scheduler, seed=seed)

    result = run(tmp_path, Refuses(smooth_gain), budget=60)
    refused = [record for record in result.searches[0].records if record.trial.validity == "failed"]
    assert refused
    assert all("policy idle" in record.trial.reason for record in refused)
    assert result.candidate.get("policy") != "idle"


def test_a_confirmation_that_has_begun_keeps_its_budget(tmp_path):
    first = run(tmp_path, SurfaceBackend(smooth_gain), budget=60)
    with pytest.raises(StudyError, match="budget was 60, is 90"):
        run(tmp_path, SurfaceBackend(smooth_gain), budget=90)
    with pytest.raises(StudyError, match="delta was"):
        run(tmp_path, SurfaceBackend(smooth_gain), budget=60, delta=0.01)
    again = run(tmp_path, SurfaceBackend(smooth_gain), budget=60)
    assert again.comparison.summary() == first.comparison.summary()


def test_a_search_may_get_another_budget(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SurfaceBackend(smooth_gain, dies_at=8), budget=60)
    run(tmp_path, SurfaceBackend(smooth_gain), budget=90)
    assert StudyPlan.read(tmp_path).budget == 90


class SlowBackend(SurfaceBackend):
    """Settings other than the default take ten times as long; time passes with the runs alone."""

    now_s = 0.0

    def run(self, workload, scheduler, *, seed, nth=0):
        trial = super().run(workload, scheduler, seed=seed)
        duration_s = 10.0 if scheduler.values else 1.0
        self.now_s += duration_s
        return trial.model_copy(update={"duration_s": duration_s})


def run_timed(folder, backend, **changes):
    chosen = plan(time_limit_s=400.0, **changes)
    with TrialLog(folder, {**chosen.identity(), "machine": "one"}) as log:
        return Study(chosen, backend, log, clock=lambda: backend.now_s).run()


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_the_clock_ends_a_search_of_slow_settings(tmp_path, sampler):
    backend = SlowBackend(smooth_gain)
    result = run_timed(tmp_path, backend, sampler=sampler)
    assert 300 < backend.now_s < 440  # by the default's second per run it would be 4000
    assert result.comparison.verdict == "improved"
    assert StudyPlan.read(tmp_path).confirmation_runs >= result.comparison.nr_runs >= 12


def test_a_timed_study_goes_on_as_it_was_planned(tmp_path):
    backend = SlowBackend(smooth_gain)
    whole = run_timed(tmp_path, backend)
    log = tmp_path / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-4]))  # within the confirmation
    again = SlowBackend(smooth_gain)
    again.runs = [*backend.runs[:-4]]
    result = run_timed(tmp_path, again)
    assert len(again.runs) == len(backend.runs)
    assert result.nr_search_runs == whole.nr_search_runs
    assert result.comparison.result == whole.comparison.result


def test_a_sampler_of_which_nothing_worked_leaves_the_bake_off_to_the_others(tmp_path):
    backend = SurfaceBackend(smooth_gain)
    nr_baseline, share = 3, 20
    mine = range(nr_baseline, nr_baseline + share)  # the runs of `random`, which searches first
    backend.fails = lambda values: values != SCHEDULER.space.default() and len(backend.runs) - 1 in mine
    names = {"samplers": ["random", "ucb"]}
    result = run(tmp_path, backend, sampler="all", sampler_options=names, episodes=2 * (share + 3))
    loser, winner = result.searches
    assert (loser.candidate, len(loser.records), list(loser.playoff)) == ({}, share, [None])
    assert result.winner is winner
    assert result.nr_search_runs + result.comparison.nr_runs == len(backend.runs)
    found = summary(result)["samplers"][0]
    assert (found["sampler"], found["candidate"]) == ("random", {})
    assert "nothing that it tried worked" in str(study_page(result, {}))
