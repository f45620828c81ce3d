"""Do several machines agree on what they found together? A sentence for each, and one where they do not."""

from __future__ import annotations

from collections.abc import Sequence

from schedtuna.evidence.blocks import Block
from schedtuna.evidence.verdict import Result, judge
from schedtuna.experiment.comparison import tell_effect
from schedtuna.workload.spec import Direction


def machine_notes(
    blocks: Sequence[Block], machines: Sequence[str], direction: Direction, *, delta: float
) -> list[str]:
    """Return what to know of blocks that several machines made; nothing where there was one.

    The test permutes within blocks, and a block is whole on one machine: machines are strata of it, and how
    they differ from each other is in no p-value. An effect that is another one on each is.

    Args:
        blocks: Those that count.
        machines: Where each was made.
        direction: Which way is better.
        delta: The relative gain that matters.
    """
    names = list(dict.fromkeys(machines[: len(blocks)]))
    if len(names) < 2:
        return []
    each = {
        name: judge(
            [block for block, machine in zip(blocks, machines, strict=False) if machine == name],
            direction,
            delta=delta,
        )
        for name in names
    }
    told = "; ".join(
        f"{name}: {result.blocks} blocks, {tell_effect(result.effect)}" for name, result in each.items()
    )
    notes = [f"By machine: {told}."]
    if _disagree(list(each.values())):
        notes.insert(
            0,
            "The machines do not agree: their intervals have nothing in common, so that the figure over all "
            "holds for none of them. Ask each by itself.",
        )
    return notes


def _disagree(results: Sequence[Result]) -> bool:
    """Whether the intervals of all have no point in common."""
    low = max(result.effect.ci95[0] for result in results)
    high = min(result.effect.ci95[1] for result in results)
    return low > high
