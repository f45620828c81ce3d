"""One decision among arms as a row, and what came of it as another: what off-policy estimates are made from.

A decision is of use to them where it was drawn: each arm's probability stands beside the one that was chosen.
What the kernel itself would have done, or had done, stands beside it, too. Rows are checked before they are
written and when they are read; policies that draw give them out by `take_rows`, and know no clock or file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from schedtuna.errors import EvidenceError

DECISION, OUTCOME, LEFT_OUT = "decision", "outcome", "left_out"  # kinds of rows
_SUM_WITHIN = 1e-4  # of 1: rows are stored with six digits


@dataclass(frozen=True)
class DecisionRow:
    """One choice among arms.

    Attributes:
        id: Names it within the run; the log puts the run's own before it.
        time_ns: When it was made (CLOCK_MONOTONIC).
        policy: Which policy decided.
        version: Of what decided: a model's, a state's; empty: the policy has only one.
        arms: What could have been chosen.
        propensities: With which probability the policy chose each, summing to 1; None: it does not say, and
            no estimate can be made from it.
        action: Which arm was chosen.
        features: What the policy looked at, with units in the names; only finite numbers.
        subject: What it is about, such as a thread's key; empty: the machine.
        kernel_action: What the kernel decided, or had, by the name of an arm; None: it decides nothing of
            the kind, or nobody knows.
    """

    id: str
    time_ns: int
    policy: str
    version: str
    arms: tuple[str, ...]
    propensities: tuple[float, ...] | None
    action: str
    features: Mapping[str, float] = field(default_factory=dict)
    subject: str = ""
    kernel_action: str | None = None

    def __post_init__(self) -> None:
        if not self.id or not self.policy:
            raise EvidenceError("a decision has an id and the name of its policy")
        if len(set(self.arms)) != len(self.arms) or self.action not in self.arms:
            raise EvidenceError(
                f"decision {self.id}: {self.action!r} of the arms {', '.join(self.arms)}: expected one of "
                "them, each once"
            )
        for name, value in self.features.items():
            if not math.isfinite(value):
                raise EvidenceError(
                    f"decision {self.id}: {name} is {value}: expected a finite number",
                    hint="leave out a feature that is not known",
                )
        if self.propensities is not None:
            self._check(self.propensities)

    def _check(self, propensities: tuple[float, ...]) -> None:
        if len(propensities) != len(self.arms) or not all(0 <= one <= 1 for one in propensities):
            raise EvidenceError(
                f"decision {self.id}: {len(propensities)} propensities for {len(self.arms)} arms: expected "
                "one for each, from 0 to 1"
            )
        if abs(sum(propensities) - 1) > _SUM_WITHIN:
            raise EvidenceError(f"decision {self.id}: its propensities sum to {sum(propensities):.6g}, not 1")
        if propensities[self.arms.index(self.action)] <= 0:
            raise EvidenceError(
                f"decision {self.id}: it chose {self.action}, of which it says that it never does"
            )

    @property
    def propensity(self) -> float | None:
        """Of what was chosen; None where unknown."""
        return None if self.propensities is None else self.propensities[self.arms.index(self.action)]


@dataclass(frozen=True)
class OutcomeRow:
    """What came of a decision.

    Attributes:
        id: The decision's.
        time_ns: When that was known (CLOCK_MONOTONIC).
        loss: L, lower is better; None: unknown.
        terms: What it is the sum of, or what is known of it.
        unknown: Why it is unknown; empty: it is known.
    """

    id: str
    time_ns: int
    loss: float | None
    terms: Mapping[str, float] = field(default_factory=dict)
    unknown: str = ""

    def __post_init__(self) -> None:
        if self.loss is None and not self.unknown:
            raise EvidenceError(f"the outcome of {self.id} is unknown: expected the reason")
        if self.loss is not None and not math.isfinite(self.loss):
            raise EvidenceError(
                f"the outcome of {self.id} is {self.loss}: expected a finite number, or None and the reason"
            )


@runtime_checkable
class DecidesByRows(Protocol):
    """A policy that chooses among arms, and says so in rows."""

    def take_rows(self) -> list[DecisionRow | OutcomeRow]:
        """Return the rows since the last call, in their order; called once after each `decide`."""
        ...


def decision_fields(row: DecisionRow) -> dict[str, Any]:
    """Return a decision as the log has it."""
    return {
        "id": row.id,
        "time_ns": row.time_ns,
        "policy": row.policy,
        "version": row.version,
        "subject": row.subject,
        "arms": list(row.arms),
        "propensities": None if row.propensities is None else list(row.propensities),
        "action": row.action,
        "kernel_action": row.kernel_action,
        "features": dict(row.features),
    }


def outcome_fields(row: OutcomeRow) -> dict[str, Any]:
    """Return an outcome as the log has it."""
    return {
        "id": row.id,
        "time_ns": row.time_ns,
        "loss": row.loss,
        "unknown": row.unknown,
        "terms": dict(row.terms),
    }


def decision_of(fields: Mapping[str, Any]) -> DecisionRow:
    """Return the decision that a row of the log has.

    Raises:
        EvidenceError: It has none, or one that can't be.
    """
    try:
        given = fields["propensities"]
        return DecisionRow(
            id=str(fields["id"]),
            time_ns=int(fields["time_ns"]),
            policy=str(fields["policy"]),
            version=str(fields["version"]),
            arms=tuple(str(one) for one in fields["arms"]),
            propensities=None if given is None else tuple(float(one) for one in given),
            action=str(fields["action"]),
            features={str(name): float(value) for name, value in fields["features"].items()},
            subject=str(fields.get("subject", "")),
            kernel_action=None if fields.get("kernel_action") is None else str(fields["kernel_action"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EvidenceError(
            f"a row is no decision: {type(error).__name__}: {error}", hint="the file is damaged, or not ours"
        ) from error


def outcome_of(fields: Mapping[str, Any]) -> OutcomeRow:
    """Return the outcome that a row of the log has.

    Raises:
        EvidenceError: It has none, or one that can't be.
    """
    try:
        loss = fields["loss"]
        return OutcomeRow(
            id=str(fields["id"]),
            time_ns=int(fields["time_ns"]),
            loss=None if loss is None else float(loss),
            terms={str(name): float(value) for name, value in fields["terms"].items() if value is not None},
            unknown=str(fields.get("unknown", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EvidenceError(
            f"a row is no outcome: {type(error).__name__}: {error}", hint="the file is damaged, or not ours"
        ) from error
