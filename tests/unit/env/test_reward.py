import numpy as np
import pytest

from schedtuna.env.reward import CLIP, ContextScale, RewardScale


def test_rewards_do_not_depend_on_the_unit_of_the_cost():
    rng = np.random.default_rng(0)
    costs = rng.standard_normal(50)
    small, large = RewardScale(), RewardScale()
    for cost in costs:
        a, b = small.reward(0.001 * cost), large.reward(1000 * cost)
    assert a == pytest.approx(b)


def test_a_failure_is_worse_than_the_worst_run():
    scale = RewardScale()
    worked = [scale.reward(cost) for cost in (0.0, 0.1, -0.1, 0.3, 0.2)]
    assert scale.reward(None) < min(worked)
    assert RewardScale().reward(None) == -1.0


def test_outliers_are_clipped_and_the_factor_multiplies():
    scale, doubled = RewardScale(), RewardScale(2.0)
    for cost in (0.0, 0.01, -0.01, 0.02, -0.02):
        assert doubled.reward(cost) == 2 * scale.reward(cost)
    assert scale.reward(1e6) == -CLIP


def test_contexts_are_scaled_by_those_seen():
    rng = np.random.default_rng(1)
    scale = ContextScale(2)
    rows = np.column_stack([1e9 + 1e6 * rng.standard_normal(2000), np.full(2000, 8.0)])
    scaled = np.array([scale.scale(row) for row in rows])
    assert scaled[0].tolist() == [0.0, 0.0]
    assert scaled[1000:, 0].mean() == pytest.approx(0, abs=0.1)
    assert scaled[1000:, 0].std() == pytest.approx(1, rel=0.1)
    assert np.all(scaled[:, 1] == 0)
    assert scaled.dtype == np.float32
