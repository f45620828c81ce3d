import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.evidence.studies import blocks_of, with_values

from schedtuna.errors import EvidenceError
from schedtuna.evidence.design import LOOKS, Arm, Look, plan_campaign
from schedtuna.evidence.verdict import Block, BlockAnalysis, Verdict, excludes_loss, judge
from schedtuna.workload.spec import Direction

MIN, MAX = Direction.MIN, Direction.MAX
ORDER = (Arm.A, Arm.B, Arm.A2)


@pytest.mark.parametrize(
    ("effect", "cv", "direction", "verdict"),
    [
        (0.9, 0.05, MIN, Verdict.IMPROVED),
        (0.9, 0.05, MAX, Verdict.WORSE),
        (1.1, 0.05, MIN, Verdict.WORSE),
        (1.1, 0.05, MAX, Verdict.IMPROVED),
        (1.0, 0.01, MIN, Verdict.NO_EVIDENCE),
        (1.0, 0.01, MAX, Verdict.NO_EVIDENCE),
        (1.0, 0.30, MIN, Verdict.TOO_NOISY),
    ],
)
def test_each_verdict_is_reached(effect, cv, direction, verdict):
    result = judge(blocks_of(np.random.default_rng(1), 27, effect=effect, cv=cv), direction, look=LOOKS[-1])
    assert result.verdict is verdict
    low, high = result.effect.ci95
    assert low <= effect <= high
    assert low <= result.effect.ratio <= high
    assert result.noise_cv == pytest.approx(cv, rel=0.35)
    assert (result.runs_needed is not None) is (verdict is Verdict.TOO_NOISY)


def test_too_noisy_says_how_many_runs_would_tell():
    result = judge(blocks_of(np.random.default_rng(2), 9, cv=0.2), MIN, look=LOOKS[1])
    assert result.verdict is Verdict.TOO_NOISY
    assert result.runs_needed is not None and result.runs_needed > 27
    assert any(str(result.runs_needed) in note for note in result.notes)


def test_a_gain_of_delta_decides_what_is_no_evidence():
    blocks = blocks_of(np.random.default_rng(3), 27, cv=0.04)
    assert judge(blocks, MIN, look=LOOKS[-1], delta=0.2).verdict is Verdict.NO_EVIDENCE
    assert judge(blocks, MIN, look=LOOKS[-1], delta=0.005).verdict is Verdict.TOO_NOISY


def test_failed_candidates_are_the_worst_runs_never_left_out():
    blocks = blocks_of(np.random.default_rng(4), 18, effect=0.8)
    assert judge(blocks, MIN).verdict is Verdict.IMPROVED
    failing = with_values(blocks, Arm.B, lambda index, value: None if index % 2 else value)
    result = judge(failing, MIN)
    assert result.verdict is not Verdict.IMPROVED
    assert result.failures == {Arm.A: 0, Arm.A2: 0, Arm.B: 9}
    assert result.guard.slow_candidate >= 0.5
    assert any("worst" in note for note in result.notes)


def test_a_candidate_that_always_fails_is_worse_without_bound():
    blocks = with_values(blocks_of(np.random.default_rng(5), 9), Arm.B, lambda *_: None)
    result = judge(blocks, MIN)
    assert result.verdict is Verdict.WORSE
    assert result.effect.ratio == math.inf
    assert result.effect.ci95[1] == math.inf


def test_a_default_that_fails_often_loses_to_a_candidate_that_runs():
    blocks = blocks_of(np.random.default_rng(6), 12)
    for arm in (Arm.A, Arm.A2):
        blocks = with_values(blocks, arm, lambda *_: None)
    result = judge(blocks, MAX)
    assert result.verdict is Verdict.IMPROVED
    assert result.effect.ratio == math.inf


def test_everything_failing_says_nothing_and_breaks_nothing():
    blocks = [Block(ORDER, dict.fromkeys(Arm)) for _ in range(9)]
    result = judge(blocks, MIN)
    assert result.verdict is not Verdict.IMPROVED
    assert result.verdict is not Verdict.WORSE
    json.dumps(result.to_dict(), allow_nan=False)


def test_zeros_and_negatives_are_compared_as_differences():
    rng = np.random.default_rng(7)
    blocks = [
        Block(block.order, {arm: value - 10.0 for arm, value in block.values.items()})
        for block in blocks_of(rng, 18, level=10.0, cv=0.05)
    ]
    shifted = with_values(blocks, Arm.B, lambda _, value: value - 3.0)
    result = judge(shifted, MIN)
    assert result.scale == "difference"
    assert result.verdict is Verdict.IMPROVED
    typical = np.median([abs(block.values[arm] or 0.0) for block in blocks for arm in (Arm.A, Arm.A2)])
    assert result.effect.ratio == pytest.approx(1 - 3.0 / typical, rel=0.1)


def test_deterministic_runs_that_do_not_differ_are_no_evidence():
    for level in (0.0, 5.0):
        plans = plan_campaign(np.random.default_rng(13), 9)
        blocks = [Block(plan.order, dict.fromkeys(Arm, level)) for plan in plans]
        result = judge(blocks, MIN, look=LOOKS[1])
        assert result.verdict is Verdict.NO_EVIDENCE
        assert result.effect.ratio == pytest.approx(1.0, abs=1e-4)
        assert result.noise_cv == pytest.approx(0, abs=1e-6)
        assert not result.aa.alarm


def test_one_value_in_two_units_gets_one_verdict_in_all_its_parts():
    blocks = blocks_of(np.random.default_rng(8), 19, effect=0.93)
    scaled = [
        Block(block.order, {arm: 1e6 * value for arm, value in block.values.items()}) for block in blocks
    ]
    first, second = judge(blocks, MIN).to_dict(), judge(scaled, MIN).to_dict()
    assert json.dumps(first["verdict"]) == json.dumps(second["verdict"])
    assert first["effect"]["ratio"] == pytest.approx(second["effect"]["ratio"])
    assert first["aa"]["p"] == second["aa"]["p"]


def test_the_guard_blocks_a_faster_typical_run_with_a_bad_tail():
    blocks = blocks_of(np.random.default_rng(9), 27, effect=0.9, cv=0.03)
    tailed = with_values(blocks, Arm.B, lambda index, value: 4 * value if index % 5 == 0 else value)
    result = judge(tailed, MIN, look=LOOKS[-1])
    assert result.p_improved <= LOOKS[-1].p_bound
    assert result.guard.blocked
    assert result.guard.slow_candidate > result.guard.slow_default
    assert result.guard.mean.ratio > 1
    assert result.verdict is Verdict.NO_EVIDENCE
    assert "mean" in result.notes[0]


def test_a_claim_that_hangs_on_a_carry_over_is_withheld():
    """Without an effect, a residue after the candidate slows the defaults: they look worse."""
    for seed in range(50):
        blocks = blocks_of(np.random.default_rng(seed), 27, cv=0.02, residue=1.08)
        result = judge(blocks, MIN, look=LOOKS[-1])
        if result.p_improved <= LOOKS[-1].p_bound:
            break
    else:
        pytest.fail("the fault did not bias the ranks")
    assert result.carry_over.alarm
    assert result.carry_over.ratio == pytest.approx(1.08, abs=0.03)
    assert result.carry_over.withheld
    assert result.verdict is not Verdict.IMPROVED
    assert any("washout" in note for note in result.notes)


def best_in_every_block(blocks):
    return all(block.values[Arm.B] < min(block.values[Arm.A], block.values[Arm.A2]) for block in blocks)


def test_noise_in_what_runs_leave_behind_overturns_no_wide_margin():
    """Best in each of four blocks; the residue's estimate, +57%, is noise (p = 1)."""
    blocks = blocks_of(np.random.default_rng(243), 4, effect=0.71, cv=0.08)
    assert best_in_every_block(blocks)
    result = judge(blocks, MIN)
    assert result.verdict is Verdict.IMPROVED
    assert result.carry_over.p > 0.8
    assert not result.carry_over.withheld
    (note,) = [note for note in result.notes if "behind" in note]
    assert note.startswith("4 blocks can't tell whether runs leave something behind for the next")
    assert f"about {result.carry_over.blocks_needed} would" in note
    assert result.carry_over.blocks_needed >= 8
    assert "the verdict holds even if" in note


def test_a_narrow_margin_is_withheld_where_few_blocks_can_not_tell():
    for seed in range(100):
        result = judge(blocks_of(np.random.default_rng(seed), 6, effect=0.93, cv=0.04), MIN, look=LOOKS[0])
        if result.carry_over.withheld and not result.carry_over.suspected:
            break
    else:
        pytest.fail("no such study")
    assert result.verdict is Verdict.TOO_NOISY
    (note,) = [note for note in result.notes if "behind" in note]
    assert note.startswith("6 blocks can't tell")
    assert "seems" not in note and "no verdict" in note


def test_a_verdict_that_a_plausible_residue_would_turn_says_so():
    for seed in range(100):
        result = judge(blocks_of(np.random.default_rng(seed), 27, effect=0.965), MIN, look=LOOKS[-1])
        if result.carry_over.exposed:
            break
    else:
        pytest.fail("no such study")
    assert result.verdict is Verdict.IMPROVED
    assert result.carry_over.blocks_needed > 27
    assert any("27 blocks can't tell" in note and "would not hold" in note for note in result.notes)


@pytest.mark.parametrize(("direction", "effect"), [(MIN, 0.7), (MAX, 1 / 0.7), (MIN, 1 / 0.7), (MAX, 0.7)])
def test_the_plausible_residue_flatters_the_verdict(direction, effect):
    """It slows what follows a better candidate, and speeds what follows a worse one."""
    result = judge(blocks_of(np.random.default_rng(14), 27, effect=effect), direction, look=LOOKS[-1])
    assert result.verdict is (Verdict.IMPROVED if (direction is MIN) == (effect < 1) else Verdict.WORSE)
    assert (result.carry_over.plausible_ratio > 1) is (effect < 1)
    assert not result.carry_over.exposed


def test_small_studies_say_that_nothing_bounds_the_effect():
    result = judge(blocks_of(np.random.default_rng(10), 3), MIN, look=Look(3, 0.0), look_number=0)
    assert result.verdict is Verdict.TOO_NOISY
    assert result.effect.ci95 == (-math.inf, math.inf)
    assert result.to_dict()["effect"]["ci95"] == [None, None]
    assert any("bound" in note for note in result.notes)


def test_results_are_plain_data_and_reproducible():
    blocks = blocks_of(np.random.default_rng(11), 13)
    text = json.dumps(judge(blocks, MIN).to_dict(), allow_nan=False)
    assert text == json.dumps(judge(blocks, MIN).to_dict(), allow_nan=False)
    assert set(json.loads(text)["failures"]) == set(Arm)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_numbers_are_refused(value):
    with pytest.raises(EvidenceError, match="finite") as caught:
        Block(ORDER, {Arm.A: 1.0, Arm.A2: value, Arm.B: 1.0})
    assert "None" in str(caught.value.hint)


def test_incomplete_blocks_are_refused():
    with pytest.raises(EvidenceError, match="once"):
        Block(ORDER, {Arm.A: 1.0, Arm.B: 1.0})
    with pytest.raises(EvidenceError, match="once"):
        Block((Arm.A, Arm.A, Arm.B), dict.fromkeys(Arm, 1.0))


def test_nothing_to_judge_and_an_impossible_delta_are_refused():
    with pytest.raises(EvidenceError, match="no complete block"):
        judge([], MIN)
    with pytest.raises(EvidenceError, match="delta"):
        judge(blocks_of(np.random.default_rng(12), 6), MIN, delta=0.0)


@given(
    st.floats(0.9, 1.1),
    st.floats(0.002, 0.05),
    st.sampled_from([MIN, MAX]),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_a_result_tells_whether_a_loss_is_excluded(effect, cv, direction, ratio, seed):
    blocks = blocks_of(np.random.default_rng(seed), 9, effect=effect, cv=cv)
    if not ratio:  # a value of 0 rules logarithms out
        blocks = with_values(blocks, Arm.B, lambda index, value: value if index else 0.0)
    look = Look(9, 0.025)
    analysis = BlockAnalysis(blocks, direction, look, 0.03)
    assert excludes_loss(analysis.result(1)) is analysis.loss_excluded()
