import numpy as np
import pytest
from tests.unit.evidence.studies import blocks_of, with_values

from schedtuna.evidence.design import LOOKS, Arm
from schedtuna.evidence.verdict import Block, Verdict, judge
from schedtuna.workload.spec import Direction

MIN = Direction.MIN


def told(result, word):
    return [note for note in result.notes if word in note]


@pytest.mark.parametrize("nr_blocks", [4, 5, 6, 7, 8, 9])
def test_where_no_alarm_could_be_raised_none_is_no_comfort(nr_blocks):
    """Even a default that is 50 times itself in every block raises none in fewer than 8."""
    blocks = blocks_of(np.random.default_rng(1), nr_blocks, effect=0.5, cv=0.01)
    assert judge(blocks, MIN).verdict is Verdict.IMPROVED
    assert bool(told(judge(blocks, MIN), "that no alarm is raised says nothing")) is (nr_blocks < 8)
    other = with_values(blocks, Arm.A2, lambda _, value: 50 * value)
    assert judge(other, MIN).aa.alarm is (nr_blocks >= 8)
    assert bool(told(judge(other, MIN), "differs from itself (ratio")) is (nr_blocks >= 8)


def test_one_slow_run_of_few_is_too_few_to_tell():
    blocks = blocks_of(np.random.default_rng(2), 6, effect=0.6, cv=0.02)
    assert not told(judge(blocks, MIN), "slow or failed")
    hit = with_values(blocks, Arm.B, lambda index, value: 1.5 * value if index == 3 else value)
    result = judge(hit, MIN)
    assert result.verdict is Verdict.IMPROVED
    (note,) = told(result, "slow or failed")
    assert note.startswith("17% of the candidate's runs are slow or failed (default: 0%, p = 0.33)")
    assert "too few to tell" in note


def test_the_guard_tells_how_sure_it_is():
    blocks = blocks_of(np.random.default_rng(3), 9, effect=0.6, cv=0.02)
    hit = with_values(blocks, Arm.B, lambda index, value: 1.5 * value if index in {3, 5} else value)
    result = judge(hit, MIN, look=LOOKS[1])
    assert result.guard.blocked
    (note,) = told(result, "not counted as an improvement")
    assert "p = 0.11" in note
    assert f"{result.guard.mean.ratio:.3f} [{result.guard.mean.ci95[0]:.3f}" in note


def test_places_that_matter_cost_precision_not_validity():
    blocks = []
    for block in blocks_of(np.random.default_rng(4), 13):
        values = {arm: block.values[arm] * (1.5 if arm is block.order[0] else 1) for arm in Arm}
        blocks.append(Block(block.order, values))
    result = judge(blocks, MIN)
    assert result.position.alarm
    (note,) = told(result, "place within its block")
    assert "seems to matter" in note and "precision, not validity" in note
