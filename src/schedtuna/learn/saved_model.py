"""A net as TensorFlow's SavedModel: a folder with functions of nodes, and a checkpoint; without TensorFlow.

The function is that of the signature `serving_default`; what it captures are objects, which the checkpoint
names by the way from the root to them (tensorflow/core/protobuf/saved_object_graph.proto). Nothing is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, cast

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.learn.float_nets import FloatNet, NetStep, net_of
from schedtuna.learn.protobuf_fields import (
    Fields,
    content_of,
    entries,
    fields_of,
    integer,
    integers,
    message,
    messages,
    text,
    texts,
)
from schedtuna.learn.tensor_bundle import TensorBundle

FILE = "saved_model.pb"
_SIGNATURE = "serving_default"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SAME = {"Identity", "ReadVariableOp", "StopGradient", "PreventGradient", "EnsureShape"}
_PLAIN = {"Relu": "relu", "Sigmoid": "sigmoid", "Softmax": "softmax"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_VARIABLE = 7  # the field of an object that is one
_MOST_CALLS = 32
_HINT = "a net is dense layers with relu between, and a sigmoid or softmax in the end"
_MOST_GRAPH_BYTES = 8 << 20


def read_saved_model(folder: Path) -> FloatNet:
    """Read a SavedModel of TensorFlow 2, such as Keras' `export` and `tf.saved_model.save` write.

    Raises:
        ModelError: It is none, damaged, or a net that a canonical model can't be; it says what.
        OSError: It can't be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"{folder.name} is a folder without {FILE}: no SavedModel of TensorFlow")
    if path.stat().st_size > _MOST_GRAPH_BYTES:
        raise ModelError(f"{FILE} is larger than {_MOST_GRAPH_BYTES >> 20} MiB, and no small net")
    graphs = messages(fields_of(path.read_bytes()), 2)
    if len(graphs) != 1:
        raise ModelError(f"{FILE} has {len(graphs)} graphs, expected one")
    (graph,) = graphs
    objects = message(graph, 7)
    nodes = messages(objects, 1)
    if not nodes:
        raise ModelError(f"{FILE} is of TensorFlow 1", hint="load it by TensorFlow 2, and save it again")
    name, captured = _signature(nodes, objects)
    arrays = _captured(nodes, captured, TensorBundle(folder / "variables" / "variables"))
    functions = {text(message(one, 1), 1): one for one in messages(message(message(graph, 2), 2), 1)}
    walk = _Walk(functions)
    inputs = len(messages(message(_named(functions, name), 1), 2)) - len(arrays)
    if inputs != 1:
        raise ModelError(f"{_SIGNATURE} takes {inputs} arrays, expected one")
    results = walk.call(name, [walk.last, *arrays])
    if len(results) != 1 or not isinstance(results[0], _Flow) or results[0] != walk.last:
        raise ModelError(f"{_SIGNATURE} gives {len(results)} arrays, expected one, of its last layer")
    return net_of(walk.steps, folder.name)


def _signature(nodes: Sequence[Fields], objects: Fields) -> tuple[str, list[int]]:
    """The function's name, and the numbers of the objects that it captures."""
    signatures = _children(nodes[0]).get("signatures")
    known = _children(_at(nodes, signatures)) if signatures is not None else {}
    if _SIGNATURE not in known:
        raise ModelError(
            f"{FILE} has no signature {_SIGNATURE}; signatures: {', '.join(known) or 'none'}",
            hint="save it by Keras' model.export(DIR), or give tf.saved_model.save signatures=",
        )
    name = text(message(_at(nodes, known[_SIGNATURE]), 8), 1)
    functions = entries(objects, 2)
    return name, integers(_named(functions, name), 2)


def _children(node: Fields) -> dict[str, int]:
    return {text(one, 2): integer(one, 1) for one in messages(node, 1)}


def _at(nodes: Sequence[Fields], number: int) -> Fields:
    if number >= len(nodes):
        raise ModelError(f"object {number} of {len(nodes)} is not there")
    return nodes[number]


def _named(known: Mapping[str, Fields], name: str) -> Fields:
    if name not in known:
        raise ModelError(f"the function {name} is not there")
    return known[name]


def _captured(nodes: Sequence[Fields], numbers: Sequence[int], bundle: TensorBundle) -> list[Any]:
    """The arrays of variables, which both graphs of objects have at the end of the same way from the root."""
    stored = messages(fields_of(bundle.text(_OBJECTS)), 1)
    same = {0: 0}
    pending = [0]
    while pending:
        number = pending.pop()
        there = _children(_at(stored, same[number]))
        for name, child in _children(_at(nodes, number)).items():
            if child not in same and name in there:
                same[child] = there[name]
                pending.append(child)
    found = []
    for number in numbers:
        if number not in same or _VARIABLE not in nodes[number]:
            raise ModelError(f"what it captures as object {number} is no variable of the checkpoint")
        keys = [text(one, 3) for one in messages(_at(stored, same[number]), 2)]
        if len(keys) != 1:
            name = text(message(nodes[number], _VARIABLE), 6)
            raise ModelError(f"the variable {name} is stored in {len(keys)} parts")
        found.append(bundle.array(keys[0]))
    return found


@dataclass(frozen=True)
class _Flow:
    """What rows have become after so many operations."""

    nr_operations: int


@dataclass
class _Walk:
    """Functions, in each other's place, as one chain of steps."""

    functions: Mapping[str, Fields]
    steps: list[NetStep] = field(default_factory=list)
    last: _Flow = field(default_factory=lambda: _Flow(0))
    _nr_calls: int = 0

    def call(self, name: str, given: Sequence[Any]) -> list[Any]:
        """What a function makes of rows and arrays."""
        self._nr_calls += 1
        if self._nr_calls > _MOST_CALLS:
            raise ModelError(f"more than {_MOST_CALLS} calls of functions: no small net")
        function = _named(self.functions, name)
        signature = message(function, 1)
        names = [text(one, 1) for one in messages(signature, 2)]
        if len(names) != len(given):
            raise ModelError(f"{name} takes {len(names)} arrays, and is given {len(given)}")
        known: dict[str, Any] = dict(zip(names, given, strict=True))
        nodes = {text(one, 1): one for one in messages(function, 3)}
        results = {text(one, 1): text(one, 2) for one in messages(function, 4)}
        for node in _ordered(nodes, [results[text(one, 1)] for one in messages(signature, 3)], known):
            inputs = [known[_source(one)] for one in texts(nodes[node], 3) if not one.startswith("^")]
            known[node] = self._value(nodes[node], inputs)
        return [known[_source(results[text(one, 1)])] for one in messages(signature, 3)]

    def _value(self, node: Fields, inputs: list[Any]) -> Any:
        kind = text(node, 2)
        attributes = entries(node, 5)
        if kind in _CALLS:
            results = self.call(text(message(attributes.get("f", {}), 10), 1), inputs)
            if len(results) != 1:
                raise ModelError(f"{kind} gives {len(results)} arrays, expected one")
            return results[0]
        if kind == "Const":
            return _constant(message(attributes.get("value", {}), 8))
        if kind in _SAME and inputs:
            return inputs[0]
        flows = [one for one in inputs if isinstance(one, _Flow)]
        if not flows:
            raise ModelError(
                f"TensorFlow's {kind} {text(node, 1)} of constants can't be represented", hint=_HINT
            )
        if flows != [self.last]:
            raise ModelError(f"{kind} {text(node, 1)}: the net is no chain of layers")
        self._add(kind, text(node, 1), inputs, attributes)
        self.last = _Flow(self.last.nr_operations + 1)
        return self.last

    def _add(self, kind: str, name: str, inputs: list[Any], attributes: Mapping[str, Fields]) -> None:
        others = [np.asarray(one) for one in inputs if not isinstance(one, _Flow)]
        if kind in _PLAIN and not others:
            self.steps.append(NetStep(cast("Any", _PLAIN[kind]), told=f"{kind} {name}"))
        elif kind == "MatMul" and isinstance(inputs[0], _Flow) and others[0].ndim == 2:
            if integer(attributes.get("transpose_a", {}), 5):
                raise ModelError("MatMul of transposed rows can't be represented")
            transposed = integer(attributes.get("transpose_b", {}), 5)
            weights = others[0] if transposed else others[0].T
            self.steps.append(NetStep("dense", weights, np.zeros(len(weights)), told=f"MatMul {name}"))
        elif kind in ("AddV2", "Add", "BiasAdd") and self.steps and self.steps[-1].kind == "dense":
            last = self.steps[-1]
            if np.broadcast_shapes(others[0].shape, (1, len(last.biases))) != (1, len(last.biases)):
                raise ModelError(f"{kind} {name} adds {list(others[0].shape)} to {len(last.biases)} units")
            biases = last.biases + others[0].reshape(-1)
            self.steps[-1] = NetStep("dense", last.weights, biases, told=last.told)
        else:
            raise ModelError(
                f"TensorFlow's {kind} {name} can't be represented",
                hint=_HINT,
            )


def _source(given: str) -> str:
    """The node of an input, such as `add:z:0`."""
    return given.partition(":")[0]


def _ordered(nodes: Mapping[str, Fields], results: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """The nodes that results need, each after those that it needs."""
    needs: dict[str, list[str]] = {}
    pending = [_source(one) for one in results]
    while pending:
        name = pending.pop()
        if name not in known and name not in needs:
            inputs = texts(_named(nodes, name), 3)
            needs[name] = [_source(one) for one in inputs if not one.startswith("^")]
            pending += needs[name]
    try:
        return [name for name in TopologicalSorter(needs).static_order() if name not in known]
    except CycleError:
        raise ModelError("nodes need each other in a circle") from None


def _constant(tensor: Fields) -> Any:
    if integer(tensor, 1) != 1:
        raise ModelError("a constant that is no float can't be represented")
    shape = [integer(one, 1) for one in messages(message(tensor, 2), 2)]
    numbers = [one if isinstance(one, bytes) else one.to_bytes(4, "little") for one in tensor.get(5, ())]
    values = np.frombuffer(content_of(tensor, 4) or b"".join(numbers), "<f4").astype(np.float64)
    return np.full(shape, values[0]) if len(values) == 1 else values.reshape(shape)
