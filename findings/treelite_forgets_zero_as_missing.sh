#!/bin/sh
# treelite 4.8.1 loads a LightGBM 4.7.0 model that was trained with zero_as_missing, and predicts as if it were not.
#
# Such a model's splits have missing type "Zero": 0 goes the way that was learnt for missing values. treelite reads the
# model without a warning and compares 0 with the threshold like any number, so rows that hold a 0 get other predictions,
# here and in the C code that TL2cgen makes of the loaded model. It does refuse models that it can't represent (linear
# trees): a load that succeeds seems to be right. Counters that are mostly 0 are what this option is used for.
#
# Needs python3 with venv; it installs the packages (about 300 MB) in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check lightgbm==4.7.0 treelite==4.8.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import lightgbm
import numpy as np
import treelite

random = np.random.default_rng(0)
rows = random.normal(size=(2000, 4))
labels = 3 * rows[:, 0] + rows[:, 1] ** 2
rows[random.random(rows.shape) < 0.3] = 0
zeros = (rows == 0).any(axis=1)

def wrong_rows(**parameters) -> np.ndarray:
    fixed = {"num_threads": 1, "seed": 1, "verbose": -1}
    model = lightgbm.train(fixed | parameters, lightgbm.Dataset(rows, labels), num_boost_round=20)
    loaded = treelite.frontend.from_lightgbm(model)
    return np.abs(treelite.gtil.predict(loaded, rows).ravel() - model.predict(rows)) > 1e-3

usual, missing = wrong_rows(), wrong_rows(zero_as_missing=True)
print(f"usual model: {usual.mean():.1%} of rows differ")
print(f"zero_as_missing: {missing[zeros].mean():.1%} of rows with a 0 differ, {missing[~zeros].mean():.1%} of the others")
if usual.any() or missing[~zeros].any() or missing[zeros].mean() < 0.1:
    sys.exit("changed: 0 goes the way of missing values")
print("as described: 0 is compared with the threshold, and nothing warned")
PYTHON
