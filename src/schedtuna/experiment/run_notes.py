"""What should a reader of a comparison know of its runs, beside what the statistics say?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from schedtuna.backend.base import Side
from schedtuna.experiment.inforce import in_force_notes
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.covariates import invalid_reason

_BUSY_FRACTION = 0.1  # of the CPUs' time: from here on it matters what other programs lose


def run_notes(a: Side, b: Side, records: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield one sentence each, most important first.

    Args:
        a: The default.
        b: The candidate.
        records: Every run.
    """
    if a.label() == b.label():
        yield "Both sides are the same: whatever differs between them is noise."
    yield from in_force_notes(a.scheduler, b.scheduler, records)
    yield from _taken_from_others(a.scheduler, b.scheduler, records)
    leftovers = [record.trial.nr_leftovers for record in records if record.trial.nr_leftovers]
    if leftovers:
        yield (
            f"In {len(leftovers)} of {len(records)} runs, processes outlived the command and were ended "
            f"({sum(leftovers)} in all): what they would have done later is not measured."
        )
    disturbed = [reason for r in records if (reason := invalid_reason(r.trial.covariates))]
    if disturbed:
        yield (
            f"{len(disturbed)} of {len(records)} runs were disturbed from outside, such as: {disturbed[0]}. "
            "The verdict allows for that; a quieter machine would need fewer runs."
        )


def _taken_from_others(
    a: SchedulerConfig, b: SchedulerConfig, records: Sequence[TrialRecord]
) -> Iterator[str]:
    """On a busy machine a higher rank is a gain for the command, and a loss for its neighbours."""
    higher = [n for n, rank in _RANKS.items() if rank(b.values.get(n)) > rank(a.values.get(n))]
    others = median(record.trial.covariates.get("other_fraction", 0.0) for record in records)
    if higher and others > _BUSY_FRACTION:
        yield (
            f"The candidate ranks above other programs ({', '.join(higher)}), which took {others:.0%} of the "
            "CPUs' time meanwhile: the difference may be time taken from them, and smaller where none run."
        )


def _by_nice(value: object) -> float:
    return max(0.0, -value) if isinstance(value, int | float) else 0.0


def _by_policy(value: object) -> float:
    return float(value in {"fifo", "rr"})


# By knob: how much more than by default a value favours the command over other programs.
_RANKS: dict[str, Callable[[object], float]] = {
    "nice": _by_nice,
    "autogroup_nice": _by_nice,
    "realtime": _by_policy,
}
