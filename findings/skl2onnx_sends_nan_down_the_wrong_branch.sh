#!/bin/sh
# skl2onnx 1.20.0 and scikit-learn 1.9.1: a tree that was trained with NaN predicts otherwise in ONNX wherever a row has NaN.
#
# scikit-learn's trees learn at each split which way a missing value goes. ONNX's tree operators have an attribute for just
# that, and skl2onnx leaves it unset: there NaN always goes to the false branch. The conversion warns of nothing, rows
# without NaN agree, and of rows with NaN about a quarter change their label. A counter that a kernel lacks is
# such a value: a model that is sound in Python decides wrongly where it is deployed.
#
# Needs python3 with venv; it installs the four packages (about 300 MB) in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check \
    scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.tree import DecisionTreeClassifier

random = np.random.default_rng(0)
rows = random.normal(size=(2000, 4)).astype(np.float32)
labels = (rows[:, 0] + rows[:, 1] > 0).astype(int)
rows[random.random(rows.shape) < 0.2] = np.nan
model = DecisionTreeClassifier(max_depth=6, random_state=0).fit(rows, labels)
converted = onnxruntime.InferenceSession(to_onnx(model, rows[:1]).SerializeToString())
wrong = converted.run(None, {"X": rows})[0] != model.predict(rows)
missing = np.isnan(rows).any(axis=1)
print(f"labels that differ: {wrong[missing].mean():.1%} of rows with NaN, {wrong[~missing].mean():.1%} of the others")
if wrong[~missing].any() or wrong[missing].mean() < 0.05:
    sys.exit("changed: NaN takes the branch that the tree learnt")
print("as described: rows with NaN are decided otherwise, and nothing warned")
PYTHON
