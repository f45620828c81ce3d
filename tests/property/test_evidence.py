"""Laws that hold for all data: equivariance, exactness of the test, duality, failures."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.evidence.design import Arm, looks_for
from schedtuna.evidence.permutation import BlockCosts, align, normal_scores, tails
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.several import holm
from schedtuna.evidence.verdict import Block, Verdict, judge
from schedtuna.workload.spec import Direction

ORDERS = tuple(itertools.permutations(Arm))


@st.composite
def studies(draw, min_blocks=6, max_blocks=14, failures=False):
    """Blocks of noise of any size, with an effect, outliers, and failures if wanted."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nr_blocks = draw(st.integers(min_blocks, max_blocks))
    cv = draw(st.sampled_from([0.01, 0.05, 0.2]))
    effect = draw(st.sampled_from([0.7, 0.9, 0.97, 1.0, 1.1]))
    fails = draw(st.sampled_from([0.0, 0.1, 0.4])) if failures else 0.0
    blocks = []
    for _ in range(nr_blocks):
        values = {}
        for arm in Arm:
            value = rng.lognormal(0, cv) * (effect if arm is Arm.B else 1) * (3 if rng.random() < 0.03 else 1)
            values[arm] = None if rng.random() < fails else float(value)
        blocks.append(Block(ORDERS[rng.integers(6)], values))
    return blocks


def changed(blocks, change):
    """The same blocks with every finished run's value changed by `change(arm, value)`."""
    return [
        Block(
            block.order,
            {arm: None if value is None else change(arm, value) for arm, value in block.values.items()},
        )
        for block in blocks
    ]


@given(studies(failures=True), st.sampled_from([1e-9, 0.37, 12.0, 1e9]))
@settings(max_examples=30, deadline=None)
def test_units_do_not_matter(blocks, unit):
    plain = judge(blocks, Direction.MIN)
    scaled = judge(changed(blocks, lambda _, value: value * unit), Direction.MIN)
    assert scaled.verdict is plain.verdict
    assert scaled.p_improved == pytest.approx(plain.p_improved, abs=1e-9)
    assert scaled.effect.ratio == pytest.approx(plain.effect.ratio, rel=1e-3)
    assert scaled.effect.ci95 == pytest.approx(plain.effect.ci95, rel=0.01)


@given(studies(failures=True))
@settings(max_examples=30, deadline=None)
def test_reciprocals_and_the_other_direction_tell_the_same(blocks):
    """Seconds to be small or runs per second to be large: one question."""
    times = judge(blocks, Direction.MIN)
    rates = judge(changed(blocks, lambda _, value: 1 / value), Direction.MAX, delta=1 / 0.97 - 1)
    assert rates.verdict in {times.verdict, Verdict.NO_EVIDENCE, Verdict.IMPROVED}  # means may differ
    if not times.guard.blocked and not rates.guard.blocked:
        assert rates.verdict is times.verdict
    assert rates.p_improved == pytest.approx(times.p_improved, abs=1e-9)
    low, high = times.effect.ci95
    assert rates.effect.ratio == pytest.approx(_reciprocal(times.effect.ratio))
    assert rates.effect.ci95[0] == pytest.approx(_reciprocal(high), rel=0.01)  # to the bisection
    assert rates.effect.ci95[1] == pytest.approx(_reciprocal(low), rel=0.01)


def _reciprocal(ratio: float) -> float:
    return 1 / ratio if math.isfinite(ratio) else -ratio  # nothing bounds it on the other side


@settings(max_examples=100, deadline=None)
@given(blocks=studies(), share=st.floats(0.05, 1), zeros=st.integers(0, 2**32), up=st.booleans())
def test_nothing_that_is_never_negative_falls_by_more_than_all_of_it(blocks, share, zeros, up):
    rng = np.random.default_rng(zeros)
    with_zeros = changed(blocks, lambda _, value: 0.0 if rng.random() < share else value)
    found = judge(with_zeros, Direction.MAX if up else Direction.MIN)
    for estimate in (found.effect, found.aa, found.guard.mean):
        told = (estimate.ratio, *estimate.ci95)
        assert all(ratio >= 0 for ratio in told if math.isfinite(ratio)), told


@given(studies(failures=True))
@settings(max_examples=30, deadline=None)
def test_the_opposite_direction_swaps_the_tails(blocks):
    """Where no run fails, to be better in one direction is to be worse in the other."""
    if any(value is None for block in blocks for value in block.values.values()):
        return
    down, up = judge(blocks, Direction.MIN), judge(blocks, Direction.MAX)
    assert down.p_improved == pytest.approx(up.p_worse, abs=2e-3)  # scores are rounded to a grid
    assert down.effect.ratio == pytest.approx(up.effect.ratio, rel=1e-3)


@given(studies())
@settings(max_examples=30, deadline=None)
def test_the_two_defaults_are_interchangeable(blocks):
    swap = {Arm.A: Arm.A2, Arm.A2: Arm.A, Arm.B: Arm.B}
    swapped = [
        Block(tuple(swap[arm] for arm in block.order), {swap[arm]: v for arm, v in block.values.items()})
        for block in blocks
    ]
    plain, other = judge(blocks, Direction.MIN), judge(swapped, Direction.MIN)
    assert replace(plain, aa=other.aa, failures=other.failures, notes=other.notes) == other
    assert other.aa.ratio == pytest.approx(1 / plain.aa.ratio)
    assert other.aa.p == pytest.approx(plain.aa.p)


@given(studies(), st.sampled_from([0.8, 0.95, 1.02, 1.5]))
@settings(max_examples=30, deadline=None)
def test_a_factor_on_the_candidate_is_a_factor_on_its_effect(blocks, factor):
    plain = judge(blocks, Direction.MIN)
    moved = judge(changed(blocks, lambda arm, v: v * factor if arm is Arm.B else v), Direction.MIN)
    assert moved.effect.ratio == pytest.approx(plain.effect.ratio * factor, rel=0.01)
    if factor <= 0.8:
        assert moved.p_improved <= plain.p_improved + 0.02
    if factor >= 1.5:
        assert moved.p_improved >= plain.p_improved - 0.02


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]), st.booleans())
@settings(max_examples=12, deadline=None)
def test_p_values_are_exact_over_all_relabellings(seed, outliers, ties):
    """The theory: whatever the values, P(p <= a) <= a when every labelling is equally likely."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 3)) + 5 * (rng.random((5, 3)) < outliers)
    if ties:
        values = np.round(values)
    scores = normal_scores(align(values))
    lower = [tails(scores, np.array(labels)).lower for labels in itertools.product(range(3), repeat=5)]
    upper = [tails(scores, np.array(labels)).upper for labels in itertools.product(range(3), repeat=5)]
    for p_values in (np.array(lower), np.array(upper)):
        for level in np.unique(p_values):
            # Equality: the p-value of a sum is the share of labellings as extreme.
            assert (p_values <= level + 1e-12).mean() == pytest.approx(level, abs=1e-9)


@given(studies(failures=True))
@settings(max_examples=40, deadline=None)
def test_the_interval_holds_the_estimate_and_agrees_with_the_test(blocks):
    look = looks_for(len(blocks))[-1]
    result = judge(blocks, Direction.MIN, look=look)
    low, high = result.effect.ci95
    assert low <= result.effect.ratio <= high
    assert (high < 1) is (result.p_improved <= look.p_bound)
    assert (low > 1) is (result.p_worse <= look.p_bound)
    if result.verdict is Verdict.NO_EVIDENCE and not result.guard.blocked:
        assert low > 1 - result.delta
    assert 0 <= result.noise_cv < math.inf
    assert min(result.p_improved, result.p_worse) > 0


@given(studies(min_blocks=9), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_failures_of_the_candidate_never_make_it_improved(blocks, seed):
    look = looks_for(len(blocks))[-1]
    before = judge(blocks, Direction.MIN, look=look)
    struck = int(np.random.default_rng(seed).integers(len(blocks)))
    failing = list(blocks)
    failing[struck] = Block(blocks[struck].order, {**blocks[struck].values, Arm.B: None})
    after = judge(failing, Direction.MIN, look=look)
    if before.p_improved > look.p_bound:
        assert after.p_improved > look.p_bound
    if before.verdict is not Verdict.IMPROVED:
        assert after.verdict is not Verdict.IMPROVED


@given(studies(min_blocks=4, max_blocks=9, failures=True))
@settings(max_examples=20, deadline=None)
def test_a_sequential_study_never_says_more_than_its_last_look(blocks):
    study = Sequential(Direction.MIN, max_blocks=9)
    for block in blocks:
        if study.should_stop():
            break
        study.add(block)
    result = study.result()
    assert result.blocks <= len(study.blocks)
    if study.last_look is None:
        assert result.verdict is Verdict.TOO_NOISY


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_between_the_p_values_and_bonferronis(p_values):
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1.0, p * len(p_values)) + 1e-12


def test_a_whole_study_keeps_its_error_rate_over_relabellings():
    """Looks included: one fixed, ugly data set, relabelled at random, as its orders were drawn."""
    rng = np.random.default_rng(5)
    costs = np.exp(np.cumsum(0.03 * rng.normal(size=81)) + 0.05 * rng.standard_t(2, 81)).reshape(27, 3)
    nr_studies, improved = 200, 0
    for _ in range(nr_studies):
        study = Sequential(Direction.MIN)
        for row in costs.tolist():
            if study.should_stop():
                break
            order = ORDERS[rng.integers(6)]
            study.add(Block(order, dict(zip(order, row, strict=True))))
        improved += study.result().verdict is Verdict.IMPROVED
    assert improved <= 13  # 99.9% of a binomial (200, 0.025)


def test_an_effect_shifts_the_estimate_by_itself():
    rng = np.random.default_rng(6)
    values = rng.normal(size=(9, 3))
    candidate = rng.integers(0, 3, 9)
    moved = values.copy()
    moved[np.arange(9), candidate] -= 3.0
    assert BlockCosts(moved, candidate).estimate() == pytest.approx(
        BlockCosts(values, candidate).estimate() - 3.0, abs=0.01
    )


@st.composite
def wide_margins(draw):
    """Few blocks whose candidate is best in all, with or without something left behind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cv = draw(st.sampled_from([0.001, 0.02, 0.05, 0.1]))
    effect = draw(st.sampled_from([0.3, 0.6, 0.7, 0.8, 0.95]))
    residue = draw(st.sampled_from([0.9, 1.0, 1.0, 1.03, 1.3]))
    blocks, after = [], False
    for _ in range(draw(st.integers(4, 9))):
        order, values = ORDERS[rng.integers(6)], {}
        for arm in order:
            value = rng.lognormal(0, cv) * (residue if after else 1) * (3 if rng.random() < 0.03 else 1)
            values[arm] = float(value * (effect if arm is Arm.B else 1))
            after = arm is Arm.B
        blocks.append(Block(order, values))
    return blocks


def margins(blocks):
    """By how much the candidate beats the better default, on the log scale, in every block."""
    return [math.log(min(b.values[Arm.A], b.values[Arm.A2]) / b.values[Arm.B]) for b in blocks]


@given(wide_margins())
@settings(max_examples=200, deadline=None)
def test_what_is_said_of_carry_over_rests_on_the_data(blocks):
    """Noise overturns no wide margin, and nothing "seems" to be left that p does not support."""
    result = judge(blocks, Direction.MIN)
    check = result.carry_over
    plausible = abs(math.log(check.plausible_ratio))
    if not check.suspected:
        assert abs(math.log(check.ratio)) <= plausible + 1e-9
        if min(margins(blocks)) > plausible:
            assert not check.withheld
    told = [note for note in result.notes if "behind" in note]
    assert len(told) <= 1
    assert any("seems to leave" in note for note in told) is (check.p < 0.01)
    if check.withheld or check.exposed:
        assert told
    for note in told:
        assert ("can't tell" in note) is (check.p >= 0.2 or not (check.alarm or check.withheld))
        assert ("no verdict" in note) is check.withheld
        assert ("would not hold" in note) is (check.exposed and not check.alarm)
    assert not (check.withheld and check.exposed)
    if result.verdict is Verdict.IMPROVED and result.blocks < 8 and not check.alarm:
        assert any(f"{result.blocks} blocks can't tell" in note for note in told)
