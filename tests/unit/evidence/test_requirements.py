import math

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp

from schedtuna.errors import EvidenceError
from schedtuna.evidence.requirements import Outcome, judge_requirement, least_runs
from schedtuna.workload.spec import Requirement


def rule(operator, bound):
    return Requirement(metric="rps", operator=operator, bound=bound)


@pytest.mark.parametrize(
    ("operator", "bound", "outcome"),
    [
        (">=", 0.5, Outcome.MET),
        (">=", 1.0, Outcome.MET),
        (">", 1.0, Outcome.UNDECIDED),
        (">=", 3.0, Outcome.UNDECIDED),
        (">=", 6.5, Outcome.NOT_MET),
        ("<=", 6.0, Outcome.MET),
        ("<", 6.0, Outcome.UNDECIDED),
        ("<", 1.0, Outcome.NOT_MET),
    ],
)
def test_the_whole_interval_decides(operator, bound, outcome):
    """Six runs: the interval of the median is from the least to the greatest (96.9%)."""
    judged = judge_requirement(rule(operator, bound), [3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    assert judged.interval == (1.0, 6.0)
    assert judged.estimate == 3.5
    assert judged.outcome is outcome


def test_five_runs_cannot_bound_a_median():
    judged = judge_requirement(rule(">=", 1.0), [9.0] * 5)
    assert judged.interval == (-math.inf, math.inf)
    assert judged.outcome is Outcome.UNDECIDED


def test_failed_runs_are_the_worst_values():
    runs = [10.0] * 8
    assert judge_requirement(rule(">=", 5), runs).outcome is Outcome.MET
    failing = [*runs[:6], None, None]
    judged = judge_requirement(rule(">=", 5), failing)
    assert judged.outcome is Outcome.UNDECIDED
    assert judged.failures == 2
    assert judge_requirement(rule(">=", 5), [None] * 8).outcome is Outcome.NOT_MET
    assert judge_requirement(rule("<=", 50), [None] * 8).outcome is Outcome.NOT_MET
    assert judge_requirement(rule("<=", 50), failing, of="mean").outcome is Outcome.NOT_MET


def test_the_medians_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        judged = judge_requirement(rule(">=", 0.0), rng.lognormal(0, 1, 15).tolist())
        hits += judged.interval[0] <= 1.0 <= judged.interval[1]
    assert hits / 1000 > 0.93  # nominally 96.5% at n = 15


def test_the_means_interval_is_students():
    runs = np.random.default_rng(2).normal(10, 2, 12)
    judged = judge_requirement(rule(">=", 0.0), runs.tolist(), of="mean", confidence=0.9)
    expected = ttest_1samp(runs, 0.0).confidence_interval(0.9)
    assert judged.interval == pytest.approx((expected.low, expected.high))
    resampled = bootstrap((runs,), np.mean, confidence_level=0.9, rng=np.random.default_rng(3))
    assert judged.interval == pytest.approx(tuple(resampled.confidence_interval), abs=0.6)
    assert judge_requirement(rule(">=", 0.0), [3.0], of="mean").outcome is Outcome.UNDECIDED


def test_nothing_to_judge_is_refused():
    with pytest.raises(EvidenceError, match="no run"):
        judge_requirement(rule(">=", 1), [])
    with pytest.raises(EvidenceError, match="nan"):
        judge_requirement(rule(">=", 1), [1.0, math.nan])
    with pytest.raises(EvidenceError, match="confidence"):
        judge_requirement(rule(">=", 1), [1.0], confidence=95)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975, 0.99])
def test_the_fewest_runs_that_bound_a_median_are_enough_and_no_more(confidence):
    rule = Requirement(metric="x", operator="<=", bound=1.0)
    least = least_runs(confidence)
    outcomes = [judge_requirement(rule, [0.5] * n, confidence=confidence).outcome for n in (least - 1, least)]
    assert outcomes == ["undecided", "met"]
