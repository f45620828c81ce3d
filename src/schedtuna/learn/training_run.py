"""Which algorithm foretells best? Tuned inside the training rows, ended by validation, judged once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from schedtuna.errors import DatasetError, MissingExtraError, ModelError, UsageError, nearest
from schedtuna.learn import net_fits, tree_fits
from schedtuna.learn.baselines import BASELINES
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.fitted import FittedModel, Settings
from schedtuna.learn.judging import MAJORITY, ModelOutcome, judged, judged_rules
from schedtuna.learn.problem import LearningProblem, LearningRows, problems_of
from schedtuna.learn.scoring import MAIN, METRICS, GroupedMetric, calibrate, grouped_metrics
from schedtuna.model.kernel.classes import MOST_KERNEL_INPUTS

Fit = Callable[[LearningProblem, Settings, int], FittedModel]
Tell = Callable[[str], None]

MOST_INPUTS = 10  # of a model: what the quickest programs of the kernel take
FOLDS = 3
MOST_TUNING_ROWS = 30_000
CURVE_SHARES = (0.1, 0.25, 0.5, 1.0)
CONTROL = "permuted_labels"
_NEAR_CHANCE = 0.02
_MONOTONE = {"lightgbm": "monotone_constraints", "linear": "monotone"}  # what each calls its signs


@dataclass(frozen=True)
class AlgorithmRow:
    """An algorithm.

    Attributes:
        fit: What trains it.
        grid: Settings to try, the default first.
        help: What it is, for people.
        has_penalty: Whether its loss can have a penalty for migrations.
    """

    fit: Fit
    grid: Sequence[Settings]
    help: str
    has_penalty: bool = False


LEARNED: Mapping[str, AlgorithmRow] = {
    "lightgbm": AlgorithmRow(tree_fits.fit_lightgbm, tree_fits.BOOSTED_GRID, "boosted trees, by LightGBM"),
    "xgboost": AlgorithmRow(tree_fits.fit_xgboost, tree_fits.XGBOOST_GRID, "boosted trees, by XGBoost"),
    "forest": AlgorithmRow(tree_fits.fit_forest, tree_fits.FOREST_GRID, "a random forest, by LightGBM"),
    "tree": AlgorithmRow(tree_fits.fit_tree, tree_fits.TREE_GRID, "one tree, by LightGBM"),
    "linear": AlgorithmRow(
        net_fits.fit_linear, net_fits.LINEAR_GRID, "least squares or logistic regression", True
    ),
    "mlp": AlgorithmRow(net_fits.fit_net, net_fits.NET_GRID, "a net of 64 and 64 units, by torch", True),
    "mlp_small": AlgorithmRow(net_fits.fit_net, net_fits.SMALL_NET_GRID, "a net of 16 and 16 units", True),
}
NEEDS_TORCH = ("mlp", "mlp_small")


@dataclass(frozen=True)
class ProblemOutcome:
    """What was learnt about one problem.

    Attributes:
        problem: With the inputs that were chosen.
        outcomes: Models and rules, in the order in which they were asked for.
        control: LightGBM, trained and judged on labels that were permuted within runs: chance, or something
            is wrong with the rows or with this program.
        learning_curve: Number of training rows, and the main metric on the validation rows.
        left_out: What was not trained, and why.
        notes: What whoever uses the models must know.
    """

    problem: LearningProblem
    outcomes: Sequence[ModelOutcome]
    control: ModelOutcome
    learning_curve: Sequence[tuple[int, float]]
    left_out: Mapping[str, str]
    notes: Sequence[str]

    @property
    def best(self) -> ModelOutcome:
        """The model with the best main metric; there is one."""
        models = [outcome for outcome in self.outcomes if outcome.fitted is not None]
        return min(models or self.outcomes, key=lambda outcome: _loss(self.problem.kind, outcome.metrics))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How models are trained.

    Attributes:
        models: Names of LEARNED, BASELINES or `majority`; none: all that can be.
        features: Inputs to choose from; none: all.
        positive: Of more than two classes, the one to be told; none: each, by a model of its own.
        most_inputs: How many inputs a model takes at most; the most useful ones are kept.
        budget: How many settings of each algorithm are tried, inside the training rows.
        penalty: Of `migrate`: what the loss adds for the probability of migrating, for migrations cost.
        monotone: Inputs with which a score may only rise (1) or only fall (-1): of LightGBM and the line.
        seed: Of all that is drawn.
    """

    models: Sequence[str] = ()
    features: Sequence[str] = ()
    positive: str = ""
    most_inputs: int = MOST_INPUTS
    budget: int = 2
    penalty: float = 0.0
    monotone: Mapping[str, int] = field(default_factory=dict)
    seed: int = 1


def train_models(
    dataset: Dataset, options: TrainingOptions | None = None, tell: Tell = lambda _text: None
) -> list[ProblemOutcome]:
    """Train models on a dataset, and judge them.

    Args:
        dataset: The rows, with their parts.
        options: How.
        tell: Is told what is done.

    Raises:
        UsageError: There is no such model, feature or class, or an option is out of its bounds.
        DatasetError: Nothing can be learnt from the rows.
        MissingExtraError: A library is not installed.
    """
    options = options or TrainingOptions()
    _require_options(options, dataset)
    tree_fits.require_learn_extra()
    problems = problems_of(dataset, features=options.features, positive=options.positive)
    return [_train_one(dataset, problem, options, tell) for problem in problems]


def known_models() -> list[str]:
    """Return every name that `train_models` takes."""
    return [*LEARNED, *BASELINES, MAJORITY]


def _require_options(options: TrainingOptions, dataset: Dataset) -> None:
    task = dataset.task
    for name in options.models:
        if name not in known_models():
            raise UsageError(f"there is no model {name!r}: {nearest(name, known_models())}")
        if (row := BASELINES.get(name)) and row.kind != task.label:
            raise UsageError(f"{name} is no rule for datasets of the task {task.name}")
    if options.penalty and task.name != "migrate":
        raise UsageError("a penalty for migrations is for datasets of the task `migrate`")
    if not 1 <= options.most_inputs <= MOST_KERNEL_INPUTS:
        raise UsageError(f"{options.most_inputs} inputs: expected 1 to {MOST_KERNEL_INPUTS}")
    if options.budget < 1 or options.penalty < 0:
        raise UsageError("expected a budget of at least 1, and a penalty of at least 0")


def _train_one(
    dataset: Dataset, problem: LearningProblem, options: TrainingOptions, tell: Tell
) -> ProblemOutcome:
    tell("choosing inputs")
    problem, notes = _with_best_inputs(problem, options.most_inputs, options.seed)
    nr_test = len(np.unique(problem.test.group))
    if nr_test < 2:
        notes.append("the test rows are of one run: there are no intervals")
    left_out: dict[str, str] = {}
    outcomes = []
    for name in options.models or LEARNED:
        if name not in LEARNED:
            continue
        tell(f"training {name}")
        try:
            outcomes.append(judged(problem, fit_algorithm(name, problem, options)))
        except MissingExtraError as error:
            if options.models:
                raise
            left_out[name] = str(error)
        except ModelError as error:
            left_out[name] = str(error)
    rules, why = judged_rules(dataset, problem, options.models)
    tell("permuted labels")
    control = _control(problem, options.seed)
    if not outcomes and not rules:
        raise DatasetError(f"nothing was trained: {'; '.join((left_out | why).values())}")
    tell("learning curve")
    curve = _learning_curve(problem, options.seed)
    return ProblemOutcome(
        problem,
        [*outcomes, *rules],
        control,
        curve,
        left_out | why,
        [*problem.notes, *notes, *_told(control, problem)],
    )


def _with_best_inputs(problem: LearningProblem, most: int, seed: int) -> tuple[LearningProblem, list[str]]:
    if len(problem.inputs) <= most:
        return problem, []
    wide = problem
    fitted = tree_fits.fit_lightgbm(
        wide, {"num_leaves": 15, "learning_rate": 0.2, "min_data_in_leaf": 50}, seed
    )
    gains = np.array([fitted.gains[name] for name in problem.names])
    kept = sorted(np.argsort(-gains, kind="stable")[:most].tolist())
    dropped = [name for i, name in enumerate(problem.names) if i not in kept]
    share = gains[kept].sum() / max(gains.sum(), 1e-300)
    told = f"of {len(problem.inputs)} inputs, {most} bring {share:.1%} of the gain"
    return problem.with_inputs(kept), [f"{told}; left out: {', '.join(dropped)}"]


def fit_algorithm(name: str, problem: LearningProblem, options: TrainingOptions) -> FittedModel:
    """Return what an algorithm of LEARNED makes of the training rows, its settings chosen inside these.

    Raises:
        ModelError: Nothing can be made of them.
        MissingExtraError: Its library is not installed.
    """
    row = LEARNED[name]
    extra: dict[str, Any] = {}
    if options.penalty and row.has_penalty:
        extra["penalty"] = options.penalty
    if options.monotone and name in _MONOTONE:
        extra[_MONOTONE[name]] = [options.monotone.get(one, 0) for one in problem.names]
    grid = [{**settings, **extra} for settings in row.grid[: options.budget]]
    settings = grid[0] if len(grid) == 1 else _tuned(row.fit, grid, problem, options.seed)
    return row.fit(problem, settings, options.seed)


def _tuned(fit: Fit, grid: Sequence[Settings], problem: LearningProblem, seed: int) -> Settings:
    """The settings that foretell held-out runs of the training rows best."""
    folds = _folds(problem.train, seed)
    losses = []
    for settings in grid:
        each = []
        for inside, outside in folds:
            held = {"train": inside, "validation": outside, "test": outside}
            fitted = fit(replace(problem, parts=held), settings, seed)
            score = fitted.score(outside.bins)
            calibration = calibrate(outside, score)
            each.append(
                _loss(
                    problem.kind,
                    grouped_metrics(problem.kind, outside, score, calibration.probability(score)),
                )
            )
        losses.append(float(np.mean(each)))
    return grid[int(np.argmin(losses))]


def _folds(rows: LearningRows, seed: int) -> list[tuple[LearningRows, LearningRows]]:
    """Parts of the training rows, by run; of a single run by blocks of its rows."""
    random = np.random.default_rng(seed)
    units = rows.group if len(np.unique(rows.group)) >= FOLDS else _blocks(rows)
    names = random.permutation(np.unique(units))
    found = []
    for fold in range(FOLDS):
        outside = np.isin(units, names[fold::FOLDS])
        inside, held = _some(rows.where(~outside), random), _some(rows.where(outside), random)
        if _has_both(inside) and _has_both(held):
            found.append((inside, held))
    return found or [(rows, rows)]


def _blocks(rows: LearningRows) -> np.ndarray:
    if (rows.choice >= 0).any():
        return rows.choice // max(1, int(rows.choice.max()) // (4 * FOLDS) + 1)
    return np.arange(len(rows)) * 4 * FOLDS // len(rows)


def _some(rows: LearningRows, random: np.random.Generator) -> LearningRows:
    if len(rows) <= MOST_TUNING_ROWS:
        return rows
    if (rows.choice < 0).all():
        return rows.where(np.sort(random.choice(len(rows), MOST_TUNING_ROWS, replace=False)))
    names = np.unique(rows.choice)
    kept = random.choice(names, max(1, len(names) * MOST_TUNING_ROWS // len(rows)), replace=False)
    return rows.where(np.isin(rows.choice, kept))


def _has_both(rows: LearningRows) -> bool:
    return len(rows) > 1 and bool(rows.truth.any()) and not bool(rows.truth.all())


def _control(problem: LearningProblem, seed: int) -> ModelOutcome:
    random = np.random.default_rng(seed)
    parts = {name: _permuted(rows, random) for name, rows in problem.parts.items()}
    mixed = replace(problem, parts=parts)
    fitted = tree_fits.fit_lightgbm(mixed, tree_fits.BOOSTED_GRID[0], seed)
    return replace(judged(mixed, fitted), name=CONTROL)


def _permuted(rows: LearningRows, random: np.random.Generator) -> LearningRows:
    """The same rows with their labels exchanged within runs; of choices, within each choice."""
    units = rows.choice if (rows.choice >= 0).any() else rows.group
    order = np.lexsort((random.random(len(rows)), units))
    place = np.lexsort((np.arange(len(rows)), units))
    source = np.empty(len(rows), np.int64)
    source[place] = order
    return replace(rows, target=rows.target[source], truth=rows.truth[source], label=rows.label[source])


def _told(control: ModelOutcome, problem: LearningProblem) -> list[str]:
    name, middle = ("chosen_first", None) if problem.kind == "choice" else ("auc", 0.5)
    found = control.metrics[name]
    if problem.kind == "choice":
        middle = control.metrics["chance"].mean
    if found.low is None or middle is None or found.mean is None:
        return []
    if found.low <= middle + _NEAR_CHANCE:
        return []
    told = f"trained on permuted labels {name} is {found.mean:.3f} where chance is {middle:.3f}"
    return [f"{told}: something in the rows tells labels, and figures here are too good"]


def _learning_curve(problem: LearningProblem, seed: int) -> list[tuple[int, float]]:
    random = np.random.default_rng(seed)
    units = problem.train.choice if problem.kind == "choice" else np.arange(len(problem.train))
    names = random.permutation(np.unique(units))
    found = []
    for share in CURVE_SHARES:
        some = problem.train.where(np.isin(units, names[: max(1, int(share * len(names)))]))
        if not _has_both(some):
            continue
        part = replace(problem, parts=problem.parts | {"train": some})
        fitted = tree_fits.fit_lightgbm(part, tree_fits.BOOSTED_GRID[0], seed)
        rows = problem.validation
        score = fitted.score(rows.bins)
        p = calibrate(rows, score).probability(score)
        metric = grouped_metrics(problem.kind, rows, score, p)[MAIN[problem.kind]]
        if metric.mean is not None:
            found.append((len(some), metric.mean))
    return found


def _loss(kind: str, metrics: Mapping[str, GroupedMetric]) -> float:
    name = MAIN[kind]
    mean = metrics[name].mean
    if mean is None:
        return float("inf")
    return -mean if METRICS[name].higher_is_better else mean
