"""A model in TensorFlow Lite decides as the reference does, in LiteRT and TFLite Micro, or is not written."""

from __future__ import annotations

import numpy as np
import pytest
from tests import models
from tests.unit.cli.test_model import run

from schedtuna.errors import ModelError
from schedtuna.export import tflite_families
from schedtuna.export.tflite import tflite_file
from schedtuna.model.bins import Bins
from schedtuna.model.litert import run_tflite
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

pytest.importorskip("ai_edge_litert", reason="the extra 'tflite' is not installed")


def rows_for(model: DecisionModel, count: int) -> tuple[np.ndarray, np.dtype]:
    """Values at random, searched and beyond all bounds; and the type that the file takes."""
    random = np.random.default_rng(11)
    columns = [random.integers(one.bins.lo, one.bins.hi, count, endpoint=True) for one in model.inputs]
    values = np.concatenate([np.stack(columns, axis=1), random.permutation(model.rows.values)[:count]])
    edges = np.concatenate([one.bins.edges()[1:] for one in model.inputs])
    limits = np.iinfo(np.int32)
    is_narrow = limits.min < edges.min() and edges.max() < limits.max
    dtype = np.dtype("int32" if is_narrow else "int64")
    return np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max), dtype


@pytest.mark.parametrize("kind", models.KINDS)
def test_both_runtimes_decide_as_the_reference(kind):
    """Written by what compares it with LiteRT already; here are other rows, and Micro, a row at a time."""
    model = models.make(kind)
    (content,) = tflite_file(model).values()
    values, dtype = rows_for(model, 150)
    bins = model.quantise(values)
    decision, logits = run_tflite(content, values.astype(dtype))
    np.testing.assert_array_equal(logits, model.core.logits(bins))
    np.testing.assert_array_equal(decision, model.decide(bins))
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    micro = runtime.Interpreter.from_bytes(content, arena_size=16 << 20)
    for row, expected, label in zip(values, model.core.logits(bins), model.decide(bins), strict=True):
        micro.set_input(row.astype(dtype)[None], 0)
        micro.invoke()
        assert micro.get_output(1)[0].tolist() == expected.tolist()
        assert micro.get_output(0).tolist() == [label]


def test_a_file_that_would_decide_otherwise_is_not_written(monkeypatch):
    def one_off(graph, core, edges):
        return tflite_families._linear(graph, Linear(core.weights, core.biases + 1), edges)

    monkeypatch.setitem(tflite_families._FAMILIES, Linear, one_off)
    with pytest.raises(ModelError, match="LiteRT decides otherwise, own row 0"):
        tflite_file(models.make("linear"))


def test_arrays_lie_where_the_schema_wants_them():
    """At multiples of 16: microcontrollers can't read 64 bits elsewhere."""
    from ai_edge_litert import schema_py_generated as schema

    (content,) = tflite_file(models.make("small mlp")).values()
    found = schema.Model.GetRootAs(content, 0)
    places = [
        found.Buffers(number)._tab.Vector(found.Buffers(number)._tab.Offset(4))
        for number in range(found.BuffersLength())
        if found.Buffers(number).DataLength()
    ]
    assert len(places) > 5 and all(place % 16 == 0 for place in places)
    assert b"small mlp" in found.Description() or found.Description().startswith(b"test, version")


def test_too_many_bins_are_refused_with_a_way_out():
    rows = tuple(ModelInput(f"x{n}", Bins("linear", 0, 99_999, 60_000)) for n in range(2))
    model = checked(DecisionModel("wide", rows, ("no", "yes"), Linear(np.array([[1, 2]]), np.array([0])), ""))
    with pytest.raises(ModelError, match="so many bins"):
        tflite_file(model)


def test_the_command_writes_it(capsys, tmp_path):
    code, text, error = run(capsys, "export", "migration", "--to", "tflite", "-o", tmp_path)
    assert code == 0 and "migration.tflite" in text and "decision is the number" in text + error
