"""XGBoost's own files (JSON and UBJSON, `Booster.save_model`): what they mean, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from schedtuna.configfile import parse_json
from schedtuna.errors import ModelError
from schedtuna.learn.float_trees import FloatTree, FloatTrees, Leaf, TreeSplit
from schedtuna.learn.ubjson import parse_ubjson

_UBJSON_BEGINS = tuple(b"%c" % kind for kind in b"iUIlL$#}")  # the length of a name; JSON has a quote there
# Objective -> whether base_score is a probability; else it is a margin.
_OBJECTIVES = {"binary:logistic": True, "binary:logitraw": False, "reg:squarederror": False}


def parse_xgboost(text: str | bytes) -> FloatTrees:
    """Return the trees of a model in XGBoost's JSON format, or in UBJSON, which begins otherwise.

    Rows go left where the input, as a float32, is less than the condition. No input is taken to be missing.

    Args:
        text: The file's content.

    Raises:
        ModelError: It is none, or does something that trees over integers can't.
    """
    try:
        is_binary = isinstance(text, bytes) and text[:1] == b"{" and text[1:2] in _UBJSON_BEGINS
        learner = (parse_ubjson(text) if is_binary else parse_json(text))["learner"]  # type: ignore[arg-type]
        parameters = learner["learner_model_param"]
        objective = learner["objective"]["name"]
        if objective not in _OBJECTIVES:
            raise ModelError(f"XGBoost: the objective {str(objective)[:40]!r} can't be represented")
        if int(parameters.get("num_class", 0)) > 1 or int(parameters.get("num_target", 1)) > 1:
            raise ModelError("XGBoost: several classes or targets can't be represented")
        booster = learner["gradient_booster"]
        if booster["name"] != "gbtree":
            raise ModelError(f"XGBoost: the booster {str(booster['name'])[:40]!r} can't be represented")
        nr_inputs = int(parameters["num_feature"])
        trees = tuple(_tree(tree, nr_inputs) for tree in booster["model"]["trees"])
        base = _base(str(parameters["base_score"]), is_probability=_OBJECTIVES[objective])
        names = tuple(map(str, learner.get("feature_names", ())))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ModelError(f"this is no model of XGBoost's JSON format, or damaged: {error!r}") from None
    return FloatTrees(trees, base, names, nr_inputs, is_single=True)


def _base(text: str, *, is_probability: bool) -> float:
    """The margin that the sum begins with: in files a number, or an array of one."""
    score = np.float32(text.strip("[]"))
    if not is_probability:
        return float(score)
    if not 0 < score < 1:
        raise ValueError(f"a base_score of {score} is no probability")
    return float(-np.log(np.float32(1) / score - np.float32(1)))


def _tree(tree: Mapping[str, Any], nr_inputs: int) -> FloatTree:
    left, right, feature = tree["left_children"], tree["right_children"], tree["split_indices"]
    condition = [float(np.float32(number)) for number in tree["split_conditions"]]
    if not len(left) == len(right) == len(feature) == len(condition):
        raise ValueError("a tree's columns are of different lengths")
    if any(tree.get("split_type", ())) or tree.get("categories"):
        raise ModelError("XGBoost: splits by category can't be represented")
    if int(tree.get("tree_param", {}).get("size_leaf_vector", 1)) > 1:
        raise ModelError("XGBoost: leaves of several values can't be represented")

    def build(node: int, ancestors: int) -> FloatTree:
        if ancestors > len(left) or not 0 <= node < len(left):
            raise ValueError("a node is its own ancestor, or not there")
        if left[node] == -1:
            return Leaf(condition[node])
        if not 0 <= feature[node] < nr_inputs or math.isnan(condition[node]):
            raise ValueError("a split is by an input or a number that is none")
        edge = float(np.nextafter(np.float32(condition[node]), np.float32(-np.inf)))  # of "less than"
        below, above = build(left[node], ancestors + 1), build(right[node], ancestors + 1)
        return TreeSplit(feature[node], edge, below, above)

    return build(0, 0)
