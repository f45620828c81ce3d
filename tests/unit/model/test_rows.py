"""A model's own rows find one wrong number, wherever it is."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError
from schedtuna.model.bins import Bins
from schedtuna.model.model import ModelInput

NR_FAULTS = 20


def changed(core: Any, random: np.random.Generator) -> Any:
    """The same numbers but one, which is off by one, or has a bit more or less."""
    field = random.choice([one.name for one in fields(core) if one.name not in ("inputs", "nr_leaves")])
    value = getattr(core, field)
    if isinstance(value, int):
        return replace(core, **{field: value + int(random.choice([-1, 1]))})
    if isinstance(value, tuple):
        layer = int(random.integers(len(value)))
        new = list(value)
        new[layer] = (
            new[layer] + random.choice([-1, 1]) if isinstance(new[layer], int) else off(new[layer], random)
        )
        return replace(core, **{field: tuple(new)})
    return replace(core, **{field: off(value, random)})


def off(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    new = array.astype(np.int64)
    used = np.flatnonzero(new) if new.any() else np.arange(new.size)
    new.flat[random.choice(used)] += random.choice([-2, -1, 1, 2])
    return new


@pytest.mark.parametrize("kind", models.KINDS)
def test_one_wrong_number_is_found(kind):
    model = models.make(kind)
    random = np.random.default_rng(3)
    others = random.integers(0, np.asarray(model.nr_bins), (1000, len(model.inputs))).astype(np.uint16)
    right = model.core.accumulate(others)
    planted = found = 0
    for _ in range(NR_FAULTS):
        try:
            wrong = changed(model.core, random)
        except ModelError:
            continue  # no executor would be given it
        planted += 1
        is_found = not np.array_equal(wrong.accumulate(model.rows.bins), model.rows.accumulators)
        assert is_found or np.array_equal(wrong.accumulate(others), right)
        found += is_found
    assert planted > NR_FAULTS / 4
    if "of ends" not in kind and "oblivious" not in kind:  # units that never change, leaves out of reach
        assert found >= 0.8 * planted


@pytest.mark.parametrize("kind", ["mlp", "small mlp", "step"])
@pytest.mark.parametrize("rounding", ["down", "to even", "up"])
def test_another_rounding_is_found(kind, rounding, monkeypatch):
    model = models.make(kind)
    wrong = {
        "down": lambda values, shift: values >> shift,
        "to even": lambda values, shift: np.rint(values / 2**shift).astype(np.int64),
        "up": lambda values, shift: -(-values >> shift),
    }
    monkeypatch.setattr("schedtuna.model.nets.round_shift", wrong[rounding])
    assert not np.array_equal(model.core.accumulate(model.rows.bins), model.rows.accumulators)


@pytest.mark.parametrize("kind", ["trees", "single tree", "linear of four", "mlp"])
def test_one_wrong_edge_of_a_bin_is_found(kind):
    model = models.make(kind)
    for index, one in enumerate(model.inputs):
        old = one.bins
        for fields_ in ({"lo": old.lo + 1}, {"hi": old.hi - 1 - old.hi // 50}, {"nr_bins": old.nr_bins - 1}):
            other: dict[str, Any] = fields_
            try:
                bins = replace(old, **other)
            except ModelError:
                continue
            if np.array_equal(bins.edges()[1:], old.edges()[1:]):
                continue  # the same rule
            wrong = bins.quantise(model.rows.values[:, index])
            assert not np.array_equal(wrong, model.rows.bins[:, index]), (index, old, bins)


def test_rows_are_the_same_for_the_same_model():
    first, again = models.make("trees"), models.make("trees")
    assert np.array_equal(first.rows.values, again.rows.values)
    inputs = (*first.inputs[:-1], ModelInput("other", Bins("linear", 0, 999, first.nr_bins[-1])))
    other = models.model(first.core, inputs)
    assert not np.array_equal(first.rows.values, other.rows.values)


def test_rows_of_another_shape_are_refused():
    rows = models.make("mlp").rows
    assert rows is not None
    with pytest.raises(ModelError, match="inputs"):
        models.make("small mlp").with_rows(rows)
