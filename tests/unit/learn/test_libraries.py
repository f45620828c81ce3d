"""Models of LightGBM and XGBoost mean what these make of them; what can't be represented is named."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from tests import models

from schedtuna.errors import ModelError
from schedtuna.learn.float_trees import FloatTrees, value_of
from schedtuna.learn.lightgbm_file import parse_lightgbm
from schedtuna.learn.xgboost_file import parse_xgboost

lightgbm = pytest.importorskip("lightgbm", reason="the extra 'learn' is not installed")
xgboost = pytest.importorskip("xgboost", reason="the extra 'learn' is not installed")

LABELS = ("stay", "migrate")
NR_ROUNDS = 6
RANDOM = np.random.default_rng(5)
ROWS = RANDOM.integers(0, 256, (600, 10))
TARGET = (ROWS[:, 0] + ROWS[:, 1] * (ROWS[:, 2] > 100) - ROWS[:, 3] + RANDOM.normal(0, 40, 600) > 60).astype(
    float
)
TESTED = RANDOM.integers(0, 256, (300, 10))


def of_lightgbm(**parameters: Any) -> Any:
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": 1, **parameters}
    group = [20] * 30 if settings["objective"] == "lambdarank" else None
    data = lightgbm.Dataset(ROWS.astype(float), TARGET, group=group)
    return lightgbm.train(settings, data, NR_ROUNDS)


def of_xgboost(**parameters: Any) -> Any:
    settings = {"objective": "binary:logistic", "nthread": 1, "max_depth": 4, **parameters}
    return xgboost.train(settings, xgboost.DMatrix(ROWS.astype(np.float32), TARGET), NR_ROUNDS)


def require_canonical(source: FloatTrees, score: np.ndarray) -> None:
    """The canonical model is off by what its leaves are rounded by, and decides alike elsewhere."""
    model = source.canonical("t", models.byte_inputs(), LABELS, "")
    logits = model.core.logits(TESTED.astype(np.uint16))[:, 0] / 2.0**source.fraction_bits
    bound = (len(source.trees) + 1) / 2 ** (source.fraction_bits + 1) + 1e-6 * np.abs(score)
    assert (np.abs(logits - score) <= bound).all()
    assert ((logits > 0) == (score > 0))[np.abs(score) > bound].all()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"num_leaves": 120, "min_data_in_leaf": 2},
        {"objective": "regression"},
        {"objective": "regression_l1"},
        {"objective": "huber"},
        {"objective": "cross_entropy"},
        {"objective": "lambdarank"},
        {"sigmoid": 2.0},
        {"min_data_in_leaf": 400},  # no split at all
    ],
    ids=str,
)
def test_a_score_is_lightgbms_own(parameters):
    booster = of_lightgbm(**parameters)
    source = parse_lightgbm(booster.model_to_string())
    own = booster.predict(TESTED.astype(float), raw_score=True)
    assert [
        sum((value_of(tree, row) for tree in source.trees), 0.0) for row in TESTED.tolist()
    ] == own.tolist()
    require_canonical(source, own)


def test_a_random_forest_of_lightgbm_is_its_average():
    booster = of_lightgbm(boosting="rf", bagging_fraction=0.7, bagging_freq=1)
    source = parse_lightgbm(booster.model_to_string())
    probability = booster.predict(TESTED.astype(float))
    score = np.log(probability / (1 - probability))
    mine = [sum(value_of(tree, row) for tree in source.trees) for row in TESTED.tolist()]
    assert np.allclose(mine, score)
    require_canonical(source, score)


@pytest.mark.parametrize(
    "parameters", [{}, {"objective": "binary:logitraw"}, {"objective": "reg:squarederror"}], ids=str
)
def test_a_margin_is_xgboosts_own(parameters):
    booster = of_xgboost(**parameters)
    source = parse_xgboost(bytes(booster.save_raw("json")))
    own = booster.predict(xgboost.DMatrix(TESTED.astype(np.float32)), output_margin=True)
    for row, expected in zip(TESTED.tolist(), own, strict=True):
        margin = np.float32(source.base)
        for tree in source.trees:
            margin = np.float32(margin + np.float32(value_of(tree, row)))
        assert margin == expected
    require_canonical(source, own.astype(float))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"objective": "multiclass", "num_class": 2}, "more than one class"),
        ({"objective": "poisson"}, "poisson"),
        ({"objective": "regression", "reg_sqrt": True}, "sqrt"),
        ({"linear_tree": True, "objective": "regression"}, "linear trees"),
        ({"zero_as_missing": True}, "zero_as_missing"),
    ],
)
def test_what_lightgbm_trees_over_integers_cannot_do_is_refused(parameters, told):
    with pytest.raises(ModelError, match=told):
        parse_lightgbm(of_lightgbm(**parameters).model_to_string())


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"objective": "multi:softprob", "num_class": 2}, "multi:softprob"),
        ({"objective": "count:poisson"}, "count:poisson"),
        ({"booster": "dart"}, "dart"),
        ({"booster": "gblinear", "max_depth": None}, "gblinear"),
    ],
)
def test_what_xgboost_trees_over_integers_cannot_do_is_refused(parameters, told):
    booster = of_xgboost(**parameters)
    with pytest.raises(ModelError, match=told):
        parse_xgboost(bytes(booster.save_raw("json")))


def test_categories_are_refused():
    data = lightgbm.Dataset(ROWS.astype(float) // 64, TARGET, categorical_feature=[0, 1])
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, NR_ROUNDS)
    with pytest.raises(ModelError, match="by category"):
        parse_lightgbm(booster.model_to_string())
    data = xgboost.DMatrix(
        ROWS.astype(np.float32) % 7, TARGET, feature_types=["c"] * 10, enable_categorical=True
    )
    booster = xgboost.train({"max_cat_to_onehot": 1, "nthread": 1}, data, 2)
    with pytest.raises(ModelError, match="by category"):
        parse_xgboost(bytes(booster.save_raw("json")))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"^tree\n", "forest\n"),
        (r"num_leaves=\d+", "num_leaves=5"),
        (r"left_child=\S+", "left_child=0"),
        (r"right_child=\S+", "right_child=900"),
        (r"split_feature=\S+", "split_feature=10"),
        (r"threshold=\S+", "threshold=nan"),
        (r"threshold=\S+", "threshold=x"),
        (r"leaf_value=.*", "leaf_value="),
        (r"max_feature_idx=.*\n", ""),
    ],
)
def test_damaged_files_of_lightgbm_are_refused(pattern, replacement):
    text = of_lightgbm().model_to_string()
    damaged, count = re.subn(pattern, replacement, text, count=1)
    assert count
    with pytest.raises(ModelError, match=r"damaged|no model"):
        parse_lightgbm(damaged)


def test_damaged_files_of_xgboost_are_refused():
    whole = bytes(of_xgboost().save_raw("json"))
    random = np.random.default_rng(1)
    for content in (b"", b"[]", b"{}", whole[:-9], b'{"learner": []}'):
        with pytest.raises(ModelError, match="no model"):
            parse_xgboost(content)
    for column, wrong in (("left_children", 0), ("right_children", 999), ("split_indices", 10)):
        told = json.loads(whole)
        told["learner"]["gradient_booster"]["model"]["trees"][2][column][0] = wrong
        with pytest.raises(ModelError, match="damaged"):
            parse_xgboost(json.dumps(told))
    for _ in range(100):
        changed = bytearray(whole)
        changed[random.integers(len(changed))] = random.integers(256)
        try:
            parse_xgboost(bytes(changed)).canonical("t", models.byte_inputs(), LABELS, "")
        except ModelError:
            continue
