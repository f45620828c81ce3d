"""A net as TensorFlow Lite stores it: fully connected layers, each with an activation of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.learn.float_nets import FloatNet, NetStep, net_of
from schedtuna.model.litert import require_litert, run_tflite

_MOST = 256  # operators, and tensors: a small net has a dozen
_NONE, _RELU = 0, 1  # as ActivationFunctionType of LiteRT's schema numbers them
_FLOATS = {0: "<f4", 1: "<f2"}  # and its TensorType
_ASTRAY = (
    struct.error,
    TypeError,
    ValueError,
    OverflowError,
    IndexError,
    AttributeError,
)  # where offsets lead
_HINT = "convert it without quantisation: integers are made here, and what they cost is told"


def read_tflite(content: bytes, name: str) -> FloatNet:
    """Read `.tflite`: see `schedtuna.learn.net_files.read_net`."""
    require_litert("reading TensorFlow Lite's files")
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ModelError(f"{name} is no file of TensorFlow Lite")
    try:
        steps = list(_TfliteGraph(schema, schema.Model.GetRootAs(bytearray(content), 0)).steps())
    except _ASTRAY as error:
        raise ModelError(f"{name} is damaged: {error}") from None
    return net_of(steps, name, predict=_predict(content))


class _TfliteGraph:
    """A file's only graph, and how it is read."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._model = model
        self._options = schema.FullyConnectedOptions
        self._operators = {
            number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
        }
        self._types = {
            number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)
        }
        if model.SubgraphsLength() != 1:
            raise ModelError(f"it has {model.SubgraphsLength()} graphs, expected one")
        self._graph = model.Subgraphs(0)
        if max(self._graph.OperatorsLength(), self._graph.TensorsLength()) > _MOST:
            raise ModelError(f"it has more than {_MOST} operators or tensors, and is no small net")

    def steps(self) -> Iterator[NetStep]:
        """What it does, in order."""
        graph = self._graph
        if graph.InputsLength() != 1 or graph.OutputsLength() != 1:
            raise ModelError(
                f"it has {graph.InputsLength()} inputs and {graph.OutputsLength()} outputs, expected one each"
            )
        current = graph.Inputs(0)
        widened: dict[int, int] = {}  # tensors of float32 that are what others of float16 are
        for number in range(graph.OperatorsLength()):
            one = graph.Operators(number)
            kind = self._kind(one)
            given = [one.Inputs(i) for i in range(min(one.InputsLength(), _MOST))]
            if kind == "DEQUANTIZE" and given and given[0] != current:
                widened[one.Outputs(0)] = given[0]
                continue
            if not given or given[0] != current or one.OutputsLength() != 1:
                raise ModelError(f"{kind}, number {number}: the net is no chain of layers")
            yield from self._layer(kind, number, one, [widened.get(i, i) for i in given])
            current = one.Outputs(0)
        if current != graph.Outputs(0):
            raise ModelError("what the net puts out is not its last layer")

    def _layer(self, kind: str, number: int, one: Any, given: list[int]) -> Iterator[NetStep]:
        told = f"{kind}, number {number},"
        if kind == "FULLY_CONNECTED":
            weights = self._array(given[1])
            has_bias = len(given) > 2 and given[2] >= 0
            bias = self._array(given[2]) if has_bias else np.zeros(len(weights))
            yield NetStep("dense", weights, bias.reshape(-1), told)
            yield from self._activation(one, told)
        elif kind in ("RELU", "LOGISTIC", "SOFTMAX"):
            known = {"RELU": "relu", "LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}
            yield NetStep(cast("Any", known[kind]), told=told)
        else:
            raise ModelError(
                f"TensorFlow Lite's {kind} can't be represented",
                hint=_HINT
                if kind in ("QUANTIZE", "DEQUANTIZE")
                else "a net is fully connected layers with RELU between, and LOGISTIC or SOFTMAX in the end",
            )

    def _activation(self, one: Any, told: str) -> Iterator[NetStep]:
        options = self._options()
        table = one.BuiltinOptions()
        if table is None:
            raise ValueError(f"{told} has no options")
        options.Init(table.Bytes, table.Pos)
        activation = options.FusedActivationFunction()
        if options.WeightsFormat():
            raise ModelError(f"{told} has weights in an order that can't be read")
        if activation == _RELU:
            yield NetStep("relu", told=told)
        elif activation != _NONE:
            raise ModelError(f"{told} has activation {activation} of TensorFlow Lite: expected RELU or none")

    def _kind(self, one: Any) -> str:
        if one.OpcodeIndex() >= self._model.OperatorCodesLength():
            raise ValueError("an operator's kind is not there")
        code = self._model.OperatorCodes(one.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return str(self._operators.get(kind, f"operator {kind}"))

    def _array(self, number: int) -> np.ndarray:
        if not 0 <= number < self._graph.TensorsLength():
            raise ValueError("a tensor is not there")
        tensor = self._graph.Tensors(number)
        if tensor.Type() not in _FLOATS:
            kind = self._types.get(tensor.Type(), str(tensor.Type()))
            raise ModelError(f"weights or biases are of type {kind}, expected floats", hint=_HINT)
        if tensor.Buffer() >= self._model.BuffersLength():
            raise ValueError("a buffer is not there")
        found = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        if not isinstance(found, np.ndarray):
            raise ModelError("weights or biases are computed, or lie outside of the file")
        shape = [tensor.Shape(i) for i in range(min(tensor.ShapeLength(), 8))]
        return found.view(_FLOATS[tensor.Type()]).reshape(shape).astype(np.float64)


def _predict(content: bytes) -> Callable[[Any], Any]:
    def predict(rows: Any) -> Any:
        return run_tflite(content, rows)[0]

    return predict
