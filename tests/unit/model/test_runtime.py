"""The native runtime computes what the reference does, and takes nothing that leads outside its arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError
from schedtuna.model.model import CheckRows, DecisionModel
from schedtuna.model.runtime import ModelRuntime, native

NR_ROWS = 10_000


def require_same(model: DecisionModel, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = [random.integers(one.bins.lo, one.bins.hi, count, endpoint=True) for one in model.inputs]
    anything = random.integers(-(2**63), 2**63 - 1, (count // 10, len(model.inputs)))
    values = np.concatenate([np.stack(columns, axis=1), anything])
    bins = model.quantise(values)
    expected = model.core.accumulate(bins)
    for vectors in native.vectors():
        runtime = ModelRuntime(model, vectors=vectors)  # it computes the model's own rows first
        assert np.array_equal(runtime.quantise(values), bins)
        assert np.array_equal(runtime.accumulate(bins), expected)
        assert np.array_equal(runtime.logits(bins), expected[:, -model.core.nr_logits :])
        assert np.array_equal(runtime.decide(bins), model.decide(bins))


@pytest.mark.parametrize("kind", models.KINDS)
def test_every_accumulator_is_the_references(kind):
    is_net = "mlp" in kind or "step" in kind
    require_same(models.make(kind), NR_ROWS // 5 if is_net else NR_ROWS, 1)


@pytest.mark.long
@pytest.mark.parametrize("kind", models.KINDS)
def test_a_million_rows_are_the_references(kind):
    for seed in range(20):
        require_same(models.make(kind), 50_000, seed)


def test_vectors_are_those_of_the_processor():
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    names = native.vectors()
    assert names[0] == "portable"
    assert ("avx2" in names) == ("avx2" in flags)
    assert ("avx512" in names) == (flags >= {"avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"})


@pytest.mark.parametrize("vectors", ["avx1024", "AVX2"])
def test_unknown_vectors_are_refused(vectors):
    with pytest.raises(ModelError, match="vectors"):
        ModelRuntime(models.make("trees"), vectors=vectors)


@pytest.mark.parametrize("sizes", [(1, 1), (16, 3), (17, 33, 4), (64, 64, 2), (63, 15, 1), (48, 1)], ids=str)
@pytest.mark.parametrize("make", [models.mlp, models.step_net])
def test_nets_of_any_size_are_computed(make, sizes):
    random = np.random.default_rng(sum(sizes))
    for count in (1, 4, 7, 10):
        core = make(random, count, *sizes)
        require_same(models.model(core, models.byte_inputs(count)), 300, 3)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 127, 128, 129, 300])
@pytest.mark.parametrize("kind", ["trees", "oblivious", "mlp", "step", "linear of four"])
def test_any_number_of_rows_is_decided(kind, count):
    model = models.make(kind)
    bins = model.rows.bins[:count]
    expected = model.rows.accumulators[:count, -model.core.nr_logits :]
    for vectors in native.vectors():
        assert np.array_equal(ModelRuntime(model, vectors=vectors).logits(bins), expected)


@pytest.mark.parametrize("nr_trees", [1, 15, 16, 17, 64, 65, 117, 250])
def test_any_number_of_trees_is_computed(nr_trees):
    random = np.random.default_rng(nr_trees)
    rows = models.byte_inputs()
    for make in (models.trees, models.oblivious):
        require_same(models.model(make(random, nr_trees=nr_trees, nr_bins=(256,) * 10), rows), 500, 2)


def test_a_wrong_row_keeps_it_from_deciding():
    model = models.make("small mlp")
    wrong = model.rows.accumulators.copy()
    wrong[5, 0] += 1
    rows = CheckRows(model.rows.values, model.rows.bins, wrong)
    with pytest.raises(ModelError, match="row 5"):
        ModelRuntime(model.with_rows(rows))


def test_rows_that_would_lead_outside_are_refused():
    runtime = ModelRuntime(models.make("trees"))
    for bins in (np.full((1, 10), 65535, np.uint16), np.zeros((1, 9), np.uint16), np.zeros(10, np.uint16)):
        with pytest.raises(ModelError):
            runtime.logits(bins)
        with pytest.raises(ModelError):
            runtime.accumulate(bins)
    with pytest.raises(native.BadModelError):
        runtime.native.logits(np.zeros((2, 10), np.uint16), np.zeros(1, np.int32))


def test_arrays_that_would_lead_outside_are_refused():
    row = (0, 255, 1 << 47, 0, 255, 0, False)
    nodes, leaves = np.zeros(31, np.int64), np.zeros(32, np.int16)

    def tree(count: int, feature: int = 0, left: int = -1, right: int = -2, size: int = 31) -> None:
        one = [nodes.copy() for _ in range(4)]
        one[0][0], one[2][0], one[3][0] = feature, left, right
        kinds = (np.uint8, np.uint16, np.int8, np.int8)
        f, t, lefts, rights = (array[:size].astype(kind) for array, kind in zip(one, kinds, strict=True))
        native.trees([row], "", 0, np.array([count], np.uint8), f, t, lefts, rights, leaves)

    tree(2)
    for wrong in (
        {"feature": 1},
        {"left": 0},
        {"left": 1},
        {"left": -3},
        {"left": -2},
        {"left": 31},
        {"size": 30},
    ):
        with pytest.raises(native.BadModelError):
            tree(2, **wrong)
    for count in (0, 33, 3):
        with pytest.raises(native.BadModelError):
            tree(count)
    byte, bias = np.zeros(4, np.int8), np.zeros(2, np.int32)
    with pytest.raises(native.BadModelError, match="sizes"):
        native.mlp([row], "", [byte, byte], [bias, bias], [0])
    with pytest.raises(native.BadModelError, match="bytes"):
        native.mlp([(0, 999, 1 << 47, 0, 999, 0, False)], "", [byte[:2], byte], [bias, bias], [0])
