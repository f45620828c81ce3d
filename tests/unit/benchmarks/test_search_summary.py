"""What the table of the search benchmark states, on curves whose answer is known."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from search_summary import BUDGETS, MARKS, PEER, summary

OURS = "gp"
SEEDS, GROUPS = (0, 1, 2), [(3, 0.02), (6, 0.1)]


def search(sampler: str, curve: Callable[[float], float], **place: Any) -> dict[str, Any]:
    """A search whose nominated and deployed regrets follow a curve over its runs."""
    marks = [
        {"runs": runs, "nominated": curve(runs) / 2, "deployed": curve(runs), "confirmed": 0.0, "seen": False}
        for runs in MARKS
    ]
    return {"seed": 0, "nr_parameters": 3, "cv": 0.02, "kind": "smooth", **place} | {
        "sampler": sampler,
        "marks": marks,
    }


def by_speed(times: float) -> Callable[[float], float]:
    """A regret that falls with the logarithm of so many times the runs."""
    return lambda runs: 10 - math.log(times * runs)


def everywhere(sampler: str, curve: Callable[[float], float]) -> list[dict[str, Any]]:
    return [
        search(sampler, curve, seed=seed, nr_parameters=nr_parameters, cv=cv)
        for seed in SEEDS
        for nr_parameters, cv in GROUPS
    ]


@pytest.mark.parametrize("times", [1, 2, 3.5])
def test_a_sampler_that_is_so_many_times_faster_saves_as_many_runs(times):
    rows = everywhere(OURS, by_speed(times)) + everywhere(PEER, by_speed(1))
    random.Random(1).shuffle(rows)
    report = summary(rows, OURS)
    assert report["surfaces"] == len(SEEDS) * len(GROUPS)
    for budget in BUDGETS:
        saved = report["runs_saved"][str(budget)]
        first = budget / MARKS[0]  # earlier than the first mark is not seen
        assert saved["times_fewer_runs"] == pytest.approx(min(times, first), abs=0.01)
        assert saved["ci95"] == pytest.approx([min(times, first)] * 2, abs=0.01)
        assert saved["groups"] == len(GROUPS)
        assert saved["groups_where_optuna_was_never_reached"] == 0


def test_a_regret_that_is_never_reached_counts_as_twice_the_longest_search():
    rows = everywhere(OURS, lambda _runs: 9.0) + everywhere(PEER, lambda _runs: 1.0)
    saved = summary(rows, OURS)["runs_saved"]["100"]
    assert saved["times_fewer_runs"] == 100 / 400
    assert saved["groups_where_optuna_was_never_reached"] == len(GROUPS)


def test_the_interval_holds_the_spread_between_surfaces():
    fast = [row for row in everywhere(OURS, by_speed(4)) if row["seed"] == 0]
    slow = [row for row in everywhere(OURS, by_speed(1)) if row["seed"] > 0]
    low, high = summary(fast + slow + everywhere(PEER, by_speed(1)), OURS)["runs_saved"]["100"]["ci95"]
    assert low == pytest.approx(1.0)
    assert 1.5 < high < 4.5


def test_regrets_are_means_by_budget_and_by_noise():
    rows = [*everywhere(OURS, by_speed(1)), search(OURS, lambda _runs: 1.0, seed=9)]
    report = summary(rows, OURS)
    assert "runs_saved" not in report  # nothing to compare it with
    regret = report["regret_percent"][OURS]["50"]
    at_50 = 10 - math.log(50)
    assert regret["confirmed"] == pytest.approx((6 * at_50 + 1) / 7, abs=0.01)
    assert regret["nominated"] == pytest.approx((6 * at_50 + 1) / 14, abs=0.01)
    assert regret["confirmed_by_cv"] == {
        "0.02": pytest.approx((3 * at_50 + 1) / 4, abs=0.01),
        "0.1": pytest.approx(at_50, abs=0.01),
    }


def test_only_surfaces_that_every_sampler_finished_are_compared():
    rows = everywhere(OURS, by_speed(1)) + everywhere(PEER, by_speed(1))
    whole = summary(rows, OURS)
    stopped = [*rows, search(OURS, lambda _runs: 1000.0, seed=9)]
    assert summary(stopped, OURS) == whole


def test_claims_on_flat_surfaces_are_false_and_counted_apart():
    flat = search(OURS, lambda _runs: 0.0, kind="flat")
    for mark in flat["marks"]:
        mark["seen"] = mark["runs"] in (50, 100)
        mark["confirmed"] = 0.25 if mark["runs"] == 200 else 0.0
    report = summary([*everywhere(OURS, by_speed(1)), flat], OURS)
    assert (report["surfaces"], report["flat_surfaces"]) == (6, 1)
    assert report["false_claims_percent"][OURS] == {
        "by_its_own_runs": pytest.approx(66.67),
        "searches": 3,
        "confirmed": pytest.approx(8.33),
    }
    assert report["regret_percent"][OURS]["50"]["confirmed"] == pytest.approx(10 - math.log(50), abs=0.01)
