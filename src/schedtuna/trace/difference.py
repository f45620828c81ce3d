"""How do two traces differ? Described, not judged: one trace each proves nothing.

Whether a difference is real takes repeated, interleaved runs: `schedtuna compare`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schedtuna.trace.analysis import Analysis

# Figures that don't grow with a trace's length; the others are compared per second.
_PER_TASK = {"nr_tasks", "fairness_cv"}


@dataclass(frozen=True)
class Difference:
    """One figure of two traces; a total is per second of its trace. None: a trace has no such figure."""

    figure: str
    before: float | None
    after: float | None

    @property
    def ratio(self) -> float | None:
        """After / before."""
        return self.after / self.before if self.before and self.after is not None else None


def differences(before: Analysis, after: Analysis) -> list[Difference]:
    """Return the figures of all tasks of two traces, side by side."""
    ours, theirs = before.overall(), after.overall()
    return [
        Difference(_name(figure), _scaled(figure, ours, before), _scaled(figure, theirs, after))
        for figure in ours
    ]


def group_differences(before: Analysis, after: Analysis, grouping: str, figure: str) -> list[Difference]:
    """Return one figure per group of two traces, the groups with most CPU time first."""
    ours, theirs = before.by(grouping), after.by(grouping)
    rows = {"before": dict(zip(ours.names, ours.dicts(), strict=True))}
    rows["after"] = dict(zip(theirs.names, theirs.dicts(), strict=True))
    names = dict.fromkeys([*ours.names, *theirs.names])

    def value(side: str, name: str, analysis: Analysis) -> float | None:
        row = rows[side].get(name)
        return None if row is None else _scaled(figure, row, analysis)

    found = [Difference(name, value("before", name, before), value("after", name, after)) for name in names]
    busy = {
        name: max((rows[side].get(name) or {}).get("cpu_time_ns") or 0 for side in rows) for name in names
    }
    return sorted(found, key=lambda row: -busy[row.figure])


def is_total(figure: str) -> bool:
    """Return whether a figure grows with the trace's length."""
    if figure in _PER_TASK or "_mean_" in figure or "_max_" in figure:
        return False
    return figure.endswith("_count") or figure.startswith("nr_") or "_p" not in figure


def _name(figure: str) -> str:
    return f"{figure}_per_s" if is_total(figure) else figure


def _scaled(figure: str, figures: dict[str, Any], analysis: Analysis) -> float | None:
    value = figures[figure]
    if value is None:
        return None
    return float(value) / analysis.seconds if is_total(figure) and analysis.seconds else float(value)
