"""The gate opens for gains that are shown, as often for nothing as its confidence says, and says why."""

import math

import numpy as np
import pytest
from scipy import stats

from schedtuna.errors import EvidenceError
from schedtuna.evidence.gate import judge_gate


def test_a_gain_that_all_groups_share_passes():
    gains = [0.04, 0.05, 0.06, 0.05, 0.04, 0.05]
    found = judge_gate(gains)
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert found.passed and found.nr_groups == 6
    assert (found.low, found.high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("gains", "options", "why"),
    [
        ([], {}, "0 groups"),
        ([1.0], {}, "1 groups"),
        ([1.0, 1.0, 1.0, 1.0], {}, "5 are needed"),
        ([1.0, -1.0, 0.5, -0.5, 0.2], {}, "no gain is shown"),
        ([0.0] * 9, {}, "no gain is shown"),
        ([-1.0, -1.1, -0.9, -1.0, -1.0], {}, "worse"),
        ([0.04, 0.05, 0.06, 0.05, 0.04, 0.05], {"least_gain": 0.05}, "more than 0.05"),
    ],
)
def test_it_stays_shut_and_says_why(gains, options, why):
    found = judge_gate(gains, **options)
    assert not found.passed and why in found.why


def test_nothing_passes_as_often_as_its_confidence_says():
    """Two-sided 95%: by luck, one of 40 attempts with data of its own passes."""
    random = np.random.default_rng(3)
    passed = sum(judge_gate(random.normal(0, 1, 6).tolist()).passed for _ in range(2000))
    assert stats.binomtest(passed, 2000, 0.025).pvalue > 0.001


@pytest.mark.parametrize(
    ("gains", "options"),
    [
        ([1.0, math.nan], {}),
        ([[1.0, 2.0]], {}),
        ([1.0] * 5, {"least_groups": 1}),
        ([1.0] * 5, {"confidence": 1.0}),
        ([1.0] * 5, {"least_gain": -1.0}),
    ],
)
def test_what_can_not_be_judged_is_refused(gains, options):
    with pytest.raises(EvidenceError, match=r"expected|finite"):
        judge_gate(gains, **options)
