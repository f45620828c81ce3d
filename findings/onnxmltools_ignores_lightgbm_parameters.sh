#!/bin/sh
# onnxmltools 1.16.0 and LightGBM 4.7.0: four kinds of models convert without a word into ONNX that predicts something else.
#
# - boosting=rf: the trees are summed, not averaged: 20 trees predict 20 times as much;
# - sigmoid=2: the probabilities are those of sigmoid=1;
# - reg_sqrt: the square root is predicted, it is never squared;
# - linear_tree: each leaf predicts its constant, its linear model is dropped.
# The converter refuses objectives that it does not know, so a conversion that succeeds seems to be right. A usual model
# does agree, to 1e-5. Who brings a model to another runtime through ONNX must compare predictions, not trust the exit code.
#
# Needs python3 with venv; it installs the packages (about 400 MB) in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check lightgbm==4.7.0 onnxmltools==1.16.0 skl2onnx==1.20.0 \
    onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - 2> warnings <<'PYTHON' || { cat warnings >&2; exit 1; }
import sys

import lightgbm
import numpy as np
import onnxruntime
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

random = np.random.default_rng(0)
rows = random.normal(size=(2000, 4)).astype(np.float32)
values = np.abs(3 * rows[:, 0] + rows[:, 1] ** 2)

def largest_difference(name: str, labels, **parameters) -> float:
    fixed = {"num_threads": 1, "seed": 1, "verbose": -1}
    model = lightgbm.train(fixed | parameters, lightgbm.Dataset(rows, labels), num_boost_round=20)
    onnx = convert_lightgbm(model, initial_types=[("rows", FloatTensorType([None, 4]))], zipmap=False)
    session = onnxruntime.InferenceSession(onnx.SerializeToString())
    expected, given = model.predict(rows), session.run(None, {"rows": rows})[-1]
    given = given.reshape(len(rows), -1)[:, -1]
    print(f"{name:12}LightGBM {expected[:3].round(3)}, ONNX {given[:3].round(3)}")
    return np.abs(expected - given).max()

usual = largest_difference("usual", values)
wrong = [
    largest_difference("rf", values, boosting="rf", bagging_freq=1, bagging_fraction=0.6),
    largest_difference("sigmoid", values > 1, objective="binary", sigmoid=2.0),
    largest_difference("reg_sqrt", values, reg_sqrt=True),
    largest_difference("linear_tree", values, linear_tree=True),
]
print("largest differences:", *(f"{difference:.2g}" for difference in [usual, *wrong]))
if usual > 1e-4 or min(wrong) < 0.01:
    sys.exit("changed: the converted models agree, or the usual one does not")
print("as described: each conversion succeeded, only the usual model's predictions are LightGBM's")
PYTHON
