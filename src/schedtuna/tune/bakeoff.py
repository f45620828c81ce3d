"""Who takes part in a bake-off of all samplers, with how many runs each, and who wins it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.evidence.design import least_budget
from schedtuna.samplers.registry import installed_samplers, missing_extra

PLAYOFF_RUNS = 3  # fresh runs per finalist
CONTESTANTS = "samplers"  # what a plan's options of a bake-off call those that take part
LEAST_SEARCH = 5  # runs below which a sampler's search means nothing


def contestants(options: Mapping[str, Any] | None = None) -> list[str]:
    """Names of the samplers that take part: those that are installed when a study is planned.

    Args:
        options: The study's, which keep them for whoever resumes it; studies of earlier versions do not.
    """
    planned = (options or {}).get(CONTESTANTS)
    return planned or [name for name in installed_samplers() if missing_extra(name) is None]


def share(runs: int, baseline_runs: int, names: Sequence[str]) -> int:
    """Return how many search runs each sampler gets, all but its runs in the playoff.

    Args:
        runs: Runs of the search in all.
        baseline_runs: Runs of the default before it, which count towards a budget.
        names: Of those that take part.

    Raises:
        UsageError: Too few to mean anything.
    """
    each = runs // len(names) - PLAYOFF_RUNS
    if each < LEAST_SEARCH:
        needed = len(names) * (LEAST_SEARCH + PLAYOFF_RUNS)
        budget = least_budget(needed + baseline_runs)
        raise UsageError(
            f"{runs} search runs are too few for a bake-off of {len(names)} samplers",
            hint=f"allow {needed}: --episodes {needed}, or --budget {budget}; or name one sampler",
        )
    return each


def playoff_cost(costs: Sequence[float | None]) -> float:
    """Median cost of a finalist's fresh runs; failures are as bad as can be."""
    return median(math.inf if cost is None else cost for cost in costs) if costs else 0.0
