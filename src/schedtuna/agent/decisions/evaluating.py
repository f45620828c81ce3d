"""What would another policy have brought here? Rows of decisions are made into an estimate, or refused.

What is left out is counted by its reason: decisions that were certain, that have no outcome, or one that is
unknown. An arm whose outcomes are unknown more often than the others' would look better than it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schedtuna.agent.decisions.judged import ArmChooser
from schedtuna.agent.decisions.rows import DECISION, LEFT_OUT, OUTCOME, DecisionRow, decision_of, outcome_of
from schedtuna.errors import EvidenceError
from schedtuna.evidence.off_policy import FloatArray, LoggedDecisions, OffPolicyEstimate, judge_policy

_NO_OUTCOME = "no outcome was logged"
_UNKNOWN_BELOW = 0.01  # p of arms' shares of unknown outcomes, from which on they differ
_LEAST_KNOWN = 0.5  # of the decisions that have to know a feature


@dataclass(frozen=True)
class JudgedDecision:
    """A decision that was drawn, and what is known of it.

    Attributes:
        row: The decision.
        loss: What came of it; None: unknown.
        weight: One over the rate at which decisions were logged then.
        time_s: When it was logged (Unix).
    """

    row: DecisionRow
    loss: float | None
    weight: float
    time_s: float


@dataclass(frozen=True)
class DecisionHistory:
    """The decisions of one policy that can be judged by, and what was left out.

    Attributes:
        policy: Which one logged them.
        decisions: Those that were drawn, in the order of time.
        nr_certain: Decisions that were not: of them nothing is said.
        nr_left_out: Decisions that a cap kept out of the log.
        unknown: Why outcomes are unknown, and of how many decisions.
        versions: How many decisions each version of the policy made.
    """

    policy: str
    decisions: tuple[JudgedDecision, ...]
    nr_certain: int
    nr_left_out: int
    unknown: Mapping[str, int]
    versions: Mapping[str, int]

    @property
    def arms(self) -> tuple[str, ...]:
        """All that could be drawn, the first row's first."""
        return tuple(dict.fromkeys(arm for one in self.decisions for arm in one.row.arms))

    @property
    def hours(self) -> float:
        """From the first to the last."""
        return (self.decisions[-1].time_s - self.decisions[0].time_s) / 3600 if self.decisions else 0.0


@dataclass(frozen=True)
class PolicyJudgement:
    """What is said of a policy.

    Attributes:
        policy: Which was judged.
        estimate: What it would have brought.
        features: What the model of the loss looks at.
        notes: What has to be known beside the figures, for people.
    """

    policy: str
    estimate: OffPolicyEstimate
    features: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def read_history(rows: Iterable[Mapping[str, Any]], policy: str = "") -> DecisionHistory:
    """Pair decisions with their outcomes.

    Args:
        rows: As they are stored, oldest first.
        policy: The one whose decisions count, or the part of its name before a slash; empty: the only one
            that there is.

    Raises:
        EvidenceError: There is none, there are several, a row is damaged, or a propensity is missing.
    """
    decisions: dict[str, tuple[DecisionRow, float, float]] = {}
    losses: dict[str, float | None] = {}
    unknown: dict[str, str] = {}
    nr_left_out = 0
    for fields in rows:
        kind = fields.get("kind")
        if kind == DECISION:
            row = decision_of(fields)
            if row.id in decisions:
                raise EvidenceError(
                    f"two decisions are called {row.id}", hint="the file is damaged, or not ours"
                )
            if policy in ("", row.policy, row.policy.partition("/")[0]):
                decisions[row.id] = row, _number(fields, "rate"), _number(fields, "time")
        elif kind == OUTCOME:
            found = outcome_of(fields)
            losses[found.id], unknown[found.id] = found.loss, found.unknown
        elif kind == LEFT_OUT:
            nr_left_out += int(_number(fields, "nr"))
    _require_one(decisions, policy)
    certain = {id_ for id_, (row, _, _) in decisions.items() if row.propensity == 1}
    if len(certain) == len(decisions):
        raise EvidenceError(
            f"all {len(decisions)} decisions were certain: a deterministic log proves nothing of other "
            "actions",
            hint="log a policy that draws, with a floor under each arm's probability",
        )
    drawn = {id_: one for id_, one in decisions.items() if id_ not in certain}
    reasons = Counter(unknown.get(id_, _NO_OUTCOME) for id_ in drawn if losses.get(id_) is None)
    return DecisionHistory(
        policy=next(iter(decisions.values()))[0].policy.partition("/")[0],
        decisions=tuple(
            JudgedDecision(row, losses.get(id_), 1 / rate, time_s)
            for id_, (row, rate, time_s) in drawn.items()
        ),
        nr_certain=len(certain),
        nr_left_out=nr_left_out,
        unknown=dict(reasons),
        versions=Counter(row.version for row, _, _ in drawn.values()),
    )


def judge(
    history: DecisionHistory,
    chooser: ArmChooser,
    *,
    carry_over: int = 0,
    unknown_as_worst: bool = False,
) -> PolicyJudgement:
    """Estimate what a policy would have brought.

    Args:
        history: What another one decided.
        chooser: The policy.
        carry_over: How many decisions before one still act on its loss.
        unknown_as_worst: Whether an unknown outcome counts as the worst that was seen; else it is left out.

    Raises:
        EvidenceError: Too little is known for it, or the arms' outcomes are unknown unequally often.
    """
    notes = []
    if not unknown_as_worst:
        _require_alike_unknown(history)
    losses = np.array([np.nan if one.loss is None else one.loss for one in history.decisions], np.float64)
    if unknown_as_worst and not np.isnan(losses).all():
        losses = np.where(np.isnan(losses), np.nanmax(losses), losses)
    is_used = ~np.isnan(losses)
    used = [one for one, is_in in zip(history.decisions, is_used, strict=True) if is_in]
    names, features = _features([one.row for one in used])
    arms = history.arms
    logged = LoggedDecisions(
        features=features,
        actions=np.array([arms.index(one.row.action) for one in used], np.int64),
        propensities=_spread(arms, [(one.row, one.row.propensities or ()) for one in used]),
        losses=losses[is_used],
        weights=np.array([one.weight for one in used], np.float64),
    )
    drawn = [_drawn(chooser, one.row) for one in history.decisions]
    wanted = _spread(arms, [(one.row, by) for one, by in zip(history.decisions, drawn, strict=True)])
    before = _ratios_before(history, drawn, carry_over)
    estimate = judge_policy(logged, wanted[is_used], before=before[is_used])
    notes += _notes(history, estimate, unknown_as_worst=unknown_as_worst)
    return PolicyJudgement(chooser.name, estimate, names, tuple(notes))


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise EvidenceError(f"a row's {name} is {value!r}", hint="the file is damaged, or not ours")
    return float(value)


def _require_one(decisions: Mapping[str, tuple[DecisionRow, float, float]], policy: str) -> None:
    if not decisions:
        of = f" of {policy}" if policy else ""
        raise EvidenceError(
            f"no decision among arms{of} is logged", hint="policies that draw log them: swap, migrate"
        )
    names = sorted({row.policy.partition("/")[0] for row, _, _ in decisions.values()})
    if len(names) > 1:
        raise EvidenceError(
            f"decisions of several policies are logged: {', '.join(names)}", hint="name one: --logged-by NAME"
        )
    missing = sum(row.propensities is None for row, _, _ in decisions.values())
    if missing:
        raise EvidenceError(
            f"{missing} of {len(decisions)} decisions do not say with which probability they were drawn: "
            "nothing can be concluded from them",
            hint="log a policy that says so",
        )


def _require_alike_unknown(history: DecisionHistory) -> None:
    """Refuse where one arm's outcomes are missing more often: what went wrong there would not count."""
    from scipy import stats

    if not history.unknown:
        return
    known = Counter(one.row.action for one in history.decisions if one.loss is not None)
    lost = Counter(one.row.action for one in history.decisions if one.loss is None)
    arms = [arm for arm in history.arms if known[arm] + lost[arm]]
    if len(arms) < 2:
        return
    table = np.array([[known[arm], lost[arm]] for arm in arms])
    if stats.chi2_contingency(table).pvalue < _UNKNOWN_BELOW:
        told = ", ".join(f"{arm} {lost[arm]} of {known[arm] + lost[arm]}" for arm in arms)
        raise EvidenceError(
            f"the outcomes of some arms are unknown more often than of others ({told}), so what is known "
            "says nothing of the rest",
            hint="--unknown-as-worst counts them as the worst that was seen",
        )


def _features(rows: Sequence[DecisionRow]) -> tuple[tuple[str, ...], FloatArray]:
    """[n, d] features that most rows know; where one does not, their mean, and a column that says so."""
    counts = Counter(name for row in rows for name in row.features)
    names = tuple(sorted(name for name, count in counts.items() if count >= _LEAST_KNOWN * len(rows)))
    columns = []
    for name in names:
        column = np.array([row.features.get(name, np.nan) for row in rows], np.float64)
        lacking = np.isnan(column)
        columns.append(np.where(lacking, np.nanmean(column), column))
        if lacking.any():
            columns.append(lacking.astype(np.float64))
    return names, np.column_stack(columns) if columns else np.zeros((len(rows), 0))


def _drawn(chooser: ArmChooser, row: DecisionRow) -> Sequence[float]:
    found = [float(one) for one in chooser.probabilities(row)]
    if len(found) != len(row.arms) or not all(one >= 0 for one in found) or not 0.999 < sum(found) < 1.001:
        told = ", ".join(f"{one:g}" for one in found[:8])
        raise EvidenceError(
            f"{chooser.name} gives the {len(row.arms)} arms of decision {row.id} the probabilities {told}: "
            "expected one for each, summing to 1"
        )
    return found


def _ratios_before(history: DecisionHistory, drawn: Sequence[Sequence[float]], carry_over: int) -> FloatArray:
    """[decisions] how much likelier the policy is to have made the decisions just before each one."""
    places = [one.row.arms.index(one.row.action) for one in history.decisions]
    ratios = np.array(
        [
            by[place] / (one.row.propensity or 1.0)
            for one, by, place in zip(history.decisions, drawn, places, strict=True)
        ]
    )
    found = np.ones(len(ratios))
    for step in range(1, carry_over + 1):
        found[step:] *= ratios[:-step]
    return found


def _spread(arms: Sequence[str], given: Sequence[tuple[DecisionRow, Sequence[float]]]) -> FloatArray:
    """[n, k] each row's values of its own arms, at the places of all arms."""
    place = {arm: number for number, arm in enumerate(arms)}
    found = np.zeros((len(given), len(arms)))
    for line, (row, values) in zip(found, given, strict=True):
        line[[place[arm] for arm in row.arms]] = values
    total: FloatArray = found.sum(axis=1, keepdims=True)
    return found / total


def _notes(history: DecisionHistory, found: OffPolicyEstimate, *, unknown_as_worst: bool) -> list[str]:
    notes = []
    if history.nr_certain:
        notes.append(f"{history.nr_certain} decisions were certain: of such moments nothing is said")
    for why, count in history.unknown.items():
        how = "counted as the worst" if unknown_as_worst else "left out"
        notes.append(f"{count} decisions {how}: {why}")
    if history.nr_left_out:
        notes.append(f"the log's cap kept out {history.nr_left_out} decisions, in its busiest minutes")
    if found.nr_clipped:
        notes.append(
            f"{found.nr_clipped} weights were cut, without which the loss would be {found.clipped_by:+.4g} "
            "more"
        )
    if found.drifts:
        notes.append(
            f"what the same choice brings has changed while it was logged (by {found.drift:+.4g}, p "
            f"{found.drift_p:.2g}): the estimate is of the mean over that time, not of what comes"
        )
    return notes
