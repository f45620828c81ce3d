"""What would another policy have brought, by the decisions that this one drew? Pure.

A logged decision tells only what came of the arm that was drawn. Where each arm's probability is known, the
drawn ones stand for those that were not: by weights (inverse propensities), by a model of the loss, or by
both, which is right where either is (doubly robust: Dudik, Langford and Li, "Doubly Robust Policy Evaluation
and Learning", ICML 2011). The model is a ridge per arm, fitted on other blocks of time than it is asked about
(cross-fitting: Chernozhukov et al., "Double/Debiased Machine Learning", 2018). Intervals are by blocks of
time, since neighbouring decisions met the same load. Known propensities make the estimate unbiased whatever
the model; nothing makes up for unknown ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna.errors import EvidenceError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LEAST_EFFECTIVE = 30.0  # decisions; below it intervals are wrong too often
NR_BLOCKS = 8  # few and long: with 20, 95% intervals covered 92 to 93% of simulated logs of slow loads
MOST_WEIGHT = 20.0  # what a floor of 5% allows at most
CONFIDENCE = 0.95
_NR_FOLDS = 4
_PENALTY = 1.0  # of standardised features: as much as one decision weighs
_DRIFT_BELOW = 0.01  # p of a difference between both halves


@dataclass(frozen=True)
class LoggedDecisions:
    """Decisions in the order of time.

    Attributes:
        features: [n, d] what is known before each; finite.
        actions: [n] which arm was drawn.
        propensities: [n, k] with which probability each arm was to be; a row sums to 1.
        losses: [n] what came of it; lower is better.
        weights: [n] how many decisions each stands for: one over the rate of logging.
    """

    features: FloatArray
    actions: IntArray
    propensities: FloatArray
    losses: FloatArray
    weights: FloatArray

    def __post_init__(self) -> None:
        count = len(self.actions)
        shapes = {len(self.features), len(self.propensities), len(self.losses), len(self.weights)}
        if shapes != {count} or self.features.ndim != 2 or self.propensities.ndim != 2:
            raise EvidenceError("logged decisions: arrays of different lengths, or no matrices")
        if not all(np.isfinite(one).all() for one in (self.features, self.propensities, self.losses)):
            raise EvidenceError("logged decisions: features, propensities and losses are finite numbers")
        if count and not (self.weights > 0).all():
            raise EvidenceError("logged decisions: weights are above zero")

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class ValueEstimate:
    """A mean, and where it may be.

    Attributes:
        value: The estimate.
        low, high: Its interval, by Student's t over blocks of time.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicyEstimate:
    """What a policy would have brought.

    Attributes:
        loss: Of the policy, doubly robust.
        change: Its loss less that of what was done; below zero is better.
        ips, snips, direct: The loss by weights alone, by weights over their sum, by the model alone.
        logged: The mean loss of what was done.
        effective: How many decisions the weights amount to (Kish).
        nr_decisions: How many there are.
        nr_clipped: Weights that were cut to the largest one allowed.
        clipped_by: By how much `loss` would be another without cutting.
        nr_blocks: Of time.
        block_changes: [nr_blocks] `change`, by block.
        drift: By how much the loss of the same arms at the same features was higher in the second half.
        drift_p: How often chance alone makes one as large.
    """

    loss: ValueEstimate
    change: ValueEstimate
    ips: float
    snips: float
    direct: float
    logged: float
    effective: float
    nr_decisions: int
    nr_clipped: int
    clipped_by: float
    nr_blocks: int
    block_changes: FloatArray
    drift: float
    drift_p: float

    @property
    def drifts(self) -> bool:
        """Whether what decisions bring has changed while they were logged."""
        return self.drift_p < _DRIFT_BELOW


def judge_policy(
    logged: LoggedDecisions,
    wanted: FloatArray,
    *,
    before: FloatArray | None = None,
    most_weight: float = MOST_WEIGHT,
    least_effective: float = LEAST_EFFECTIVE,
) -> OffPolicyEstimate:
    """Estimate what a policy would have brought.

    Args:
        logged: What was decided, and what came of it.
        wanted: [n, k] with which probability the policy draws each arm; a row sums to 1.
        before: [n] how much likelier the policy is to have decided as was done just before each decision,
            where that still acts on its loss: the product of those ratios; None: it does not.
        most_weight: Larger weights are cut to it.
        least_effective: With fewer effective decisions nothing is said.

    Raises:
        EvidenceError: The policy does what the log never does, too few decisions are like its own, or the
            log is too short.
    """
    _check(logged, wanted)
    rows = np.arange(len(logged))
    if before is None:
        before = np.ones(len(logged))
    whole = before * wanted[rows, logged.actions] / logged.propensities[rows, logged.actions]
    weights = np.minimum(whole, most_weight)
    effective = _effective(weights * logged.weights)
    if effective < least_effective:
        raise EvidenceError(
            f"{len(logged)} decisions amount to {effective:.1f} that are like the policy's own, and "
            f"{least_effective:g} are needed",
            hint="log for longer, or with a larger floor under each arm's probability",
        )
    block = blocks_of_time(len(logged))
    model = _cross_fitted(logged, block)
    residuals = logged.losses - model[rows, logged.actions]
    modelled = (wanted * model).sum(axis=1)
    earlier = np.minimum(before, most_weight)
    scores = earlier * modelled + weights * residuals
    uncut = before * modelled + whole * residuals
    change = scores - logged.losses
    total, by = logged.weights, logged.weights.sum()
    return OffPolicyEstimate(
        loss=_blockwise(scores, total, block),
        change=_blockwise(change, total, block),
        ips=float((total * weights * logged.losses).sum() / by),
        snips=float((total * weights * logged.losses).sum() / (total * weights).sum()),
        direct=float((total * modelled).sum() / by),
        logged=float((total * logged.losses).sum() / by),
        effective=effective,
        nr_decisions=len(logged),
        nr_clipped=int((whole > most_weight).sum()),
        clipped_by=float((total * (uncut - scores)).sum() / by),
        nr_blocks=int(block[-1]) + 1,
        block_changes=_block_means(change, total, block),
        **_drift(logged, block),
    )


def blocks_of_time(count: int, nr_blocks: int = NR_BLOCKS) -> IntArray:
    """Return which block each of so many decisions in a row is in; all have as many, but for one."""
    found: IntArray = np.arange(count) * min(nr_blocks, count) // max(count, 1)
    return found


def _check(logged: LoggedDecisions, wanted: FloatArray) -> None:
    if wanted.shape != logged.propensities.shape or not np.allclose(wanted.sum(axis=1), 1, atol=1e-4):
        raise EvidenceError("a policy gives each arm of each decision a probability, summing to 1")
    if (wanted < 0).any():
        raise EvidenceError("a policy gives each arm a probability of 0 or more")
    if len(logged) < 2 * NR_BLOCKS:
        raise EvidenceError(
            f"{len(logged)} decisions can be judged: expected {2 * NR_BLOCKS} or more", hint="log for longer"
        )
    if (logged.propensities.max(axis=1) >= 1).all():
        raise EvidenceError(
            "each decision was certain: a deterministic log proves nothing of other actions",
            hint="log a policy that draws, with a floor under each arm's probability",
        )
    impossible = (wanted > 0) & (logged.propensities <= 0)
    if impossible.any():
        arms = ", ".join(str(one) for one in np.flatnonzero(impossible.any(axis=0)))
        raise EvidenceError(
            f"in {int(impossible.any(axis=1).sum())} of {len(logged)} decisions the policy may choose what "
            f"could not be drawn there (arms {arms}): of that the log says nothing",
            hint="log with a floor under each arm's probability",
        )


def _effective(weights: FloatArray) -> float:
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _cross_fitted(logged: LoggedDecisions, block: IntArray) -> FloatArray:
    """[n, k] the loss that a model expects which was fitted without the fold that it is asked about."""
    fold = block * _NR_FOLDS // (int(block[-1]) + 1)
    found = np.empty_like(logged.propensities)
    for one in range(_NR_FOLDS):
        found[fold == one] = _expected(logged, fold != one, logged.features[fold == one])
    return found


def _expected(logged: LoggedDecisions, used: BoolArray, asked: FloatArray) -> FloatArray:
    """[asked, k] the loss of each arm by a ridge per arm of the decisions that are used."""
    features, losses, actions = logged.features[used], logged.losses[used], logged.actions[used]
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    known, new = _with_one((features - centre) / scale), _with_one((asked - centre) / scale)
    mean = float(losses.mean())
    arms = range(logged.propensities.shape[1])
    slopes = [_ridge(known[actions == arm], losses[actions == arm] - mean) for arm in arms]
    found: FloatArray = new @ np.column_stack(slopes) + mean
    return found


def _with_one(features: FloatArray) -> FloatArray:
    return np.column_stack([np.ones(len(features)), features])


def _ridge(features: FloatArray, target: FloatArray) -> FloatArray:
    """The intercept is drawn to zero, too: an arm that was never drawn is expected to be as all are."""
    gram = features.T @ features + _PENALTY * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(gram, features.T @ target), np.float64)


def _block_means(values: FloatArray, weights: FloatArray, block: IntArray) -> FloatArray:
    """Each block's share of the mean: they average to it, though blocks weigh unequally."""
    count = int(block[-1]) + 1
    sums = np.bincount(block, weights * values, count)
    found: FloatArray = sums * count / weights.sum()
    return found


def _blockwise(values: FloatArray, weights: FloatArray, block: IntArray) -> ValueEstimate:
    """A weighted mean with an interval by Student's t over blocks, of the ratio of sums (linearised).

    The error has one degree of freedom less than a mean's: blocks share the model, and weights are skewed.
    """
    from scipy import stats

    mean = float((weights * values).sum() / weights.sum())
    parts = _block_means(values - mean, weights, block)
    count = len(parts)
    error = math.sqrt(float((parts**2).sum())) / (count - 1)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return ValueEstimate(mean, mean - reach, mean + reach)


def _drift(logged: LoggedDecisions, block: IntArray) -> dict[str, float]:
    """Compare what a model could not expect, between the first and the second half (Welch's, over blocks)."""
    from scipy import stats

    model = _expected(logged, np.ones(len(logged), np.bool_), logged.features)
    residuals, weights = logged.losses - model[np.arange(len(logged)), logged.actions], logged.weights
    count = int(block[-1]) + 1
    means = np.bincount(block, weights * residuals, count) / np.bincount(block, weights, count)
    first, second = means[: count // 2], means[count // 2 :]
    if means.std() == 0:
        return {"drift": 0.0, "drift_p": 1.0}
    found = stats.ttest_ind(second, first, equal_var=False)
    return {"drift": float(second.mean() - first.mean()), "drift_p": float(found.pvalue)}
