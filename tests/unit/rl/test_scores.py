"""Intervals of interquartile means hold, and a policy wins by the rule alone."""

import numpy as np
import pytest

from schedtuna.errors import EvidenceError
from schedtuna.rl.scores import interquartile_mean, judge


def test_the_middle_half_counts():
    scores = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 1e9]
    assert interquartile_mean(scores).mean == pytest.approx(4.5)


@pytest.mark.parametrize("draw", ["normal", "laplace", "standard_t"])
def test_ten_seeds_cover_what_is_said(draw):
    """Of symmetric scores, whose interquartile mean is 0: at least 94%, as measured over 2,000 trainings."""
    rng = np.random.default_rng(5)
    options = {"df": 3} if draw == "standard_t" else {}
    found = [interquartile_mean(getattr(rng, draw)(size=10, **options)) for _ in range(2000)]
    covered = np.mean([middle.low <= 0 <= middle.high for middle in found])
    assert 0.94 <= covered <= 0.985
    assert 0.94 <= np.mean([middle.lower_bound <= 0 for middle in found]) <= 0.985


def test_a_win_needs_a_bound_and_no_harm_elsewhere():
    rng = np.random.default_rng(1)
    better, same = 90 + rng.normal(0, 1, 10), 100 + rng.normal(0, 1, 10)
    assert judge(better, 100, same, 100).wins
    assert not judge(same, 100, better, 100).wins
    assert not judge(better, 100, same + 5, 100).wins
    assert judge(better, 100, same + 5, 100, margin=0.1).wins
    assert judge(better, 100, same, 100).gain.mean == pytest.approx(0.1, abs=0.01)


def test_nine_seeds_or_no_numbers_are_refused():
    with pytest.raises(EvidenceError, match="10 training seeds"):
        judge([1.0] * 9, 2, [1.0] * 9, 2)
    with pytest.raises(EvidenceError, match="more than 0"):
        judge([1.0] * 10, 0, [1.0] * 10, 2)
    with pytest.raises(EvidenceError, match="numbers"):
        interquartile_mean([1, 2, 3, np.nan])
