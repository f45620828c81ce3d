"""Ratios, shares and verdicts, with oracles from theory."""

import math

import numpy as np
import pytest
from scipy import stats

from schedtuna.agent.demo.figures import DemoRun, Interval, between, results_of, verdicts


def runs(latencies, work=None, acted=0):
    """One run per arm and block; `latencies` and `work`: arm -> a number per block."""
    work = work or {arm: [100.0] * len(values) for arm, values in latencies.items()}
    return [
        DemoRun(arm, block, {"p99_us": value, "ops_per_s": work[arm][block]}, acted, 10, 0.3)
        for arm, values in latencies.items()
        for block, value in enumerate(values)
    ]


def result(all_runs, arm):
    return next(one for one in results_of(all_runs, "p99_us", "ops_per_s") if one.arm == arm)


def test_the_interval_is_students_over_blocks():
    rng = np.random.default_rng(1)
    none, rules = rng.lognormal(5, 0.3, 6), rng.lognormal(4.5, 0.3, 6)
    found = result(runs({"none": none.tolist(), "rules": rules.tolist()}), "rules").latency
    logs = np.log(rules / none)
    low, high = stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs))
    assert (found.value, found.low, found.high) == pytest.approx(
        (math.exp(logs.mean()), math.exp(low), math.exp(high))
    )


def test_the_share_of_the_oracles_gain_covers_the_truth():
    """The oracle gains 1.0 in logarithms, the policy 0.7, with noise that blocks share."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        base = rng.normal(5, 0.5, 5)
        arms = {"none": 0.0, "rules": -0.7, "oracle": -1.0}
        made = {arm: np.exp(base + gain + rng.normal(0, 0.15, 5)).tolist() for arm, gain in arms.items()}
        share = result(runs(made), "rules").share
        covered += share.low <= 0.7 <= share.high
    assert 0.92 <= covered / 400 <= 0.985


def test_no_share_is_told_of_a_gain_that_is_not_sure():
    rng = np.random.default_rng(3)
    noise = {arm: rng.lognormal(5, 0.5, 4).tolist() for arm in ("none", "rules", "oracle")}
    assert math.isnan(result(runs(noise), "rules").share.value)
    assert "nothing can be said" in verdicts(runs(noise, acted=5), "p99_us", "ops_per_s", ["rules"])[0]


def test_one_block_gives_no_interval():
    found = result(runs({"none": [2.0], "rules": [1.0]}), "rules")
    assert found.latency.value == 0.5
    assert found.latency.tell() == "x0.50 [0.00, inf]" or "unknown" in found.latency.tell()


@pytest.mark.parametrize(("gain", "told"), [(0.95, "at least 80% is shown"), (0.3, "less than 80% is shown")])
def test_the_verdict_says_whether_the_share_is_large(gain, told):
    rng = np.random.default_rng(4)
    base = rng.normal(5, 0.1, 8)
    made = {
        arm: np.exp(base - amount + rng.normal(0, 0.02, 8)).tolist()
        for arm, amount in {"none": 0, "one-liner": 0.9, "rules": gain, "oracle": 1}.items()
    }
    lines = verdicts(runs(made, acted=5), "p99_us", "ops_per_s", ["rules"])
    assert told in lines[0]
    assert ("better" if gain > 0.9 else "worse") in lines[1]


def test_what_rounds_to_nothing_is_neither_better_nor_worse():
    made = {"none": [9.0] * 3, "one-liner": [5.0] * 3, "rules": [4.0, 4.1, 4.2], "oracle": [4.0, 4.1, 4.2]}
    work = {arm: [100.0] * 3 for arm in made} | {"rules": [99.9, 99.91, 99.9]}
    line = verdicts(runs(made, work, acted=5), "p99_us", "ops_per_s", ["rules"])[1]
    assert "(better), ops_per_s x1.00 [1.00, 1.00] (the same within 1%)" in line


@pytest.mark.parametrize(("acted", "told"), [(0, "finds nothing"), (5, "does harm")])
def test_an_oracle_that_gains_nothing_is_not_blamed_on_noise(acted, told):
    made = {"none": [9.0, 9.1], "one-liner": [9.0, 9.1], "rules": [9.0, 9.1], "oracle": [9.9, 10.0]}
    assert told in verdicts(runs(made, acted=acted), "p99_us", "ops_per_s", ["rules"])[0]


def test_the_cost_where_nothing_can_be_gained():
    same = {"none": [100.0, 101.0, 99.0], "rules": [100.1, 101.0, 99.1]}
    made = runs({arm: [1.0] * 3 for arm in same}, same)
    line = verdicts(made, "", "ops_per_s", ["rules"])[0]
    assert "rules: changes nothing; " in line
    assert "costs less than 1%" in line
    dear = {"none": [100.0, 101.0, 99.0], "rules": [90.0, 91.0, 89.0]}
    line = verdicts(runs({arm: [1.0] * 3 for arm in dear}, dear, acted=5), "", "ops_per_s", ["rules"])[0]
    assert "changes 50.0% of the threads" in line
    assert "costs more than 1%" in line


def test_a_block_without_a_figure_is_left_out():
    made = runs({"none": [2.0, 2.0, 2.0], "rules": [1.0, math.nan, 1.0]})
    assert between(made, "rules", "none", "p99_us").value == pytest.approx(0.5)


def test_bounds_that_say_nothing_are_told_shortly():
    assert Interval(1.29, 0.001, 76094.97).tell() == "x1.29 [<0.01, >100]"
    assert Interval(1.29, 1.01, 1.57).tell() == "x1.29 [1.01, 1.57]"
