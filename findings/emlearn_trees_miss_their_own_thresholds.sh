#!/bin/sh
# emlearn 0.23.2: a converted tree is wrong for the whole-number features that its default is for: flags vanish.
#
# emlearn makes C of scikit-learn's trees for microcontrollers, with features as int16_t unless said otherwise.
# scikit-learn goes left where x <= threshold, and puts thresholds halfway between values: 0.5 between 0 and 1. The C
# code goes left where x < threshold, with the threshold cut to a whole number (0): so each comparison is off by one. Of
# wide features few rows are hit; a feature of 0 and 1 decides nothing any more, and one of a few levels is shifted by a
# level. With dtype="float" the threshold stays, and a row on a threshold still goes the other way, as it does where
# whole numbers two apart were seen in training. Nothing is said of it.
#
# Needs python3 with venv and a C compiler; it installs the packages (about 100 MB) in a temporary folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check emlearn==0.23.2 scikit-learn==1.9.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import emlearn
import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

levels = np.arange(4, dtype=np.float32)[:, None]
of_levels = DecisionTreeRegressor().fit(levels, levels[:, 0])
flags = np.array([[0], [1]], np.float32)
of_flags = DecisionTreeClassifier().fit(flags, [0, 1])
even = 2 * levels
of_even = DecisionTreeRegressor().fit(even, even[:, 0])
odd = np.array([[1], [3], [5]], np.float32)

def both(name, model, rows, **how):
    expected = [float(one) for one in model.predict(rows)]
    found = [float(one) for one in emlearn.convert(model, **how).predict(rows)]
    print(f"{name:38}scikit-learn {expected}, emlearn {found}")
    return expected, found

seen = [
    both("levels 0 to 3", of_levels, levels),
    both("levels 0 to 3, dtype=float", of_levels, levels, dtype="float"),
    both("a flag", of_flags, flags),
    both("on a threshold, dtype=float", of_even, odd, dtype="float"),
]
if seen != [
    ([0, 1, 2, 3], [1, 2, 3, 3]),
    ([0, 1, 2, 3], [0, 1, 2, 3]),
    ([0, 1], [1, 1]),
    ([0, 2, 4], [2, 4, 6]),
]:
    sys.exit("changed: whole-number features, or rows on a threshold, come out otherwise")
print("as described: thresholds are cut to whole numbers and compared with <, not <=")
PYTHON
