"""A model as ONNX: from values to bins to a decision, in 64-bit integers throughout.

No operator rounds: sums and products are of integers, divisions are shifts of what is not negative. A runtime
that has these operators for int64 decides as the reference does; onnxruntime is asked before a file is
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna import __version__
from schedtuna.errors import MissingExtraError, ModelError
from schedtuna.export.c_text import identifier
from schedtuna.export.onnx_families import core_nodes
from schedtuna.export.onnx_graph import OnnxGraph
from schedtuna.export.searched_rows import compared_rows, require_same
from schedtuna.model.bins import LINEAR_SHIFT
from schedtuna.model.model import DecisionModel

if TYPE_CHECKING:
    from schedtuna.model.core import IntArray

OPSET = 13  # of ONNX 1.8: all operators that are needed are there
IR_VERSION = 7  # the same release's
_INT64 = np.iinfo(np.int64)


def onnx_file(model: DecisionModel, name: str | None = None) -> dict[str, bytes]:
    """Return NAME.onnx: int64 ``values`` [rows, inputs] in; int64 ``decision`` [rows], int32 ``logits`` out.

    Args:
        model: The model, with rows.
        name: Of the file; default: made of the model's name.

    Raises:
        MissingExtraError: The extra `onnx` is not installed.
        ModelError: Its family has no form in ONNX, or onnxruntime does not decide as the reference does.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - nothing is written that it has not run
    except ImportError:
        raise MissingExtraError("exporting ONNX", "onnx") from None
    content = _graph(model).model(onnx, model)
    for told, values in compared_rows(model).items():
        require_same(
            "onnxruntime", model, told, values, run_onnx(content, ["decision", "logits"], {"values": values})
        )
    return {f"{name or identifier(model.name)}.onnx": content}


def _graph(model: DecisionModel) -> OnnxGraph:
    graph = OnnxGraph(OPSET, IR_VERSION, f"Schedtuna {__version__}")
    bins = _bins(graph, model)
    logits = core_nodes(graph, model.core, bins)
    graph.result("logits", graph.to_int32(logits), (model.core.nr_logits,))
    if model.core.nr_logits == 1:
        zero = graph.constant(np.zeros(1, np.int64))
        decision = graph.to_int64(graph.node("Greater", logits, zero))
        graph.result("decision", graph.node("Reshape", decision, graph.constant([-1])), ())
    else:  # of equal ones the first
        decision = graph.node("ArgMax", graph.to_int32(logits), axis=1, keepdims=0, select_last_index=0)
        graph.result("decision", decision, ())
    return graph


def _bins(graph: OnnxGraph, model: DecisionModel) -> str:
    """The rule of `model.bins`, of all columns at once: both kinds are computed, and one is taken."""
    rules = np.array([one.bins.constants() for one in model.inputs], np.int64)
    is_log2 = np.array([one.bins.kind == "log2" for one in model.inputs])
    lo, hi, last, shift, multiplier, base = rules.T
    clamped = graph.node("Min", graph.node("Max", "values", graph.constant(lo)), graph.constant(hi))
    made = []
    if not is_log2.all():
        distance = graph.node("Sub", clamped, graph.constant(lo))
        steps = graph.shifted(distance, np.where(is_log2, 0, shift))
        scaled = graph.node("Mul", steps, graph.constant(multiplier))  # modulo 2^64
        made.append(graph.shifted(scaled, np.full(len(rules), LINEAR_SHIFT)))
    if is_log2.any():
        made.append(_log2_bins(graph, clamped, np.where(is_log2, shift, 0), base))
    index = made[0] if len(made) == 1 else graph.node("Where", graph.constant(is_log2), made[1], made[0])
    return graph.node("Min", index, graph.constant(last))


def _log2_bins(graph: OnnxGraph, clamped: str, per_octave: IntArray, base: IntArray) -> str:
    """index(x) - index(lo): the octaves above the first are counted, for want of a logarithm of integers."""
    ends = np.full((len(per_octave), 62), _INT64.max)
    for row, power in zip(ends, per_octave.tolist(), strict=True):
        row[: 62 - power] = [(1 << k) - 1 for k in range(power + 1, 63)]
    above = graph.node("Greater", graph.node("Unsqueeze", clamped, graph.constant([2])), graph.constant(ends))
    octaves = graph.sum(graph.to_int64(above), axis=2)
    whole = graph.node("Mul", octaves, graph.constant(np.left_shift(1, per_octave)))
    index = graph.node("Add", whole, graph.shifted(clamped, octaves))
    return graph.node("Sub", index, graph.constant(base))


def run_onnx(content: bytes, results: list[str], feed: dict[str, Any]) -> Any:
    """Return what onnxruntime makes of arrays, by the names of a file's inputs.

    Raises:
        ModelError: It can't run the file.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return session.run(results, feed)
    except Exception as error:  # its own have no common class
        first = str(error).splitlines()[0][:200]
        raise ModelError(f"onnxruntime {onnxruntime.__version__} can't run the model: {first}") from error
