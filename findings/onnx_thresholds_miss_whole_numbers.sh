#!/bin/sh
# LightGBM 4.7.0 to ONNX by onnxmltools 1.16.0: whole numbers from 2^23 to 2^24 are exact in float32, and still go wrong.
#
# ONNX's trees hold features and thresholds in float32. That is held to be safe for whole numbers below 2^24, which
# float32 represents. But LightGBM splits halfway between neighbours: 8388611.5 has no float32, it is rounded to a whole
# number, and where that is the upper neighbour, `x <= threshold` sends it left instead of right. Below 2^23
# halves are exact and every row agrees. Times of 8.4 to 16.8 ms in nanoseconds lie in this range.
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

def share_of_wrong_rows(lowest: int) -> float:
    """Of rows of whole numbers from `lowest` to `lowest` + 99."""
    steps = np.random.default_rng(0).integers(0, 100, size=(2000, 2))
    rows = (lowest + steps).astype(np.float32)
    assert (rows.astype(np.int64) == lowest + steps).all()  # nothing is lost in float32
    labels = (steps[:, 0] // 7 + steps[:, 1] // 5).astype(float)
    parameters = {"num_threads": 1, "seed": 1, "verbose": -1}
    model = lightgbm.train(parameters, lightgbm.Dataset(rows, labels), num_boost_round=20)
    onnx = convert_lightgbm(model, initial_types=[("rows", FloatTensorType([None, 2]))])
    given = onnxruntime.InferenceSession(onnx.SerializeToString()).run(None, {"rows": rows})[0].ravel()
    differences = np.abs(given - model.predict(rows))
    print(f"from {lowest}: {(differences > 1e-3).mean():.1%} of rows differ, by up to {differences.max():.3g}")
    return (differences > 1e-3).mean()

below, above = share_of_wrong_rows(2**22), share_of_wrong_rows(2**23)
if below > 0 or above < 0.1:
    sys.exit("changed: the thresholds between whole numbers are kept")
print("as described: the features are exact in float32, the thresholds between them are not")
PYTHON
