"""A model in ONNX decides as the reference does, in another's runtime, or is not written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests import models

from schedtuna.errors import MissingExtraError, ModelError
from schedtuna.export import onnx_families
from schedtuna.export.onnx import onnx_file
from schedtuna.model.bins import Bins
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
INT64 = np.iinfo(np.int64)


def session_of(model: DecisionModel):
    (content,) = onnx_file(model).values()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", models.KINDS)
def test_it_decides_as_the_reference_on_rows_of_any_size(kind):
    model = models.make(kind)
    random = np.random.default_rng(11)
    columns = [random.integers(one.bins.lo, one.bins.hi, 3000, endpoint=True) for one in model.inputs]
    anything = random.integers(INT64.min, INT64.max, (300, len(model.inputs)), endpoint=True)
    values = np.concatenate([np.stack(columns, axis=1), anything, anything * 0])
    decision, logits = session_of(model).run(["decision", "logits"], {"values": values})
    bins = model.quantise(values)
    assert logits.dtype == np.int32 and np.array_equal(logits, model.core.logits(bins))
    assert decision.dtype == np.int64 and np.array_equal(decision, model.decide(bins))
    assert kind.endswith("of ends") or len(np.unique(logits)) > 5


def test_bins_that_span_all_integers_and_octaves_are_exact():
    rows = [
        ModelInput("all", Bins("linear", int(INT64.min), int(INT64.max), 65536)),
        ModelInput("octaves", Bins("log2", 0, int(INT64.max), 64, 1)),
        ModelInput("fine", Bins("log2", 1000, 2**40, 5000, 4096)),
        ModelInput("few", Bins("linear", -3, 3, 7)),
    ]
    core = Linear(np.array([[1, 300, 7, 1000]]), np.array([-50_000]))
    model = checked(DecisionModel("wide", tuple(rows), ("no", "yes"), core, "a test"))
    powers = np.array([s * 2**k + d for k in range(63) for d in (-1, 0, 1) for s in (-1, 1)], np.int64)
    values = np.stack([np.random.default_rng(1).permutation(powers) for _ in rows], axis=1)
    _, logits = session_of(model).run(["decision", "logits"], {"values": values})
    assert np.array_equal(logits, model.core.logits(model.quantise(values)))


def test_the_file_says_what_it_is():
    model = models.make("linear of four")
    ((name, content),) = onnx_file(model, "mine").items()
    assert name == "mine.onnx"
    told = {one.key: one.value for one in onnx.load_model_from_string(content).metadata_props}
    assert told["version"] == model.version
    assert told["labels"].splitlines() == list(model.labels)
    assert told["inputs"].splitlines() == [one.name for one in model.inputs]
    assert content == onnx_file(model, "mine")["mine.onnx"]


def test_a_file_that_would_decide_otherwise_is_not_written(monkeypatch):
    def one_off(graph, core, bins):
        return onnx_families._dense(graph, bins, core.weights, core.biases + 1)

    monkeypatch.setitem(onnx_families._FAMILIES, Linear, one_off)
    with pytest.raises(ModelError, match="onnxruntime decides otherwise, own row 0"):
        onnx_file(models.make("linear"))


def test_a_family_that_is_not_known_is_refused_by_name():
    class Other(Linear):
        family = "other"

    model = models.make("linear")
    other = replace(model, core=Other(**model.core.arrays()), rows=None)
    with pytest.raises(ModelError, match="other can't be said in ONNX"):
        onnx_file(checked(other))


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnx"):
        onnx_file(models.make("linear"))
