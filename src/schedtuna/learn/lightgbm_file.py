"""LightGBM's own files (`Booster.save_model`): what they mean for integers, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping

from schedtuna.errors import ModelError
from schedtuna.learn.float_trees import FloatTree, FloatTrees, Leaf, TreeSplit, scaled

_CATEGORICAL, _ZERO = 1, 1 << 2  # bits of a decision_type; those of missing values are 2 and 3
_MISSING = 3 << 2
_OBJECTIVES = ("binary", "cross_entropy", "regression", "regression_l1", "huber", "lambdarank")
_REFUSED = {
    "num_class": ("1", "more than one class"),
    "num_tree_per_iteration": ("1", "more than one tree for each iteration"),
}


def parse_lightgbm(text: str) -> FloatTrees:
    """Return the trees of a model in LightGBM's text format.

    Rows go left where the input is at most the threshold. Integers have no missing value, so what becomes of
    NaN does not matter; what treats 0 as missing is refused.

    Args:
        text: The file's content.

    Raises:
        ModelError: It is none, or does something that trees over integers can't.
    """
    blocks = text.replace("\r\n", "\n").split("\nTree=")
    head = _fields(blocks[0])
    if not blocks[0].startswith("tree\n") or len(blocks) < 2:
        raise ModelError("this is no model of LightGBM's text format")
    for key, (expected, what) in _REFUSED.items():
        if head.get(key, expected) != expected:
            raise ModelError(f"LightGBM: {what} can't be represented ({key}={head[key][:20]})")
    objective = head.get("objective", "regression").split()
    if objective[0] not in _OBJECTIVES or "sqrt" in objective:
        raise ModelError(f"LightGBM: the objective {' '.join(objective)[:40]!r} can't be represented")
    names = tuple(head.get("feature_names", "").split())
    try:
        nr_inputs = int(head["max_feature_idx"]) + 1
        trees = tuple(_tree(_fields(block), nr_inputs) for block in blocks[1:])
    except (LookupError, ValueError, RecursionError) as error:
        raise ModelError(f"LightGBM's file is damaged: {error!r}") from None
    if "average_output" in blocks[0].splitlines():
        trees = tuple(scaled(tree, 1 / len(trees)) for tree in trees)
    return FloatTrees(trees, 0.0, names, nr_inputs)


def _fields(block: str) -> dict[str, str]:
    lines = block.partition("\nend of trees")[0].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _tree(fields: Mapping[str, str], nr_inputs: int) -> FloatTree:
    if int(fields.get("num_cat", "0")):
        raise ModelError("LightGBM: splits by category can't be represented")
    if fields.get("is_linear", "0") != "0":
        raise ModelError("LightGBM: linear trees can't be represented")
    count = int(fields["num_leaves"])
    values = [float(value) for value in fields["leaf_value"].split()]
    if len(values) != count:
        raise ValueError(f"{len(values)} values for {count} leaves")
    if count == 1:
        return Leaf(values[0])
    integers = ("split_feature", "decision_type", "left_child", "right_child")
    feature, kind, left, right = ([int(number) for number in fields[key].split()] for key in integers)
    threshold = [float(number) for number in fields["threshold"].split()]
    if any(len(column) != count - 1 for column in (feature, kind, left, right, threshold)):
        raise ValueError("a tree's columns are of different lengths")
    if any(decision & _CATEGORICAL for decision in kind):
        raise ModelError("LightGBM: splits by category can't be represented")
    if any(decision & _MISSING == _ZERO for decision in kind):
        raise ModelError("LightGBM: zero_as_missing can't be represented")
    if not all(0 <= number < nr_inputs for number in feature):
        raise ValueError("a split is by an input that is not there")

    def build(node: int, parent: int) -> FloatTree:
        if node < 0:
            return Leaf(values[-1 - node])
        if node <= parent:
            raise ValueError("a node comes before its parent")
        if math.isnan(threshold[node]):
            raise ValueError("a threshold is no number")
        return TreeSplit(feature[node], threshold[node], build(left[node], node), build(right[node], node))

    return build(0, -1)
