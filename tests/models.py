"""Models for tests: random ones, all weights at their ends, and sums that touch their bounds."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np

from schedtuna.model.bins import Bins
from schedtuna.model.core import Core
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear, Mlp, StepNet
from schedtuna.model.rows import checked
from schedtuna.model.trees import MOST_LEAVES, BoxTrees, ObliviousTrees

NR_INPUTS = 10
Random = np.random.Generator


def inputs(random: Random, count: int = NR_INPUTS, *, most_bins: int = 256) -> tuple[ModelInput, ...]:
    """Rows of both kinds, with bounds of every size."""
    rows = []
    for number in range(count):
        nr_bins = int(random.choice([2, 11, 64, most_bins - 1, most_bins]))
        if number % 2:
            bins = Bins("log2", 0, int(random.integers(1 << 34, 1 << 62)), min(nr_bins, 128), 4)
        else:
            lo = int(random.integers(-(1 << 40), 1 << 40))
            bins = Bins(
                "linear", lo, lo + int(random.integers(most_bins, 1 << random.integers(20, 60))), nr_bins
            )
        rows.append(ModelInput(f"feature_{number}_ns", bins))
    return tuple(rows)


def byte_inputs(count: int = NR_INPUTS) -> tuple[ModelInput, ...]:
    """Inputs whose bins are all 256 bytes, and whose values are their bins."""
    return tuple(ModelInput(f"byte_{number}", Bins("linear", 0, 255, 256)) for number in range(count))


def trees(
    random: Random, *, nr_trees: int = 20, nr_leaves: int = 31, nr_bins: tuple[int, ...], most: int = 2000
) -> BoxTrees:
    """Trees that are split where chance says, of up to so many leaves."""
    shape = (nr_trees, MOST_LEAVES - 1)
    feature, threshold = np.zeros(shape, int), np.zeros(shape, int)
    left, right = np.zeros(shape, int), np.zeros(shape, int)
    leaves, counts = np.zeros((nr_trees, MOST_LEAVES), int), np.ones(nr_trees, int)
    for tree in range(nr_trees):
        counts[tree] = count = int(random.integers(1, nr_leaves + 1)) if tree % 3 else nr_leaves
        last = [count - 1 for count in nr_bins]
        open_ends: list[tuple[int, np.ndarray, list[int], list[int]]] = [(-1, left, [0] * len(last), last)]
        for node in range(count - 1):
            parent, side, low, high = open_ends.pop(int(random.integers(len(open_ends))))
            if parent >= 0:
                side[tree, parent] = node
            f = int(random.choice([f for f in range(len(last)) if low[f] < high[f]]))
            feature[tree, node] = f
            threshold[tree, node] = at = int(random.integers(low[f], high[f]))
            open_ends.append((node, left, low, [*high[:f], at, *high[f + 1 :]]))
            open_ends.append((node, right, [*low[:f], at + 1, *low[f + 1 :]], high))
        for leaf, (parent, side, _, _) in enumerate(open_ends):
            if parent >= 0:
                side[tree, parent] = -1 - leaf
        leaves[tree, :count] = random.integers(-most, most + 1, count)
    base = int(random.integers(-most, most + 1))
    return BoxTrees(len(nr_bins), base, counts, feature, threshold, left, right, leaves)


def oblivious(
    random: Random, *, nr_trees: int = 20, nr_levels: int = 6, nr_bins: tuple[int, ...], most: int = 2000
) -> ObliviousTrees:
    """Trees of random questions, the last of which has fewer levels."""
    feature = random.integers(0, len(nr_bins), (nr_trees, nr_levels))
    threshold = random.integers(0, np.maximum(np.asarray(nr_bins)[feature] - 1, 1))
    threshold[-1, nr_levels // 2 :] = 65535
    leaves = random.integers(-most, most + 1, (nr_trees, 1 << nr_levels))
    return ObliviousTrees(len(nr_bins), 7, feature, threshold, leaves)


def mlp(random: Random, *sizes: int, deviation: float = 40) -> Mlp:
    """A net of these layers' sizes: inputs, hidden ones, logits."""
    sizes = sizes or (NR_INPUTS, 64, 64, 1)
    weights = [
        np.clip(np.rint(random.normal(0, deviation, (units, before))), -127, 127).astype(int)
        for before, units in itertools.pairwise(sizes)
    ]
    biases = [
        random.integers(-500, 500, units) - (8 * w.sum(axis=1))
        for w, units in zip(weights, sizes[1:], strict=True)
    ]
    return Mlp(tuple(weights), tuple(biases), (8, 7)[: len(sizes) - 2])


def mlp_of_signs(random: Random, *sizes: int) -> Mlp:
    """All weights -127 or 127; biases that leave each unit undecided."""
    sizes = sizes or (NR_INPUTS, 64, 64, 1)
    weights = [random.choice([-127, 127], (units, before)) for before, units in itertools.pairwise(sizes)]
    middle = (128, 32, 32)
    biases = [-middle[number] * array.sum(axis=1) for number, array in enumerate(weights)]
    return Mlp(tuple(weights), tuple(biases), (9, 9)[: len(sizes) - 2])


def mlp_of_ends(random: Random, *sizes: int) -> Mlp:
    """All weights -127 or 127; biases that take each sum to an end of its lane."""
    sizes = sizes or (NR_INPUTS, 64, 64, 1)
    weights, biases, shifts = [], [], (9, 12)[: len(sizes) - 2]
    for number, (before, units) in enumerate(itertools.pairwise(sizes)):
        signs = random.choice([-127, 127], (units, before))
        signs[0], signs[-1] = 127, -127 if units > 1 else 127
        half = (1 << shifts[number]) >> 1 if number < len(shifts) else 0
        most = (255 if number == 0 else 127) * np.maximum(signs, 0).sum(axis=1) + half
        least = (255 if number == 0 else 127) * np.minimum(signs, 0).sum(axis=1) + half
        upper, lower = (1 << 20) - 1 - most, -(1 << 20) - least
        weights.append(signs)
        biases.append(np.where(np.arange(units) % 2, lower, upper))
    return Mlp(tuple(weights), tuple(biases), shifts)


def step_net(random: Random, *sizes: int, deviation: float = 45) -> StepNet:
    """A net of step units of these layers' sizes."""
    sizes = sizes or (NR_INPUTS, 64, 64, 1)
    weights = [
        np.clip(np.rint(random.normal(0, deviation, (units, before))), -127, 127).astype(int)
        for before, units in itertools.pairwise(sizes)
    ]
    biases = [-(w.sum(axis=1) * (8 if number == 0 else 1) // 2) for number, w in enumerate(weights)]
    return StepNet(tuple(weights), tuple(biases), 4)


def step_net_of_ends(random: Random, *sizes: int) -> StepNet:
    """All weights -127 or 127; biases that take each hidden sum to an end of its lane."""
    sizes = sizes or (NR_INPUTS, 128, 128, 1)
    weights = [random.choice([-127, 127], (units, before)) for before, units in itertools.pairwise(sizes)]
    biases = []
    for number, array in enumerate(weights):
        ends = (array * 255 + 8) >> 4 if number == 0 else array
        upper = (1 << 15) - 1 - np.maximum(ends, 0).sum(axis=1)
        lower = -(1 << 15) - np.minimum(ends, 0).sum(axis=1)
        biases.append(np.where(np.arange(len(array)) % 2, lower, upper))
    return StepNet(tuple(weights), tuple(biases), 4)


def linear(random: Random, count: int = NR_INPUTS, *, nr_logits: int = 1, most: int = 3000) -> Linear:
    """Random weights."""
    return Linear(
        random.integers(-most, most + 1, (nr_logits, count)), random.integers(-(10**6), 10**6, nr_logits)
    )


def model(core: Core, rows: tuple[ModelInput, ...], name: str = "test") -> DecisionModel:
    """A whole model, with rows of its own."""
    labels = (
        ("stay", "migrate") if core.nr_logits == 1 else tuple(f"choice {n}" for n in range(core.nr_logits))
    )
    return checked(DecisionModel(name, rows, labels, core, "tests/models.py"))


def _boxed(random: Random) -> DecisionModel:
    rows = inputs(random)
    return model(trees(random, nr_bins=tuple(one.bins.nr_bins for one in rows)), rows)


def _single(random: Random) -> DecisionModel:
    rows = inputs(random, 3, most_bins=65536)
    return model(
        trees(random, nr_trees=1, nr_leaves=32, nr_bins=tuple(one.bins.nr_bins for one in rows)), rows
    )


def _leaves_of_ends(random: Random) -> DecisionModel:
    core = trees(random, nr_trees=33, nr_leaves=32, nr_bins=(256,) * NR_INPUTS, most=32767)
    return model(core, byte_inputs())


def _oblivious(random: Random) -> DecisionModel:
    rows = inputs(random)
    return model(oblivious(random, nr_bins=tuple(one.bins.nr_bins for one in rows)), rows)


def _deep_oblivious(random: Random) -> DecisionModel:
    core = oblivious(random, nr_trees=9, nr_levels=8, nr_bins=(256,) * NR_INPUTS, most=32767)
    return model(core, byte_inputs())


# Name -> what makes one, the same for the same generator.
KINDS: dict[str, Callable[[Random], DecisionModel]] = {
    "trees": _boxed,
    "single tree": _single,
    "trees of ends": _leaves_of_ends,
    "oblivious": _oblivious,
    "oblivious of ends": _deep_oblivious,
    "linear": lambda random: model(linear(random), inputs(random)),
    "linear of four": lambda random: model(linear(random, nr_logits=4), inputs(random, most_bins=4096)),
    "mlp": lambda random: model(mlp(random), inputs(random)),
    "mlp of signs": lambda random: model(mlp_of_signs(random), byte_inputs()),
    "mlp of ends": lambda random: model(mlp_of_ends(random), byte_inputs()),
    "small mlp": lambda random: model(mlp(random, 5, 16, 2, deviation=90), inputs(random, 5)),
    "large mlp of ends": lambda random: model(mlp_of_ends(random, 16, 64, 64, 4), byte_inputs(16)),
    "step": lambda random: model(step_net(random), inputs(random)),
    "step of ends": lambda random: model(step_net_of_ends(random), byte_inputs()),
    "small step": lambda random: model(step_net(random, 5, 13, 3), inputs(random, 5)),
}


@functools.cache
def make(kind: str, seed: int = 1) -> DecisionModel:
    """One of `KINDS`."""
    return KINDS[kind](np.random.default_rng(seed))
