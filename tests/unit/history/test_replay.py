from typing import Any

import numpy as np
import pytest
from tests.unit.tune.studies import make_study
from tests.unit.tune.surface import SCHEDULER, no_gain, smooth_gain

from schedtuna.errors import UsageError
from schedtuna.history.replay import (
    agreement,
    best_combinations,
    one_space,
    pooled,
    pretrain_agent,
    score,
    statistics,
)
from schedtuna.history.studies import find_studies
from schedtuna.workload.spec import Workload


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_study(folder / "a", seed=1)
    make_study(folder / "b", seed=2)
    make_study(folder / "c", no_gain, noise=0.05, seed=3, episodes=20, workload=Workload(argv=("other",)))
    found, _ = find_studies([folder])
    return found


def test_statistics_describe_the_search(studies):
    scored, unusable = score(studies)
    row = statistics(scored[0])
    costs = np.array([run.cost for run in scored[0].search])
    assert unusable == {}
    assert (row["episodes"], row["success_rate"], row["verdict"]) == (40, 1.0, "improved")
    assert row["reward"]["mean"] == pytest.approx(-costs.mean())
    assert row["reward"]["sd"] == pytest.approx(costs.std(ddof=1))
    assert row["reward"]["max"] == pytest.approx(-costs.min())
    assert statistics(scored[2])["noise_sd"] == pytest.approx(0.05, rel=0.4)


def test_a_limit_shortens_the_search_only(studies):
    (first, *_), _ = score(studies, max_episodes=5)
    (whole, *_), _ = score(studies)
    assert len(first.search) == 5
    assert len(whole.every) - len(first.every) == 35


def test_studies_of_one_question_are_pooled(studies):
    groups = pooled(score(studies)[0])
    assert [[scored.study.folder.name for scored in group] for group in groups] == [["a", "b"], ["c"]]


def test_the_best_settings_are_good_ones_and_lucky_single_runs_are_shrunken(studies):
    group, other = pooled(score(studies)[0])
    best = best_combinations(group, 5)
    assert len(best) == 5
    truth = [smooth_gain(SCHEDULER.space.validate_assignment(row["parameters"])) for row in best]
    assert np.mean(truth) < -0.1
    assert [row["reward"] for row in best] == sorted((row["reward"] for row in best), reverse=True)
    low, high = best[0]["change_95"]
    assert low < best[0]["change"] < high
    luckiest = min(run.cost for run in other[0].every if run.cost is not None)
    assert -best_combinations(other, 1)[0]["reward"] > luckiest / 2  # nothing is better than the default


def test_another_reward_scores_history_anew(studies):
    own, _ = score(studies)
    turned, _ = score(studies, metrics=["wall_time_s:max"])
    assert agreement(own[0], own[0]) == pytest.approx(1)
    assert agreement(own[0], turned[0]) == pytest.approx(-1)
    assert statistics(turned[0])["metrics"] == ["wall_time_s:max"]


def test_studies_without_the_metric_are_left_out_or_refused(studies):
    with pytest.raises(UsageError, match="did you mean wall_time_s"):
        score(studies, metrics=["wall_times:min"])


def test_only_one_space_can_be_pooled(studies, tmp_path):
    narrow = SCHEDULER.model_copy(update={"parameters": {"slice_us": SCHEDULER.parameters["slice_us"]}})
    make_study(tmp_path / "d", scheduler=narrow, episodes=10)
    others, _ = find_studies([tmp_path])
    space, runs, notes = one_space(score(studies)[0])
    assert space == SCHEDULER.space
    assert len(runs) > 100
    assert "different commands" in notes[0]
    with pytest.raises(UsageError, match=r"different spaces: .* with slice_us, policy; .* with slice_us$"):
        one_space(score([*studies, *others])[0])


def test_spaces_of_the_same_names_are_told_apart_by_what_differs(tmp_path):
    for name, default in (("a", 3000), ("b", 500)):
        spec = SCHEDULER.parameters["slice_us"].model_copy(update={"default": default})
        parameters = {**SCHEDULER.parameters, "slice_us": spec}
        make_study(
            tmp_path / name, scheduler=SCHEDULER.model_copy(update={"parameters": parameters}), episodes=8
        )
    with pytest.raises(UsageError, match=r"with slice_us default 3000; .* with slice_us default 500$"):
        one_space(score(find_studies([tmp_path])[0])[0])


def test_an_agent_starts_where_history_ended(studies, tmp_path):
    pytest.importorskip("stable_baselines3")
    from schedtuna.samplers.registry import make_sampler

    group, _ = pooled(score(studies)[0])
    path = tmp_path / "agent.pt"
    trained = pretrain_agent(group, path, algorithm="ppo", epochs=40, seed=1)
    assert trained["runs"] == 80
    rng = np.random.default_rng(0)
    fresh: Any = make_sampler("ppo", SCHEDULER.space, budget=40, rng=rng, pretrained=path)
    fresh.tell(group[0].every[0])
    drawn = [smooth_gain(fresh.propose()) for _ in range(100)]
    assert np.mean(drawn) < np.mean([smooth_gain(SCHEDULER.space.sample(rng)) for _ in range(300)]) - 0.02


def test_a_sampler_without_a_network_cannot_be_trained(studies, tmp_path):
    with pytest.raises(UsageError, match="no network"):
        pretrain_agent(score(studies)[0], tmp_path / "x.pt", algorithm="gp", epochs=1, seed=1)
