"""Deciders: floors, what they learn, and that the network's gradient is that of what is drawn from."""

import numpy as np
import pytest

from schedtuna.agent.swap.deciders import (
    FLOOR,
    EpsilonGreedyDecider,
    LinUcbDecider,
    RegimeDecider,
    SwapSight,
    UcbDecider,
    one_hot,
    with_floor,
)
from schedtuna.agent.swap.softmax import BASELINE_WEIGHT, ENTROPY, STAY, SoftmaxDecider
from schedtuna.errors import PolicyError

NR_ARMS, NR_OBSERVED = 3, 5


def sight(*observation, current=0, allowed=(True, True, True), values=None):
    numbers = np.array(observation or (0.5,) * NR_OBSERVED, np.float32)
    return SwapSight(numbers, values or {}, current, np.array(allowed))


def makers():
    rng = np.random.default_rng(1)
    return {
        "bandit": lambda: LinUcbDecider(NR_ARMS, NR_OBSERVED),
        "softmax": lambda: SoftmaxDecider(NR_ARMS, NR_OBSERVED, rng, learning_rate=0.05),
    }


@pytest.mark.parametrize("name", makers())
def test_each_allowed_arm_keeps_its_share_however_bad_it_was(name):
    decider = makers()[name]()
    for _ in range(200):
        decider.learn(sight(), 1, 0.5, 5.0)
        decider.learn(sight(), 2, 0.5, 0.1)
    found = decider.propensities(sight())
    assert found.sum() == pytest.approx(1)
    assert found.min() >= FLOOR - 1e-12
    assert found.argmax() == 2
    assert found[1] < 0.1
    without = decider.propensities(sight(allowed=(True, True, False)))
    assert without[2] == 0
    assert without.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", makers())
def test_it_learns_which_arm_is_good_under_which_load(name):
    decider, rng = makers()[name](), np.random.default_rng(7)
    good = {0: 1, 1: 2}
    for _ in range(1500):
        regime = int(rng.integers(2))
        seen = sight(regime, 1 - regime, 0.3, 0.3, 0.3, current=int(rng.integers(NR_ARMS)))
        shares = decider.propensities(seen)
        action = int(rng.choice(NR_ARMS, p=shares))
        cost = (0.6 if action == good[regime] else 1.3) + rng.normal(0, 0.1)
        decider.learn(seen, action, float(shares[action]), cost)
    for regime, arm in good.items():
        assert decider.propensities(sight(regime, 1 - regime, 0.3, 0.3, 0.3)).argmax() == arm


def entropy_of(decider, seen):
    """Of the softmax alone, by what is drawn from: its floor and stay taken off."""
    shares = (decider.propensities(seen) - FLOOR) / (1 - NR_ARMS * FLOOR)
    soft = (shares - STAY * one_hot(seen.current, NR_ARMS)) / (1 - STAY)
    return -(soft * np.log(soft)).sum()


def test_the_gradient_is_that_of_cost_over_baseline_times_log_of_what_was_drawn_from_less_entropy():
    seen, action, cost = sight(0.1, 0.9, 0.4, 0.2, 0.6, current=1), 2, 1.7
    decider = SoftmaxDecider(NR_ARMS, NR_OBSERVED, np.random.default_rng(3), hidden=(4, 3))
    before = [one.copy() for one in decider._weights]
    gradients = []
    for i, weights in enumerate(before):
        numeric = np.zeros_like(weights)
        for place in np.ndindex(weights.shape):
            both = []
            for step in (1e-6, -1e-6):
                decider._weights = [one.copy() for one in before]
                decider._weights[i][place] += step
                log = np.log(decider.propensities(seen)[action])
                both.append((cost - 1.0) * log - ENTROPY * entropy_of(decider, seen))
            numeric[place] = (both[0] - both[1]) / 2e-6
        gradients.append(numeric)
    decider._weights = [one.copy() for one in before]
    decider.learn(seen, action, float(decider.propensities(seen)[action]), cost)
    for moment, numeric in zip(decider._moments[0], gradients, strict=True):
        np.testing.assert_allclose(moment / 0.1, numeric, rtol=1e-4, atol=1e-8)
    assert decider._baseline == pytest.approx(1 + BASELINE_WEIGHT * (cost - 1))


def test_the_bandit_stays_where_it_is_for_too_small_a_gain():
    decider = LinUcbDecider(NR_ARMS, NR_OBSERVED, width=0.0, margin=0.2)
    for _ in range(300):
        for arm, cost in enumerate((1.0, 0.9, 0.5)):
            decider.learn(sight(), arm, 1.0, cost)
    assert decider.propensities(sight(current=0)).argmax() == 2
    assert decider.propensities(sight(current=1, allowed=(True, True, False))).argmax() == 1
    assert decider.propensities(sight(current=0, allowed=(True, True, False))).argmax() == 0
    assert decider.expected(sight()) == pytest.approx([1.0, 0.9, 0.5], abs=0.01)


def test_those_without_a_floor_say_so_and_try_ever_less():
    epsilon, ucb = EpsilonGreedyDecider(NR_ARMS), UcbDecider(NR_ARMS)
    for _ in range(400):
        for arm in range(NR_ARMS):
            epsilon.learn(sight(), arm, 1.0, 1.0 - 0.1 * arm)
            ucb.learn(sight(), arm, 1.0, 1.0 - 0.1 * arm)
    assert not epsilon.has_floor
    assert not ucb.has_floor
    shares = epsilon.propensities(sight())
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(1 / np.sqrt(1201) / 3)
    assert ucb.propensities(sight()).max() == 1


def test_regimes_hold_for_windows_in_a_row_and_nothing_unknown_decides():
    def busy(values):
        return None if "busy" not in values else values["busy"] > 5

    decider = RegimeDecider([(busy, 2)], NR_ARMS, windows=2)
    said = [
        int(decider.propensities(sight(values=values)).argmax())
        for values in ({"busy": 9}, {"busy": 9}, {}, {"busy": 1}, {"busy": 9}, {"busy": 1}, {"busy": 1})
    ]
    assert said == [0, 2, 2, 2, 2, 2, 0]
    assert decider.propensities(sight(values={"busy": 9}))[0] == 1


def test_a_forbidden_arm_of_a_regime_is_the_default():
    decider = RegimeDecider([(lambda _values: True, 1)], NR_ARMS)
    assert decider.propensities(sight(allowed=(True, False, True))).tolist() == [1, 0, 0]


def test_floors_that_do_not_fit_make_all_alike():
    allowed = np.array([True, True])
    assert with_floor(np.array([1.0, 0.0]), allowed, 0.8) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("name", makers())
def test_a_state_is_taken_back_whole_or_refused(name):
    one, other = makers()[name](), makers()[name]()
    for arm in range(NR_ARMS):
        one.learn(sight(), arm, 0.4, 0.5 + arm)
    state = {key: array.copy() for key, array in one.state().items()}
    other.restore(state)
    assert other.nr_learned == 3
    np.testing.assert_allclose(other.propensities(sight()), one.propensities(sight()))
    first = next(iter(state))
    for damage in (
        {key: array for key, array in state.items() if key != first},
        state | {first: state[first][:1]},
        state | {first: np.full_like(state[first], np.nan)},
    ):
        with pytest.raises(PolicyError):
            other.restore(damage)


def test_what_is_seen_is_standardised_so_that_small_differences_count():
    decider, rng = SoftmaxDecider(NR_ARMS, NR_OBSERVED, np.random.default_rng(1)), np.random.default_rng(5)
    for _ in range(1500):
        regime = int(rng.integers(2))
        seen = sight(0.50 + 0.02 * regime, 0.3, 0.3, 0.3, 0.3)
        shares = decider.propensities(seen)
        action = int(rng.choice(NR_ARMS, p=shares))
        decider.learn(seen, action, float(shares[action]), 0.5 if action == 1 + regime else 1.2)
    for regime in range(2):
        assert decider.propensities(sight(0.50 + 0.02 * regime, 0.3, 0.3, 0.3, 0.3)).argmax() == 1 + regime
