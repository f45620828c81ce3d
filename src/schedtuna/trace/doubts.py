"""What does a trace, or a window of it, not tell? In words, and as numbers for programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from schedtuna.trace.analysis import Analysis
from schedtuna.trace.gaps import MEANINGS, Why
from schedtuna.trace.trace import tell_losses

WORTH_TELLING = 0.001  # share of the CPUs' time that is unknown
_SINGLE_TASKS = (
    "This is a recording of single tasks, not of the machine. Of tasks with `-` for figures only some events"
    " are there, and what else the CPUs did is unknown. To record everybody: `perf sched record`, or"
    " `perf record -a`; ftrace without set_event_pid, trace-cmd record without -P and -F."
)
_FILTERED = "Only some tasks were recorded: what the CPUs did meanwhile is unknown."


def unknown(analysis: Analysis) -> dict[str, Any]:
    """Return how much of the CPUs' time nobody knows, for JSON: in all, by reason, and by CPU."""
    gaps, window_ns = analysis.gaps, max(analysis.end_ns - analysis.start_ns, 1)
    all_ns = window_ns * max(analysis.nr_cpus, 1)
    by_reason = {
        why.name.lower(): float(gaps.select(gaps.why == why).per_cpu_ns(analysis.nr_cpus).sum()) / all_ns
        for why in Why
    }
    shares = analysis.unknown_shares
    return {
        "share": analysis.unknown_share,
        "by_reason": {reason: share for reason, share in by_reason.items() if share},
        "by_cpu": {str(cpu): float(shares[cpu]) for cpu in np.flatnonzero(shares).tolist()},
        "nr_unread": sum(loss.nr_lost or 1 for loss in analysis.losses if loss.is_unread),
        "is_number_of_lost_known": all(loss.nr_lost is not None for loss in analysis.losses),
        "only_some_tasks": analysis.reading.is_partial,
    }


def warnings(analysis: Analysis) -> list[str]:
    """Return what is unknown, and what that does to figures, as sentences; none if it is next to nothing."""
    told = []
    if any(loss.nr_lost != 0 for loss in analysis.losses):
        told.append(f"{_capital(tell_losses(analysis.losses))}: the figures are off.")
    elif analysis.trace.is_incomplete:
        told.append(f"Outside of this window, {tell_losses(analysis.trace.losses)}.")
    if analysis.reading.is_of_single_tasks:
        told.append(_SINGLE_TASKS)
    elif analysis.reading.is_partial:
        told.append(_FILTERED)
    if analysis.unknown_share >= WORTH_TELLING:
        told.append(_share(analysis))
    return told


def _share(analysis: Analysis) -> str:
    shares = unknown(analysis)["by_reason"]
    reasons = ", ".join(
        f"{100 * shares[why.name.lower()]:.1f}% {MEANINGS[why]}"
        for why in Why
        if shares.get(why.name.lower())
    )
    cpus = np.flatnonzero(analysis.unknown_shares >= WORTH_TELLING)
    worst = cpus[np.argsort(-analysis.unknown_shares[cpus], kind="stable")][:3].tolist()
    named = ", ".join(f"CPU {cpu}: {100 * analysis.unknown_shares[cpu]:.1f}%" for cpu in worst)
    return (
        f"Unknown: {100 * analysis.unknown_share:.1f}% of the CPUs' time ({reasons}); most of {named}."
        " Tasks may have run then: times and counts are of the rest."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
