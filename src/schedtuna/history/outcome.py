"""What a study found, as data: each sampler's search, and the claim that its confirmation makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schedtuna.backend.base import Validity
from schedtuna.evidence.result import Verdict
from schedtuna.experiment.comparison import Comparison
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.history.objective import Objective
from schedtuna.history.plan import StudyPlan
from schedtuna.space import ParameterValue

BASELINE, SEARCH, PLAYOFF, CONFIRMATION = "baseline", "search", "playoff", "confirmation"


@dataclass(frozen=True)
class SearchOutcome:
    """What one sampler's search came to.

    Attributes:
        sampler: Its name.
        records: Its runs, in order.
        training: The sampler's numbers about itself after each run.
        candidate: What it nominates: what differs from the default; empty where nothing else worked.
        found_after: Runs until it first tried that.
        recommends_default: Whether it would rather have stayed with the default.
        playoff: Costs of fresh runs of the candidate beside those of other samplers.
    """

    sampler: str
    records: Sequence[TrialRecord]
    training: Sequence[dict[str, float]]
    candidate: dict[str, ParameterValue]
    found_after: int
    recommends_default: bool
    playoff: Sequence[float | None] = ()


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        plan: What was asked.
        folder: Where everything is.
        objective: The scale of the costs.
        baseline: The default's runs before the search.
        searches: What each sampler found; one, but for a bake-off.
        winner: The search whose candidate was confirmed.
        comparison: The confirmation on fresh runs, with the verdict.
    """

    plan: StudyPlan
    folder: Path
    objective: Objective
    baseline: Sequence[TrialRecord]
    searches: Sequence[SearchOutcome]
    winner: SearchOutcome
    comparison: Comparison

    @property
    def candidate(self) -> dict[str, ParameterValue]:
        """The nominated assignment: what differs from the default."""
        return self.winner.candidate

    @property
    def best(self) -> dict[str, ParameterValue] | None:
        """The assignment to apply; None where no gain was proven."""
        return self.candidate if self.comparison.verdict is Verdict.IMPROVED else None

    @property
    def confirmation(self) -> str:
        """The command that confirms the candidate on a machine; empty where it was found on one."""
        scheduler = self.plan.scheduler
        return self.plan.place.confirmation(
            scheduler.with_values({}), scheduler.with_values(self.candidate), self.plan
        )

    @property
    def nr_search_runs(self) -> int:
        """Runs before the confirmation, baseline and playoff included."""
        played = sum(len(outcome.playoff) for outcome in self.searches if outcome.candidate)
        searched = sum(len(outcome.records) for outcome in self.searches) + played
        return len(self.baseline) + searched


def cost_of(record: TrialRecord, objective: Objective) -> float | None:
    """Return what a run cost; None where it failed or timed out."""
    trial = record.trial
    return objective.cost(trial.metrics) if trial.validity is Validity.OK else None
