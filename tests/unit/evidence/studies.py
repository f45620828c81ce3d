"""Made-up studies for the tests of evidence."""

from schedtuna.evidence.design import Arm, plan_campaign
from schedtuna.evidence.verdict import Block


def blocks_of(rng, nr_blocks, *, effect=1.0, cv=0.05, level=10.0, residue=1.0):
    """Blocks of lognormal noise with a ratio candidate / default, and what it leaves behind."""
    blocks, after_candidate = [], False
    for plan in plan_campaign(rng, nr_blocks):
        values = {}
        for arm in plan.order:
            value = level * rng.lognormal(0, cv) * (effect if arm is Arm.B else 1.0)
            values[arm] = float(value * residue if after_candidate else value)
            after_candidate = arm is Arm.B
        blocks.append(Block(plan.order, values))
    return blocks


def with_values(blocks, arm, change):
    """The same blocks with one arm's values changed by `change(index, value)`."""
    return [
        Block(block.order, {**block.values, arm: change(index, block.values[arm])})
        for index, block in enumerate(blocks)
    ]
