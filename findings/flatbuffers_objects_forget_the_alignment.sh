#!/bin/sh
# flatbuffers 25.12.19 and the TensorFlow Lite schema of ai-edge-litert 2.3.0: models that Python's objects write are
# not aligned as the schema says.
#
# The schema wants a buffer's content at a multiple of 16 bytes (`data:[ubyte] (force_align: 16)`), so that a runtime can
# use weights where they lie, in flash, too. The generated Python classes (ModelT, Pack) align a vector of bytes to 4.
# LiteRT on a PC takes such a file; it is well formed. Where 64-bit weights have to be aligned, or a runtime reads with
# aligned vector loads, it is not what the schema promised. What helps is to start those vectors by hand:
# builder.StartVector(1, size, 16).
#
# Needs python3 with venv, 0.2 GB of disk, and a minute.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q --disable-pip-version-check ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6 \
    2> pip.log || { cat pip.log >&2; exit 1; }
env/bin/python - 2> warnings <<'PYTHON' || { cat warnings >&2; exit 1; }
import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter


def tensor(name, shape, buffer):
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, schema.TensorType.INT64
    return made


def model(weights):
    """The sum of an input and of weights, all of 64 bits."""
    add = schema.OperatorT()
    add.opcodeIndex, add.inputs, add.outputs = 0, [0, 1], [2]
    add.builtinOptionsType, add.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [len(weights)], 0), tensor("w", [len(weights)], 1), tensor("y", [len(weights)], 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [add]
    empty, full = schema.BufferT(), schema.BufferT()
    full.data = np.frombuffer(weights.tobytes(), np.uint8)
    made = schema.ModelT()
    made.version, made.subgraphs, made.buffers, made.operatorCodes = 3, [graph], [empty, full], [code]
    return made


places = set()
for count in range(1, 9):
    weights = np.arange(count, dtype=np.int64) + 0x1122334455667700
    builder = flatbuffers.Builder(0)
    builder.Finish(model(weights).Pack(builder), b"TFL3")
    written = bytes(builder.Output())
    places.add(written.index(weights.tobytes()) % 16)
    told = Interpreter(model_content=written)
    told.allocate_tensors()
    told.set_tensor(told.get_input_details()[0]["index"], np.ones(count, np.int64))
    told.invoke()
    assert (told.get_tensor(told.get_output_details()[0]["index"]) == weights + 1).all()
print(f"weights begin at these offsets, modulo 16: {sorted(places)}; the schema says [0]")
if places == {0} or not any(place % 8 for place in places):
    sys.exit("changed: the content is aligned")
print("as described: weights of 64 bits lie at odd multiples of 4 bytes, and LiteRT takes the file")
PYTHON
