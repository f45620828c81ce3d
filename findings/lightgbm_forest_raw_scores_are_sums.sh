#!/bin/sh
# LightGBM 4.7.0: of a random forest (boosting=rf), predict() averages the trees, and predict(raw_score=True) sums them.
#
# For regression a raw score and a prediction are the same thing with every other way of boosting, and the documentation
# calls raw scores what predictions are before the objective's transformation. A forest of regression has none, yet 20
# trees give raw scores 20 times the predictions: the division by the number of trees belongs to the transformation. Who
# takes leaves' sums, pred_leaf or a dumped model for what the model says, as converters and deployed code do, is off by
# the number of trees, which early stopping or num_iteration=N changes.
#
# Needs python3 with venv; it installs the packages (about 150 MB) in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check lightgbm==4.7.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import lightgbm
import numpy as np

random = np.random.default_rng(0)
rows = random.normal(size=(2000, 4))
labels = 10 + 3 * rows[:, 0] + rows[:, 1] ** 2

def ratio(nr_used: int, **parameters) -> float:
    fixed = {"num_threads": 1, "seed": 1, "verbose": -1}
    model = lightgbm.train(fixed | parameters, lightgbm.Dataset(rows, labels), num_boost_round=20)
    predicted = model.predict(rows, num_iteration=nr_used)
    return float(np.median(model.predict(rows, num_iteration=nr_used, raw_score=True) / predicted))

forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
ratios = [ratio(20), ratio(20, boosting="dart"), ratio(20, **forest), ratio(5, **forest)]
for name, found in zip(("gbdt", "dart", "rf, 20 trees", "rf, 5 of them"), ratios, strict=True):
    print(f"{name:14}raw score / prediction: {found:.3f}")
if not np.allclose(ratios, [1, 1, 20, 5], rtol=1e-6):
    sys.exit("changed: raw scores of a forest are no sums, or those of others are")
print("as described: a forest's raw scores are sums, its predictions means")
PYTHON
