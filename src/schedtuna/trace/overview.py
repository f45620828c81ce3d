"""What does a trace amount to, and what must be said of that? Of events, and of what was counted."""

from __future__ import annotations

from typing import Any

from schedtuna.errors import UsageError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.counted import Counted
from schedtuna.trace.doubts import unknown, warnings
from schedtuna.trace.trace import Trace

_STATES = {
    "cut": (
        "The trace was cut short: its recorder was killed, or its disk was full. What came before is here."
    ),
    "recording": "The trace is still being recorded; this is what is there so far.",
}


def measured(
    trace: Trace, *, window_s: tuple[float, float] | None = None, allow_lost: bool = False
) -> Analysis | Counted:
    """Measure a trace, whatever it was recorded as.

    Args:
        trace: The trace.
        window_s: (from, to) in seconds since its beginning; None: all of it.
        allow_lost: Accept a trace in which something is missing.

    Raises:
        UsageError: A window of a trace that was counted as a whole.
        TraceError: There is nothing to measure, it is damaged, or something is missing.
    """
    if trace.manifest.get("mode") != "aggregate":
        return Analysis(trace, window_s=window_s, allow_lost=allow_lost)
    if window_s is not None:
        raise UsageError("--from and --to need scheduler events, and this trace was counted as a whole")
    return Counted(trace, allow_lost=allow_lost)


def facts(source: Analysis | Counted) -> dict[str, Any]:
    """Return what a program should know of the figures."""
    trace = source.trace
    if isinstance(source, Counted):
        return {"state": trace.state, "nr_lost": trace.nr_lost, "warnings": remarks(source)}
    return {
        "state": trace.state,
        "clock": trace.clock,
        "seconds": source.seconds,
        "nr_events": source.nr_events,
        "nr_lost": trace.nr_lost,
        "unknown": unknown(source),
        "warnings": warnings(source),
        "nr_held_back": source.nr_held_back,
        "nr_cpus": source.nr_cpus,
        "wakeup_event": source.wakeup.name if source.wakeup else None,
    }


def headline(source: Analysis | Counted) -> str:
    """Say in a line how much was recorded."""
    if isinstance(source, Counted):
        return f"counted in the kernel; {source.nr_tasks:,} tasks; percentiles are off by up to 13%"
    figures = source.overall()
    return (
        f"{source.seconds:.3f} s, {source.nr_events:,} events, {figures['nr_tasks']:,} tasks"
        f" ({figures['nr_began_before']:,} from before, {figures['nr_alive_after']:,} still alive),"
        f" {source.nr_cpus} CPUs"
    )


def remarks(source: Analysis | Counted) -> list[str]:
    """Return what readers of the figures must know, as sentences."""
    trace = source.trace
    told = [_STATES[trace.state]] if trace.state in _STATES else []
    if isinstance(source, Counted):
        if trace.is_incomplete:
            lost = f"{trace.nr_lost:,} first runs or exits of tasks were not counted: the figures are off."
            told.append(lost)
        return told
    told += warnings(source)
    if source.nr_held_back:
        told.append(
            f"{source.nr_held_back:,} times a CPU went idle though the task that left it could run: a quota"
            " (or a sched_ext scheduler) held it back. That time is in the waits below."
        )
    if source.wakeup is None:
        told.append("The trace has no wakeups: there are no wakeup latencies.")
    elif source.wakeup.name == "WAKING":
        told.append("Latencies begin at sched_waking: the trace has no sched_wakeup.")
    return told
