"""What is in a model, for people: its trees as text, and which inputs decide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.rows import random_bins
from schedtuna.model.trees import BoxTrees, ObliviousTrees

NR_ROWS = 2_000


def shares_decided(model: DecisionModel) -> dict[str, float]:
    """For each input the share of decisions that change when its bin is exchanged for another one.

    Over 2,000 rows whose bins are drawn evenly, with a seed of the model's own: what a model can do, not what
    it does on the rows of one machine.
    """
    random = np.random.default_rng(int(model.version, 16))
    rows, others = (random_bins(model.nr_bins, NR_ROWS, random) for _ in range(2))
    before = model.decide(rows)
    shares = {}
    for index, one in enumerate(model.inputs):
        changed = rows.copy()
        changed[:, index] = others[:, index]
        shares[one.name] = float((model.decide(changed) != before).mean())
    return shares


def tree_lines(model: DecisionModel, tree: int) -> list[str]:
    """Draw a tree: a line for each question and leaf; a question's lines for yes come first.

    Raises:
        UsageError: The model has no such tree.
    """
    core = model.core
    if not isinstance(core, BoxTrees | ObliviousTrees):
        raise UsageError(f"a model of the family {core.family} has no trees")
    if not 0 <= tree < core.nr_trees:
        raise UsageError(f"there is no tree {tree}", hint=f"its trees are 0 to {core.nr_trees - 1}")
    if isinstance(core, BoxTrees):
        root = 0 if core.nr_leaves[tree] > 1 else -1
        return list(_drawn(model, tree, root, first="", rest=""))
    questions = [
        f"bit {level}: {_question(model.inputs, int(feature), int(threshold), above=True)}"
        for level, (feature, threshold) in enumerate(
            zip(core.feature[tree], core.threshold[tree], strict=True)
        )
    ]
    width = core.nr_levels
    return questions + [
        f"{leaf:0{width}b}: {value:+d}" for leaf, value in enumerate(core.leaves[tree].tolist())
    ]


def _question(inputs: tuple[ModelInput, ...], feature: int, threshold: int, *, above: bool) -> str:
    one = inputs[feature]
    if threshold >= one.bins.last:
        return "never" if above else "always"
    edge = one.bins.edges()[threshold + 1]
    return f"{one.name} {'>=' if above else '<'} {edge}"


def _drawn(model: DecisionModel, tree: int, node: int, *, first: str, rest: str) -> Iterator[str]:
    core = model.core
    assert isinstance(core, BoxTrees)
    if node < 0:
        yield f"{first}{core.leaves[tree, -1 - node]:+d}"
        return
    feature, threshold = int(core.feature[tree, node]), int(core.threshold[tree, node])
    yield f"{first}{_question(model.inputs, feature, threshold, above=False)}?"
    left, right = int(core.left[tree, node]), int(core.right[tree, node])
    yield from _drawn(model, tree, left, first=f"{rest}|-- yes: ", rest=f"{rest}|   ")
    yield from _drawn(model, tree, right, first=f"{rest}`-- no:  ", rest=f"{rest}    ")
