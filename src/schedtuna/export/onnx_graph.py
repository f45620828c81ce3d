"""A graph of ONNX that is being built: nodes, constants and results, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna.model.model import DecisionModel

if TYPE_CHECKING:
    import numpy.typing as npt

_TYPES = {"int64": 7, "int32": 6, "uint64": 13, "float32": 1, "bool": 9}  # as onnx.TensorProto numbers them


class OnnxGraph:
    """Nodes in the order in which they are added.

    Args:
        opset: Of ONNX' own operators.
        ir_version: Of the file's form.
        producer: Who writes it.
    """

    def __init__(self, opset: int, ir_version: int, producer: str) -> None:
        self._opset, self._ir_version, self._producer = opset, ir_version, producer
        self._nodes: list[tuple[str, tuple[str, ...], str, dict[str, Any]]] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}
        self._results: list[tuple[str, str, tuple[int, ...]]] = []

    def node(self, operator: str, *inputs: str, **attributes: int) -> str:
        """Add a node and return the name of what it puts out."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append((operator, inputs, name, attributes))
        return name

    def constant(self, value: npt.ArrayLike) -> str:
        """Add an array and return its name; integers become int64, but for uint64."""
        array = np.asarray(value)
        if array.dtype.kind in "iu" and array.dtype != np.uint64:
            array = array.astype(np.int64)
        name = f"constant_{len(self._constants)}"
        self._constants[name] = array
        return name

    def result(self, name: str, of: str, shape: tuple[int, ...], kind: str = "") -> None:
        """Name a result: a row of that shape for each row of values; of integers, where no kind is named."""
        self._nodes.append(("Identity", (of,), name, {}))
        self._results.append((name, kind or ("int32" if of.startswith("cast32_") else "int64"), shape))

    def to_int64(self, of: str) -> str:
        """Add a node that makes integers of flags, or signed of unsigned ones, modulo 2^64."""
        return self.node("Cast", of, to=_TYPES["int64"])

    def to_int32(self, of: str) -> str:
        """Add a node that narrows what is known to fit."""
        name = f"cast32_{len(self._nodes)}"
        self._nodes.append(("Cast", (of,), name, {"to": _TYPES["int32"]}))
        return name

    def sum(self, of: str, axis: int, *, keep: bool = False) -> str:
        """Add a node that sums over an axis."""
        return self.node("ReduceSum", of, self.constant([axis]), keepdims=int(keep))

    def shifted(self, of: str, bits: str | npt.NDArray[Any]) -> str:
        """Add nodes that shift to the right without a sign: ONNX shifts unsigned integers alone."""
        by = bits if isinstance(bits, str) else self.constant(bits)
        wide = [self.node("Cast", one, to=_TYPES["uint64"]) for one in (of, by)]
        shifted: str = self.node("BitShift", *wide)
        self._nodes[-1][3]["direction"] = "RIGHT"
        return self.to_int64(shifted)

    def model(self, onnx: Any, model: DecisionModel) -> bytes:
        """Return the file of a model, whose inputs are `values`.

        Args:
            onnx: The library.
            model: What the graph computes; its names are kept in the file.
        """
        told = {
            "name": model.name,
            "version": model.version,
            "made_by": model.made_by,
            "inputs": "\n".join(one.name for one in model.inputs),
            "labels": "\n".join(model.labels),
        }
        return self.file(onnx, {"values": ("int64", len(model.inputs))}, told)

    def file(self, onnx: Any, inputs: Mapping[str, tuple[str, int]], told: Mapping[str, str]) -> bytes:
        """Return the file, checked by onnx itself.

        Args:
            onnx: The library.
            inputs: By name: their type, and how many numbers a row of them has.
            told: Properties that are kept in the file.
        """
        helper = onnx.helper
        given = [
            helper.make_tensor_value_info(name, _TYPES[kind], ["rows", size])
            for name, (kind, size) in inputs.items()
        ]
        results = [
            helper.make_tensor_value_info(name, _TYPES[kind], ["rows", *shape])
            for name, kind, shape in self._results
        ]
        graph = helper.make_graph(
            [
                helper.make_node(operator, list(inputs), [name], name, **attributes)
                for operator, inputs, name, attributes in self._nodes
            ],
            "decision",
            given,
            results,
            [onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        made = helper.make_model(
            graph,
            producer_name=self._producer,
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=self._ir_version,
        )
        helper.set_model_props(made, dict(told))
        onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString(deterministic=True))
