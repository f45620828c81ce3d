"""A net as ONNX stores it: a chain of Gemm, or MatMul and Add, with Relu between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from schedtuna.errors import MissingExtraError, ModelError
from schedtuna.learn.float_nets import FloatNet, NetStep, net_of


def read_onnx(content: bytes, name: str) -> FloatNet:
    """Read ONNX: see `schedtuna.learn.net_files.read_net`."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError:
        raise MissingExtraError("reading ONNX", "onnx") from None
    try:
        graph = onnx.load_model_from_string(content).graph
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{name} is no ONNX: {error}") from None
    try:
        known = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{name}: its numbers are not in it: {error}", hint="export with external_data=False"
        ) from None
    inputs = [one.name for one in graph.input if one.name not in known]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(
            f"{name} has {len(inputs)} inputs and {len(graph.output)} outputs, expected one each"
        )
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    steps = _merged(list(_onnx_steps(nodes, inputs[0], graph.output[0].name, known)))
    return net_of(steps, name, predict=_onnx_predict(content, inputs[0]))


def _onnx_steps(
    nodes: Sequence[Any], current: str, last: str, known: Mapping[str, Any]
) -> Iterator[NetStep | tuple[str, Any]]:
    plain = {"Relu": "relu", "Sigmoid": "sigmoid", "Softmax": "softmax"}
    for node in nodes:
        set_ = {one.name: one for one in node.attribute}
        others = [given for given in node.input if given and given != current]
        if current not in node.input or any(one not in known for one in others):
            raise ModelError(f"{node.op_type} {node.name}: the net is no chain of layers")
        if node.op_type in plain:
            yield NetStep(cast("Any", plain[node.op_type]), told=node.op_type)
        elif node.op_type == "Gemm" and node.input[0] == current:
            alpha, beta = (set_[k].f if k in set_ else 1.0 for k in ("alpha", "beta"))
            if "transA" in set_ and set_["transA"].i:
                raise ModelError("Gemm of transposed rows can't be represented")
            weights = alpha * known[node.input[1]]
            weights = weights if "transB" in set_ and set_["transB"].i else weights.T
            bias = beta * known[node.input[2]] if len(node.input) > 2 else 0.0
            yield NetStep("dense", weights, np.broadcast_to(bias, weights.shape[:1]), told=node.op_type)
        elif node.op_type == "MatMul" and node.input[0] == current:
            yield ("MatMul", known[node.input[1]].T)
        elif node.op_type == "Add":
            yield ("Add", known[others[0]])
        elif node.op_type not in ("Identity", "Dropout"):
            raise ModelError(
                f"ONNX's {node.op_type} can't be represented",
                hint="a net is Gemm, or MatMul and Add, with Relu between, and Sigmoid or Softmax in the end",
            )
        current = node.output[0]
    if current != last:
        raise ModelError("what the net puts out is not its last layer")


def _merged(found: Sequence[NetStep | tuple[str, Any]]) -> list[NetStep]:
    """MatMul and Add are one layer."""
    steps: list[NetStep] = []
    for one in found:
        if isinstance(one, NetStep):
            steps.append(one)
        elif one[0] == "MatMul":
            steps.append(NetStep("dense", one[1], np.zeros(len(one[1])), told="MatMul"))
        elif steps and steps[-1].kind == "dense":
            last = steps[-1]
            steps[-1] = NetStep("dense", last.weights, last.biases + np.reshape(one[1], -1), told=last.told)
        else:
            raise ModelError("Add without a MatMul before it can't be represented")
    return steps


def _onnx_predict(content: bytes, input_name: str) -> Callable[[Any], Any] | None:
    try:
        import onnxruntime
    except ImportError:
        return None

    def predict(rows: Any) -> Any:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        fixed = session.get_inputs()[0].shape[0]
        if isinstance(fixed, int):  # some are exported for so many rows at a time
            padded = np.concatenate([rows, np.zeros((-len(rows) % fixed, rows.shape[1]), np.float32)])
            parts = [
                session.run(None, {input_name: part})[0] for part in padded.reshape(-1, fixed, rows.shape[1])
            ]
            return np.concatenate(parts)[: len(rows)]
        return session.run(None, {input_name: rows})[0]

    return predict
