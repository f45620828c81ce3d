"""Where seeds fix runs, a block is a pair, and the signs of the differences are what is random."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import EvidenceError
from schedtuna.evidence.design import Arm, Design, looks_for, minimum_blocks, plan_campaign
from schedtuna.evidence.pairs import PairCosts, _signed_scores
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.shares import compare_shares
from schedtuna.evidence.verdict import Block, Verdict, judge
from schedtuna.workload.spec import Direction

COST = st.one_of(st.floats(-3, 3), st.integers(-3, 3).map(float), st.just(math.inf))
PAIRS = st.lists(st.tuples(COST, COST), min_size=1, max_size=9)


def pairs_of(rng, nr_pairs, *, effect=1.0, spread=0.2, change=0.05, level=10.0):
    """Pairs whose seeds spread by `spread`, and whose sides differ by an effect and by `change`."""
    blocks = []
    for plan in plan_campaign(rng, nr_pairs, Design.PAIRS):
        default = level * rng.lognormal(0, spread)
        blocks.append(Block(plan.order, {Arm.A: default, Arm.B: default * effect * rng.lognormal(0, change)}))
    return blocks


@given(PAIRS)
def test_p_values_are_the_share_of_all_signs(pairs):
    costs = PairCosts(np.array(pairs))
    differences = costs.shifted(0.0)
    grid = np.rint(_signed_scores(differences) * max(8, 1024 // len(pairs))).astype(int)
    observed = int((np.sign(differences) * grid).sum())
    sums = [int(np.dot(signs, grid)) for signs in itertools.product((-1, 1), repeat=len(pairs))]
    found = costs.test()
    assert found.lower == pytest.approx(sum(s <= observed for s in sums) / len(sums))
    assert found.upper == pytest.approx(sum(s >= observed for s in sums) / len(sums))
    assert min(found.lower, found.upper) >= costs.rarest * 0.999


@given(PAIRS)
def test_the_sides_can_be_exchanged(pairs):
    there, back = PairCosts(np.array(pairs)).test(), PairCosts(np.array(pairs)[:, ::-1]).test()
    assert (there.lower, there.upper) == pytest.approx((back.upper, back.lower))


@given(st.lists(st.floats(-2, 2), min_size=7, max_size=20), st.floats(-1, 1), st.sampled_from([0.025, 0.01]))
def test_the_interval_is_what_the_test_does_not_reject(differences, moved, bound):
    costs = PairCosts(np.array([[0.0, d + moved] for d in differences]))
    estimate = costs.estimate()
    low, high = costs.interval(bound, estimate, {0.0: costs.test(0.0)})
    assert low <= estimate + 1e-6
    assert estimate <= high + 1e-6
    for shift in (estimate - 1.0, estimate + 1.0, 0.0):
        rejected = min(costs.test(shift).lower, costs.test(shift).upper) <= bound
        if not any(abs(shift - end) < 0.05 for end in (low, high)):
            assert rejected != (low <= shift <= high)


@pytest.mark.parametrize(
    ("effect", "change", "verdict"),
    [
        (0.9, 0.05, Verdict.IMPROVED),
        (1.1, 0.05, Verdict.WORSE),
        (1.0, 0.0, Verdict.NO_EVIDENCE),
        (1.0, 0.005, Verdict.NO_EVIDENCE),
        (0.99, 0.3, Verdict.TOO_NOISY),
    ],
)
def test_verdicts(effect, change, verdict):
    result = judge(
        pairs_of(np.random.default_rng(3), 20, effect=effect, spread=1.0, change=change), Direction.MIN
    )
    assert result.verdict is verdict
    assert result.design is Design.PAIRS
    assert (result.runs_needed is not None) == (verdict is Verdict.TOO_NOISY)
    assert (result.aa.ratio, result.aa.alarm, result.carry_over.withheld) == (1.0, False, False)
    told = " ".join(result.notes)
    assert "Equal seeds" in told
    assert "A/A" not in told
    assert "boot" not in told
    low, high = result.effect.ci95
    assert low <= result.effect.ratio <= high


def test_directions_mirror_each_other():
    blocks = pairs_of(np.random.default_rng(1), 12, effect=0.9)
    assert judge(blocks, Direction.MIN).verdict is Verdict.IMPROVED
    assert judge(blocks, Direction.MAX).verdict is Verdict.WORSE


def test_a_side_that_fails_is_the_worse():
    blocks = [Block(b.order, {**b.values, Arm.B: None}) for b in pairs_of(np.random.default_rng(1), 12)]
    result = judge(blocks, Direction.MIN)
    assert result.verdict is Verdict.WORSE
    assert result.failures == {Arm.A: 0, Arm.A2: 0, Arm.B: 12}
    both = [Block(b.order, {Arm.A: None, Arm.B: None}) for b in blocks]
    assert PairCosts(np.full((12, 2), math.inf)).test().lower == 1
    assert judge(both, Direction.MIN).verdict is not Verdict.IMPROVED


def test_no_run_that_was_not_made_is_told_to_have_failed():
    blocks = [Block((Arm.A, Arm.B), {Arm.A: None if k < 2 else 5.0, Arm.B: 4.0 + k / 9}) for k in range(12)]
    result = judge(blocks, Direction.MIN)
    assert result.failures == {Arm.A: 2, Arm.A2: 0, Arm.B: 0}
    assert any("default 2 of 12" in note for note in result.notes)
    assert not any("again" in note for note in result.notes)


def test_a_typical_gain_with_slow_runs_is_none():
    blocks = pairs_of(np.random.default_rng(1), 20, effect=0.9, change=0.01)
    blocks[:4] = [Block(b.order, {**b.values, Arm.B: 30 * b.values[Arm.A]}) for b in blocks[:4]]
    result = judge(blocks, Direction.MIN)
    assert result.effect.ratio < 1
    assert result.verdict is not Verdict.IMPROVED
    assert result.guard.slow_candidate == 0.2


def test_without_an_effect_few_are_called_improved():
    rng, nr = np.random.default_rng(7), 1000
    found = [judge(pairs_of(rng, 9), Direction.MIN).verdict for _ in range(nr)]
    for verdict in (Verdict.IMPROVED, Verdict.WORSE):
        assert found.count(verdict) <= nr * (0.025 + 3 * math.sqrt(0.025 / nr))
        assert found.count(verdict) >= 0.005 * nr  # the test can find something


def test_looks_are_where_signs_can_reach_their_bound():
    assert minimum_blocks(design=Design.PAIRS) == 6  # 2^-6 <= 0.025 < 2^-5
    looks = looks_for(40, design=Design.PAIRS)
    assert [look.blocks for look in looks] == [10, 14, 20, 28, 40]
    assert all(2.0**-look.blocks <= look.p_bound for look in looks)
    with pytest.raises(EvidenceError, match="10 runs"):
        looks_for(5, design=Design.PAIRS)


def test_a_study_of_pairs_ends_at_a_look():
    study = Sequential(Direction.MIN, max_blocks=40, design=Design.PAIRS)
    for block in pairs_of(np.random.default_rng(2), 40, effect=0.8):
        study.add(block)
        if study.should_stop():
            break
    assert (len(study.blocks), study.result().verdict) == (10, Verdict.IMPROVED)


def test_blocks_of_two_designs_are_refused():
    pair = pairs_of(np.random.default_rng(1), 1)[0]
    with pytest.raises(EvidenceError, match="two designs"):
        judge([pair, Block(tuple(Arm), dict.fromkeys(Arm, 1.0))], Direction.MIN)
    with pytest.raises(EvidenceError, match="expected each of"):
        Block((Arm.A, Arm.A2), {Arm.A: 1.0, Arm.A2: 1.0})


def test_shares_of_failed_work_are_compared_by_signs():
    orders = [(Arm.A, Arm.B)] * 12
    found = compare_shares(
        "errors", "errors", orders, [{Arm.A: 0.0, Arm.B: 0.01 + k / 1e4} for k in range(12)]
    )
    assert found is not None
    assert (found.default, found.matters) == (0.0, True)
