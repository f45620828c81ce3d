"""What is asked of comparisons, and how long they may take: options of `compare` and `bisect`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schedtuna.cli.common import listed, parse_positive_duration
from schedtuna.cli.options import (
    BudgetOption,
    DeltaOption,
    MaxStealOption,
    MetricOption,
    RequireOption,
    TimeOption,
)
from schedtuna.errors import UsageError
from schedtuna.evidence import DELTA

if TYPE_CHECKING:
    from schedtuna.workload.spec import RunSpec, Workload


@dataclass(frozen=True)
class QuestionOptions:
    """What is asked, and how long it may take."""

    budget: BudgetOption = None
    time: TimeOption = None
    metric: MetricOption = None
    delta: DeltaOption = DELTA
    max_steal: MaxStealOption = 1.0

    @property
    def requirements(self) -> list[str]:
        """Bounds that the candidate must keep."""
        return []

    def spec(self, workload: Workload, seed: int) -> RunSpec:
        """Return what the runs have in common.

        Raises:
            UsageError: A metric or a requirement that is wrong.
        """
        from schedtuna.workload.metrics import default_metric, parse_metric, parse_requirement
        from schedtuna.workload.spec import RunSpec

        metrics = [parse_metric(text, workload) for text in listed(self.metric)] or [default_metric(workload)]
        return RunSpec(
            workload=workload,
            metrics=tuple(metrics),
            requirements=tuple(parse_requirement(text, metrics, workload) for text in self.requirements),
            limits={"steal_fraction": self.max_steal},
            seed=seed,
        )

    def identity(self, spec: RunSpec) -> dict[str, str]:
        """What the verdict depends on, as it was said."""
        from schedtuna.workload.metrics import format_metric

        return {
            "metrics": " ".join(map(format_metric, spec.metrics)),
            "requirements": " ".join(self.requirements),
            "budget": f"{self.budget} runs, {self.time or 'no time limit'}",
            "delta": str(self.delta),
        }

    def length(self) -> dict[str, Any]:
        """Return when the comparison ends.

        Raises:
            UsageError: Nothing could be decided by then.
        """
        from schedtuna.experiment.compare import blocks_within

        if not 0 < self.delta < 1:
            raise UsageError(f"--delta {self.delta}: expected a fraction between 0 and 1, such as {DELTA}")
        blocks_within(self.budget)
        limit_s = None if self.time is None else parse_positive_duration(self.time, option="--time")
        return {"budget": self.budget, "time_limit_s": limit_s, "delta": self.delta}


@dataclass(frozen=True)
class CandidateOptions(QuestionOptions):
    """What is asked of one candidate."""

    require: RequireOption = None

    @property
    def requirements(self) -> list[str]:
        """Bounds that the candidate must keep."""
        return listed(self.require)
