"""A net of floats and its integers decide alike; what it costs is told."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from schedtuna.errors import ModelError
from schedtuna.learn.quantise import quantise_mlp
from schedtuna.model.nets import Mlp


def net(random: np.random.Generator, *sizes: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights as an initialiser draws them, for inputs of about -1 to 1."""
    pairs = list(itertools.pairwise(sizes))
    weights = [random.normal(0, np.sqrt(2 / before), (units, before)) for before, units in pairs]
    return weights, [random.normal(0, 0.1, units) for _, units in pairs]


def decided(weights, biases, units: np.ndarray) -> np.ndarray:
    for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
        units = units @ w.T + b
        units = np.maximum(units, 0) if number < len(weights) - 1 else units
    return units[:, 0] > 0 if units.shape[1] == 1 else units.argmax(axis=1)


@pytest.mark.parametrize("sizes", [(10, 64, 64, 1), (5, 16, 2), (16, 64, 64, 4), (3, 8, 1)])
@pytest.mark.parametrize("size", [1e-3, 1, 1e3])
def test_decisions_stay(sizes, size):
    random = np.random.default_rng(sum(sizes))
    weights, biases = net(random, *sizes)
    weights[0], biases[0] = weights[0] * size, biases[0] * size
    rows = random.integers(0, 256, (4000, sizes[0])).astype(np.uint16)
    made = quantise_mlp(weights, biases, rows[:2000], scale=1 / 128, offset=128)
    expected = decided(weights, biases, (rows - 128.0) / 128)
    logits = made.core.logits(rows[2000:])
    found = logits[:, 0] > 0 if sizes[-1] == 1 else logits.argmax(axis=1)
    changed = float((found != expected[2000:]).mean())
    assert changed < 0.06
    assert made.decisions_changed == pytest.approx(changed, abs=0.03)
    assert made.nr_rows == 2000


def test_a_net_that_is_one_of_integers_already_stays_exactly():
    random = np.random.default_rng(3)
    weights = [random.integers(-127, 128, (8, 4)), random.integers(-127, 128, (1, 8))]
    weights[0][0, 0] = weights[1][0, 0] = 127
    biases = [random.integers(-99, 99, 8), random.integers(-99, 99, 1)]
    rows = random.integers(0, 2, (500, 4)).astype(np.uint16)  # no sum over 127 * 4: shifts of 0 to 2
    made = quantise_mlp(weights, biases, rows)
    assert np.array_equal(made.core.weights[0], weights[0]) and np.array_equal(made.core.biases[0], biases[0])


def test_any_weights_keep_their_bounds():
    random = np.random.default_rng(4)
    for _ in range(100):
        scales = 10.0 ** random.integers(-6, 7, 6)
        weights = [
            random.normal(0, s, shape)
            for s, shape in zip(scales, [(64, 32), (64, 64), (2, 64)], strict=False)
        ]
        biases = [random.normal(0, s, n) for s, n in zip(scales[3:], (64, 64, 2), strict=True)]
        made = quantise_mlp(weights, biases, random.integers(0, 256, (50, 32)).astype(np.uint16))
        assert isinstance(made.core, Mlp)  # which proves its bounds


def test_torch_tensors_are_taken():
    torch = pytest.importorskip("torch", reason="the extra 'rl' is not installed")
    weights, biases = net(np.random.default_rng(1), 4, 8, 1)
    rows = np.random.default_rng(2).integers(0, 256, (100, 4)).astype(np.uint16)
    tensors = [torch.tensor(w, requires_grad=True) for w in weights], [torch.tensor(b) for b in biases]
    made = quantise_mlp(*tensors, rows, scale=1 / 255)
    expected = quantise_mlp(weights, biases, rows, scale=1 / 255)
    assert np.array_equal(made.core.accumulate(rows), expected.core.accumulate(rows))


@pytest.mark.parametrize(
    ("weights", "biases", "rows"),
    [
        ([np.full((1, 1), np.nan), np.ones((1, 1))], [np.ones(1), np.ones(1)], np.ones((3, 1), np.uint16)),
        ([np.ones((1, 1)), np.ones((1, 1))], [np.ones(1), np.ones(1)], np.ones((0, 1), np.uint16)),
        ([np.ones((1, 1)), np.ones((1, 1))], [np.ones(1), np.ones(1)], np.ones((3, 2), np.uint16)),
        ([np.ones((1, 1))], [np.ones(1)], np.ones((3, 1), np.uint16)),
        ([np.ones(1), np.ones((1, 1))], [np.ones(1), np.ones(1)], np.ones((3, 1), np.uint16)),
        ([np.ones((65, 1)), np.ones((1, 65))], [np.ones(65), np.ones(1)], np.ones((3, 1), np.uint16)),
    ],
)
def test_nets_that_are_none_are_refused(weights, biases, rows):
    with pytest.raises(ModelError):
        quantise_mlp(weights, biases, rows)
