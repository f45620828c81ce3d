"""A model as TensorFlow Lite: from values to a decision, by operators that LiteRT and TFLite Micro have.

Bins are found by comparisons, since products of 64 bits are not to be had everywhere; all that follows are
whole numbers, exact in what computes them. LiteRT is asked before a file is written.
"""

from __future__ import annotations

import numpy as np

from schedtuna import __version__
from schedtuna.export.c_text import identifier
from schedtuna.export.searched_rows import compared_rows, require_same
from schedtuna.export.tflite_families import core_logits
from schedtuna.export.tflite_graph import TfliteGraph
from schedtuna.model.litert import require_litert, run_tflite
from schedtuna.model.model import DecisionModel

_INT32 = np.iinfo(np.int32)


def tflite_file(model: DecisionModel, name: str | None = None) -> dict[str, bytes]:
    """Return NAME.tflite: ``values`` [rows, inputs] in; int32 ``decision`` [rows] and ``logits`` out.

    Values are int32 where all bounds of bins are, else int64.

    Args:
        model: The model, with rows.
        name: Of the file; default: made of the model's name.

    Raises:
        MissingExtraError: The extra `tflite` is not installed.
        ModelError: It has no form there, or LiteRT does not decide as the reference does.
    """
    require_litert("exporting TensorFlow Lite")
    content, dtype = _content(model)
    limits = np.iinfo(np.dtype(dtype))
    for told, values in compared_rows(model).items():
        given = np.clip(values, limits.min, limits.max)
        decision, logits = run_tflite(content, given.astype(dtype))
        require_same("LiteRT", model, told, given, (decision, logits))
    return {f"{name or identifier(model.name)}.tflite": content}


def _content(model: DecisionModel) -> tuple[bytes, str]:
    from ai_edge_litert import schema_py_generated as schema

    edges = [one.bins.edges()[1:] for one in model.inputs]
    is_narrow = all(_INT32.min < one.min() and one.max() < _INT32.max for one in edges)
    dtype = "int32" if is_narrow else "int64"
    graph = TfliteGraph(schema, len(model.inputs), dtype)
    logits = core_logits(graph, model.core, edges)
    decision = _decision(graph, logits)
    graph.result("decision", decision)
    graph.result("logits", logits)
    inputs, labels = ", ".join(one.name for one in model.inputs), ", ".join(model.labels)
    about = f"{model.name}, version {model.version}; inputs: {inputs}; decides: {labels}"
    return graph.file(f"{about}; by Schedtuna {__version__}"), dtype


def _decision(graph: TfliteGraph, logits: int) -> int:
    """The number of a row's label, int32 [rows]; of equal logits the first. Micro selects floats alone."""
    nr_logits = graph.shape_of(logits)[1]
    if nr_logits == 1:
        above = graph.binary("GREATER", logits, graph.constant([0], "int32"), "bool")
        return graph.reshaped(graph.cast(above, "int32"), 1)
    best, number = graph.column(logits, 0), graph.constant([[0]], "float32")
    for index in range(1, nr_logits):
        one = graph.column(logits, index)
        above = graph.binary("GREATER", one, best, "bool")
        given = [above, graph.constant([[index]], "float32"), number]
        number = graph.operator("SELECT_V2", given, (1, 1), "float32", graph.set("SelectV2"))
        best = graph.binary("MAXIMUM", one, best)
    return graph.reshaped(graph.cast(number, "int32"), 1)
