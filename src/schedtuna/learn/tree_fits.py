"""Trees by LightGBM and XGBoost, on bins: boosted ones, a forest, a single tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from schedtuna.errors import MissingExtraError
from schedtuna.learn.fitted import FittedModel, Settings, grouped_by_choice, made_by
from schedtuna.learn.float_trees import FloatTrees
from schedtuna.learn.lightgbm_file import parse_lightgbm
from schedtuna.learn.problem import Floats, LearningProblem, LearningRows
from schedtuna.learn.xgboost_file import parse_xgboost

MOST_ROUNDS = 100  # trees that the kernel's programs have room for
PATIENCE = 10
_MOST_ADDED = 30  # of an update
_MOST_ROWS_TOLD = 256  # bins of a library: as many as inputs have

# Settings that are tried; the first is the default.
BOOSTED_GRID: tuple[Settings, ...] = (
    {"num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 20},
    {"num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 100},
    {"num_leaves": 31, "learning_rate": 0.05, "min_data_in_leaf": 100},
    {"num_leaves": 7, "learning_rate": 0.2, "min_data_in_leaf": 20},
)
FOREST_GRID: tuple[Settings, ...] = (
    {"num_leaves": 31, "min_data_in_leaf": 20, "feature_fraction": 0.6},
    {"num_leaves": 31, "min_data_in_leaf": 100, "feature_fraction": 0.8},
)
TREE_GRID: tuple[Settings, ...] = (
    {"num_leaves": 31, "min_data_in_leaf": 20},
    {"num_leaves": 15, "min_data_in_leaf": 100},
    {"num_leaves": 63, "min_data_in_leaf": 100},
)
XGBOOST_GRID: tuple[Settings, ...] = (
    {"max_leaves": 31, "learning_rate": 0.1, "min_child_weight": 5},
    {"max_leaves": 15, "learning_rate": 0.1, "min_child_weight": 20},
    {"max_leaves": 31, "learning_rate": 0.05, "min_child_weight": 20},
    {"max_leaves": 7, "learning_rate": 0.2, "min_child_weight": 5},
)


def require_learn_extra() -> None:
    """Refuse to go on without the libraries.

    Raises:
        MissingExtraError: They are not installed.
    """
    try:
        import lightgbm  # noqa: F401
        import xgboost  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("training models", "learn") from error


def fit_lightgbm(problem: LearningProblem, settings: Settings, seed: int) -> FittedModel:
    """Boosted trees, ended early by the validation rows."""
    objective = {"number": "regression", "class": "binary", "choice": "lambdarank"}[problem.kind]
    own = {"objective": objective, **settings}
    return _of_lightgbm("lightgbm", problem, own, seed, patience=PATIENCE)


def fit_forest(problem: LearningProblem, settings: Settings, seed: int) -> FittedModel:
    """A random forest: trees of samples of the rows and of the inputs, averaged."""
    drawn = {"boosting": "rf", "bagging_fraction": 0.632, "bagging_freq": 1}
    own = {"objective": _plain(problem), **drawn, **settings}
    return _of_lightgbm("forest", problem, own, seed)


def fit_tree(problem: LearningProblem, settings: Settings, seed: int) -> FittedModel:
    """One tree."""
    own = {"objective": _plain(problem), "learning_rate": 1.0, **settings}
    return _of_lightgbm("tree", problem, own, seed, rounds=1)


def _plain(problem: LearningProblem) -> str:
    return "regression" if problem.kind == "number" else "binary"


def _of_lightgbm(
    algorithm: str,
    problem: LearningProblem,
    settings: Settings,
    seed: int,
    *,
    rounds: int = MOST_ROUNDS,
    patience: int = 0,
) -> FittedModel:
    import lightgbm

    ranks = settings["objective"] == "lambdarank"
    fixed: dict[str, Any] = {
        "verbose": -1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "max_bin": _MOST_ROWS_TOLD,
        "min_data_in_bin": 1,
        "metric": {"regression": "l2", "binary": "binary_logloss", "lambdarank": "ndcg"}[
            settings["objective"]
        ],
        "eval_at": [1],
    }
    train = _lightgbm_rows(problem.train, ranks=ranks)
    validation = _lightgbm_rows(problem.validation, ranks=ranks, reference=train)
    curve: dict[str, dict[str, list[float]]] = {}
    callbacks = [lightgbm.record_evaluation(curve)]
    if patience:
        callbacks.append(lightgbm.early_stopping(patience, verbose=False))
    booster = lightgbm.train(
        fixed | dict(settings),
        train,
        rounds,
        valid_sets=[train, validation],
        valid_names=["train", "validation"],
        callbacks=callbacks,
    )
    best = booster.best_iteration or booster.current_iteration()
    source = parse_lightgbm(booster.model_to_string(num_iteration=best))
    gains = booster.feature_importance("gain", iteration=best)
    return _fitted(
        algorithm,
        problem,
        source,
        settings=dict(settings) | {"rounds": best},
        curve={name: next(iter(metrics.values())) for name, metrics in curve.items()},
        gains=gains.tolist(),
    )


def boost_further(problem: LearningProblem, start: Mapping[str, Floats], seed: int) -> FloatTrees:
    """Return boosted trees that correct scores which rows have already; none, where none helps.

    Args:
        problem: Of numbers or classes.
        start: Scores of the training and validation rows, float64 [rows] of each.
        seed: Of what is drawn.
    """
    import lightgbm

    train = _lightgbm_rows(problem.train, ranks=False, start=start["train"])
    validation = _lightgbm_rows(problem.validation, ranks=False, reference=train, start=start["validation"])
    fixed = {"verbose": -1, "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": 1}
    own = {"objective": _plain(problem), "num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 50}
    booster = lightgbm.train(
        fixed | own,
        train,
        _MOST_ADDED,
        valid_sets=[validation],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
    return parse_lightgbm(booster.model_to_string(num_iteration=booster.best_iteration))


def _lightgbm_rows(
    rows: LearningRows, *, ranks: bool, reference: Any = None, start: Floats | None = None
) -> Any:
    import lightgbm

    sizes = None
    weight: Any = rows.weight
    if ranks:
        rows, sizes = grouped_by_choice(rows)
        weight = rows.weight
    target = rows.target.astype(int) if ranks else rows.target
    return lightgbm.Dataset(
        rows.bins.astype(np.float32),
        target,
        weight=weight,
        group=sizes,
        reference=reference,
        init_score=start,
    )


def fit_xgboost(problem: LearningProblem, settings: Settings, seed: int) -> FittedModel:
    """Boosted trees by XGBoost, ended early by the validation rows."""
    import xgboost

    fixed = {
        "objective": "reg:squarederror" if problem.kind == "number" else "binary:logistic",
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_bin": _MOST_ROWS_TOLD,
        "nthread": 1,
        "seed": seed,
        "verbosity": 0,
    }
    train, validation = (
        xgboost.DMatrix(rows.bins.astype(np.float32), rows.target, weight=rows.weight)
        for rows in (problem.train, problem.validation)
    )
    curve: dict[str, dict[str, list[float]]] = {}
    booster: Any = xgboost.train(
        fixed | dict(settings),
        train,
        MOST_ROUNDS,
        evals=[(train, "train"), (validation, "validation")],
        evals_result=curve,
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    best = booster.best_iteration + 1
    source = parse_xgboost(bytes(booster[:best].save_raw("json")))
    gained = booster[:best].get_score(importance_type="total_gain")
    gains = [float(gained.get(f"f{i}", 0.0)) for i in range(len(problem.inputs))]
    losses = {name: next(iter(metrics.values())) for name, metrics in curve.items()}
    told = dict(settings) | {"rounds": best}
    return _fitted("xgboost", problem, source, settings=told, curve=losses, gains=gains)


def _fitted(
    algorithm: str,
    problem: LearningProblem,
    source: FloatTrees,
    *,
    settings: Settings,
    curve: dict[str, list[float]],
    gains: list[float],
) -> FittedModel:
    model = source.canonical(algorithm, problem.inputs, problem.labels, made_by(algorithm, problem))
    return FittedModel(
        algorithm,
        model,
        2.0**source.fraction_bits,
        source.scores,
        settings,
        curve,
        dict(zip(problem.names, gains, strict=True)),
    )
