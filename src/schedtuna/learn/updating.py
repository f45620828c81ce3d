"""Is a model that has learnt from new rows better than the one in charge? Two ways to learn, and a gate.

An update starts from what the model is: boosted trees are added to its own, a line moves against a ridge
that draws it back. A retraining starts anew. The validation rows choose between them; the gate asks the runs
of the test rows that no version has seen, one vote each, whether the chosen one is better than the old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schedtuna.errors import ModelError, UsageError
from schedtuna.evidence.gate import GateVerdict, judge_gate
from schedtuna.learn import net_fits, tree_fits
from schedtuna.learn.dataset_form import Dataset
from schedtuna.learn.float_trees import added_to, scaled
from schedtuna.learn.problem import Floats, LearningProblem, LearningRows, problems_of
from schedtuna.learn.scoring import METRICS, calibrate
from schedtuna.learn.training_run import LEARNED, TrainingOptions, fit_algorithm
from schedtuna.model.core import Core
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import Linear, Mlp
from schedtuna.model.rows import checked
from schedtuna.model.trees import BoxTrees

UPDATED = "updated"
# What decides, of each kind of problem; of migrations the decisions themselves, each by what it gained.
_METRICS = {"number": "auc", "class": "auc", "choice": "chosen_first"}
_OF_TASKS = {"migrate": "accuracy"}
_RIDGE = 1.0


@dataclass(frozen=True)
class UpdateCandidate:
    """A model that could replace the old one.

    Attributes:
        name: `updated`, or the algorithm that trained it anew.
        model: The model.
        validation: Mean of the metric over the validation rows' runs; None: it is undefined there.
    """

    name: str
    model: DecisionModel
    validation: float | None


@dataclass(frozen=True)
class UpdateOutcome:
    """What became of an update.

    Attributes:
        problem: What was learnt, and by which rows it was judged.
        old: The model in charge.
        metric: A name of METRICS.
        candidates: What was tried.
        chosen: Which of them the validation rows prefer.
        before, after: The metric of the old and of the chosen model in each run that judged.
        verdict: What the gate says of their differences.
        runs: SHA-256 of each of the dataset's runs: none of them may judge again.
        left_out: What was not tried or not counted, and why.
    """

    problem: LearningProblem
    old: DecisionModel
    metric: str
    candidates: Sequence[UpdateCandidate]
    chosen: UpdateCandidate
    before: Sequence[float]
    after: Sequence[float]
    verdict: GateVerdict
    runs: Sequence[str]
    left_out: Mapping[str, str]


def update_model(
    dataset: Dataset,
    old: DecisionModel,
    options: TrainingOptions,
    *,
    seen: frozenset[str] = frozenset(),
    threshold_ns: int = 0,
    least_gain: float = 0.0,
    tell: Callable[[str], None] = lambda _text: None,
) -> UpdateOutcome:
    """Learn from new rows, and judge what was learnt against the model in charge.

    Args:
        dataset: New rows, with their parts; the test rows are later than the others.
        old: The model in charge.
        options: How to train; `models` are what is trained anew, default: the old one's own kind.
        seen: SHA-256 of runs that a version was made of or judged by already.
        threshold_ns: Of bursts: what the old model calls short; 0: the training rows' median.
        least_gain: Which gain of the metric a change has to be worth.
        tell: Is told what is done.

    Raises:
        DatasetError: The dataset is not of what the model decides.
        ModelError: No candidate could be made.
        UsageError: A model to train anew is not known.
        MissingExtraError: A library is not installed.
    """
    tree_fits.require_learn_extra()
    options = replace(options, most_inputs=max(options.most_inputs, len(old.inputs)))
    positive = old.labels[1] if dataset.task.label == "class" else ""
    found = problems_of(dataset, positive=positive, like=old, threshold_ns=threshold_ns)
    problem = next(one for one in found if one.labels == old.labels)
    problem, left_out = _unseen(dataset, problem, seen)
    metric = _OF_TASKS.get(problem.task, _METRICS[problem.kind])
    candidates = []
    for name, make in _ways(problem, old, options).items():
        tell(name)
        try:
            model = make()
        except ModelError as error:
            left_out[name] = str(error)
            continue
        values = list(_by_run(metric, problem.validation, model).values())
        candidates.append(UpdateCandidate(name, model, float(np.mean(values)) if values else None))
    if not candidates:
        raise ModelError(f"no model could be made: {'; '.join(left_out.values())}")
    sign = 1 if METRICS[metric].higher_is_better else -1
    chosen = max(candidates, key=lambda one: -np.inf if one.validation is None else sign * one.validation)
    tell("asking the gate")
    before, after = (_by_run(metric, problem.test, one) for one in (old, chosen.model))
    both = [run for run in before if run in after]
    if len(both) < len(np.unique(problem.test.group)):
        left_out["runs"] = f"{metric} is undefined in some: their rows are all alike"
    pairs = [(before[run], after[run]) for run in both]
    verdict = judge_gate([sign * (new - was) for was, new in pairs], least_gain=least_gain)
    return UpdateOutcome(
        problem,
        old,
        metric,
        candidates,
        chosen,
        [was for was, _ in pairs],
        [new for _, new in pairs],
        verdict,
        [run.sha256 for run in dataset.card.runs],
        left_out,
    )


def _unseen(
    dataset: Dataset, problem: LearningProblem, seen: frozenset[str]
) -> tuple[LearningProblem, dict[str, str]]:
    """The problem without test rows of runs that a version knows: they are no news, or judged before."""
    known = [number for number, run in enumerate(dataset.card.runs) if run.sha256 and run.sha256 in seen]
    is_known = np.isin(problem.test.group, known)
    if not is_known.any():
        return problem, {}
    nr_known = len(np.unique(problem.test.group[is_known]))
    parts = problem.parts | {"test": problem.test.where(~is_known)}
    return replace(problem, parts=parts), {
        "judges": f"{nr_known} runs of the test rows have made or judged a version before"
    }


def _ways(
    problem: LearningProblem, old: DecisionModel, options: TrainingOptions
) -> dict[str, Callable[[], DecisionModel]]:
    for name in options.models:
        if name not in LEARNED:
            raise UsageError(
                f"{name} is nothing that can be trained anew", hint=f"expected {', '.join(LEARNED)}"
            )
    ways: dict[str, Callable[[], DecisionModel]] = {UPDATED: lambda: _updated(problem, old, options)}
    for name in options.models or [algorithm_of(old.core)]:
        ways[name] = lambda name=name: _named(fit_algorithm(name, problem, options).model, old)  # type: ignore[misc]
    return ways


def algorithm_of(core: Core) -> str:
    """Return what trains models such as this one: a name of LEARNED."""
    if isinstance(core, Linear):
        return "linear"
    if isinstance(core, Mlp):
        return "mlp" if max(len(biases) for biases in core.biases) > 16 else "mlp_small"
    return "tree" if isinstance(core, BoxTrees) and core.nr_trees == 1 else "lightgbm"


def _named(model: DecisionModel, old: DecisionModel) -> DecisionModel:
    return replace(model, name=old.name)


def _updated(problem: LearningProblem, old: DecisionModel, options: TrainingOptions) -> DecisionModel:
    if problem.kind == "choice":
        raise ModelError("models that choose are trained anew, not updated")
    rows = problem.train
    logits = old.core.logits(rows.bins)[:, 0].astype(float)
    times, more = _as_score(problem, rows, logits)
    core: Core
    if isinstance(old.core, BoxTrees):
        if options.penalty:
            raise ModelError("trees that are added know no penalty for migrations")
        start = {
            part: np.asarray(old.core.logits(problem.parts[part].bins)[:, 0] * times + more, np.float64)
            for part in ("train", "validation")
        }
        more_trees = tree_fits.boost_further(problem, start, options.seed)
        core = added_to(
            old.core, [scaled(tree, 1 / times) for tree in more_trees.trees], (more_trees.base + more) / times
        )
    elif isinstance(old.core, Linear) and old.core.nr_logits == 1:
        settings: dict[str, Any] = {"ridge": _RIDGE, "penalty": options.penalty}
        core = net_fits.move_line(old.core, problem, (times, more), settings)
    else:
        raise ModelError(f"models of the family {old.core.family} are trained anew, not updated")
    made_by = f"updated from version {old.version} by {len(rows):,} rows: {problem.task}"
    return checked(DecisionModel(old.name, old.inputs, old.labels, core, made_by))


def _as_score(problem: LearningProblem, rows: LearningRows, logits: Floats) -> tuple[float, float]:
    """What a logit is as a score: its factor, above 0, and what is added."""
    if problem.kind == "class":
        found = calibrate(rows, logits)
        times, more = found.slope, found.offset
    else:
        weight = rows.weight / rows.weight.sum()
        centred = logits - weight @ logits
        times = float(weight @ (centred * rows.target)) / max(float(weight @ centred**2), 1e-300)
        more = float(weight @ (rows.target - times * logits))
    if not times * max(float(np.std(logits)), 1e-300) > 1e-3:
        raise ModelError("the old model says nothing of the new rows: there is nothing to start from")
    return times, more


def _by_run(metric: str, rows: LearningRows, model: DecisionModel) -> dict[int, float]:
    """The metric of each run in which it is defined."""
    score = model.core.logits(rows.bins)[:, 0].astype(float)
    found = {}
    for run in np.unique(rows.group).tolist():
        which = rows.group == run
        value = METRICS[metric].of(rows.where(which), score[which], np.full(int(which.sum()), 0.5))
        if value is not None and np.isfinite(value):
            found[run] = value
    return found
