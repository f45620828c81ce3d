"""A better model of migrations, from what was drawn: fitted on earlier decisions, let in by later ones.

What is fitted is a logistic regression whose rows are labelled by what came out better than expected, and
weighted by how much, over the draw's probability (outcome-weighted learning with residuals: Zhou,
Mayer-Hamblett, Khan and Kosorok, 2017). Its weights become the integers of a canonical linear model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from schedtuna.agent.decisions.attempt import GatedAttempt, LearnedModel
from schedtuna.agent.decisions.evaluating import DecisionHistory, JudgedDecision, judge
from schedtuna.agent.decisions.judged import ArmChooser, MigrationChooser
from schedtuna.agent.decisions.rows import DecisionRow
from schedtuna.agent.policies.migration_draws import MIGRATE, STAY
from schedtuna.errors import EvidenceError
from schedtuna.evidence.gate import judge_gate
from schedtuna.model.migration import INPUTS, LABELS
from schedtuna.model.model import DecisionModel, ModelInput
from schedtuna.model.nets import Linear
from schedtuna.model.rows import checked

FITTED_SHARE = 0.6  # of the decisions, the earlier ones; the later ones judge
LEAST_FITTED = 200
_NAMES = ("nr_idle_cpus", "nr_busy_cpus", "src_load_permille", "dst_load_permille")
_PENALTY = 1.0
_STEPS = 25
_LARGEST = 1000  # what the largest weight becomes
_MOST_BIAS = 2**30

FloatArray = npt.NDArray[np.float64]


def learn(history: DecisionHistory, in_charge: DecisionModel, judged_until_s: float = 0.0) -> LearnedModel:
    """Fit a model on earlier decisions, and judge it against the one in charge on later ones.

    Args:
        history: What was drawn, by whichever versions.
        in_charge: What a new one has to beat.
        judged_until_s: Decisions until then (Unix) have judged before: they are fitted, and judge no more.

    Raises:
        EvidenceError: Too few decisions are there to fit, or to judge.
    """
    models: list[DecisionModel] = []

    def fitted(usable: list[JudgedDecision]) -> ArmChooser:
        models.append(fit_migrations(usable))
        return MigrationChooser(models[0])

    attempt = gated(history, MigrationChooser(in_charge), fitted, judged_until_s, is_usable=_is_choice)
    return LearnedModel(models[0], attempt)


def gated(
    history: DecisionHistory,
    old: ArmChooser,
    fit: Callable[[list[JudgedDecision]], ArmChooser],
    judged_until_s: float = 0.0,
    *,
    is_usable: Callable[[DecisionRow], bool] = lambda _row: True,
) -> GatedAttempt:
    """Fit on earlier decisions, and judge by later ones against what is in charge.

    Args:
        history: What was drawn, by whichever versions.
        old: What is in charge.
        fit: Makes the new one of decisions whose outcomes are known.
        judged_until_s: Decisions until then (Unix) have judged before: they are fitted, and judge no more.
        is_usable: Whether a decision can be fitted.

    Raises:
        EvidenceError: Too few decisions are there to fit, or to judge.
    """
    more = f"let `agent run --policy {history.policy}` run for longer"
    times = np.array([one.time_s for one in history.decisions])
    split = max(int(len(times) * FITTED_SHARE), int((times <= judged_until_s).sum()))
    earlier, later = history.decisions[:split], history.decisions[split:]
    usable = [one for one in earlier if one.loss is not None and is_usable(one.row)]
    if len(usable) < LEAST_FITTED:
        raise EvidenceError(
            f"{len(usable)} decisions whose outcomes are known could be fitted: {LEAST_FITTED} are needed",
            hint=more,
        )
    if not later:
        raise EvidenceError(
            "all decisions were there when the last attempt was judged: a new one needs later ones", hint=more
        )
    new = fit(usable)
    held_out = replace(history, decisions=later)
    before, after = (judge(held_out, one).estimate for one in (old, new))
    gains = before.block_changes - after.block_changes
    return GatedAttempt(judge_gate(gains.tolist()), len(usable), len(later), float(max(times[split:])))


def fit_migrations(decisions: list[JudgedDecision]) -> DecisionModel:
    """Fit a linear model of whether to migrate.

    Args:
        decisions: Draws of staying or migrating, with known outcomes.
    """
    inputs = tuple(ModelInput(name, INPUTS[name]) for name in _NAMES)
    blank = DecisionModel("migration", inputs, LABELS, Linear([[0] * len(inputs)], [0]), "")
    values = [[round(one.row.features[name]) for name in _NAMES] for one in decisions]
    bins = blank.quantise(values).astype(np.float64)
    moved = np.array([one.row.action == MIGRATE for one in decisions])
    losses = np.array([one.loss for one in decisions], np.float64)
    seen = np.array([[one.row.features.get("mean_delay_ns", 0.0)] for one in decisions])
    better = _expected(np.column_stack([bins, seen]), losses) - losses
    weight = np.abs(better) * [one.weight / (one.row.propensity or 1.0) for one in decisions]
    label = np.where(better >= 0, moved, ~moved)
    slope, bias = _logistic(bins, label.astype(np.float64), weight / max(float(weight.mean()), 1e-300))
    scale = _LARGEST / max(float(np.abs(slope).max()), 1e-9)
    weights = np.rint(scale * slope).astype(np.int16)
    core = Linear([weights.tolist()], [int(np.clip(round(scale * bias), -_MOST_BIAS, _MOST_BIAS))])
    made_by = f"agent learn, of {len(decisions)} decisions that were drawn"
    return checked(DecisionModel("migration", inputs, LABELS, core, made_by))


def _is_choice(row: DecisionRow) -> bool:
    known = all(name in row.features for name in _NAMES)
    return known and MIGRATE in row.arms and row.action in (STAY, MIGRATE)


def _standard(features: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return np.column_stack([np.ones(len(features)), (features - centre) / scale]), centre, scale


def _expected(features: FloatArray, losses: FloatArray) -> FloatArray:
    """What any draw would have been expected to cost: busy moments would drown what it does."""
    rows, _, _ = _standard(features)
    found = np.linalg.solve(rows.T @ rows + _PENALTY * np.eye(rows.shape[1]), rows.T @ losses)
    return np.asarray(rows @ found, np.float64)


def _logistic(features: FloatArray, label: FloatArray, weight: FloatArray) -> tuple[FloatArray, float]:
    """Newton's steps to a weighted logistic regression, its slopes drawn to zero; returns slopes and bias."""
    rows, centre, scale = _standard(features)
    penalty = _PENALTY * np.eye(rows.shape[1])
    found = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(rows @ found, -30, 30)))
        slope = rows.T @ (weight * (label - share)) - penalty @ found
        curve = (rows * (weight * share * (1 - share))[:, None]).T @ rows + penalty
        step = np.linalg.solve(curve, slope)
        found += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    slopes = found[1:] / scale
    return np.asarray(slopes, np.float64), float(found[0] - slopes @ centre)
