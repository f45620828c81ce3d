"""Machines as strata: what they are like is in no p-value, and that they disagree is said."""

import numpy as np
import pytest

from schedtuna.evidence.blocks import Block
from schedtuna.evidence.design import Arm, plan_campaign
from schedtuna.evidence.verdict import judge
from schedtuna.experiment.machine_notes import machine_notes
from schedtuna.workload.spec import Direction


def blocks(effects, scales=(1.0, 1.0), nr_blocks=18, seed=5):
    """Blocks by turns on machines, each with an effect on the candidate and a speed of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for number, plan in enumerate(plan_campaign(rng, nr_blocks)):
        machine = number % len(effects)
        values = {arm: scales[machine] * float(np.exp(rng.normal(0, 0.01))) for arm in plan.order}
        values[Arm.B] *= effects[machine]
        found.append(Block(plan.order, values))
    return found, [f"m{number % len(effects)}" for number in range(nr_blocks)]


@pytest.mark.parametrize("scales", [(1.0, 3.0), (50.0, 0.1)])
def test_how_fast_a_machine_is_changes_no_verdict(scales):
    alike, _ = blocks((0.95, 0.95))
    unlike, _ = blocks((0.95, 0.95), scales)
    same, other = judge(alike, Direction.MIN, delta=0.05), judge(unlike, Direction.MIN, delta=0.05)
    assert other.verdict is same.verdict
    assert other.effect.ratio == pytest.approx(same.effect.ratio, abs=1e-6)
    assert other.effect.ci95 == pytest.approx(same.effect.ci95, abs=1e-6)


def test_each_machine_is_told_and_agreement_is_not():
    found, machines = blocks((0.9, 0.9))
    (note,) = machine_notes(found, machines, Direction.MIN, delta=0.05)
    assert note.startswith("By machine: m0: 9 blocks, -")
    assert "m1: 9 blocks, -" in note


def test_machines_that_disagree_are_named_first():
    found, machines = blocks((0.8, 1.2))
    notes = machine_notes(found, machines, Direction.MIN, delta=0.05)
    assert "do not agree" in notes[0]
    assert len(notes) == 2


def test_of_one_machine_there_is_nothing_to_tell():
    found, _ = blocks((0.9, 0.9))
    assert machine_notes(found, ["m"] * len(found), Direction.MIN, delta=0.05) == []
    assert machine_notes(found, [""] * len(found), Direction.MIN, delta=0.05) == []
