"""What does the default scheduler make of each class of loads, and how long ago was that seen? Pure.

L of a window under another scheduler is held against the default's windows of the same class of loads: what
is older than ten minutes counts for nothing, and a class that was not seen under the default has no L.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from schedtuna.features.loss import LOSS_TERMS, loss

FRESH_NS = 600 * 10**9
_MOST_CLASSES = 256
_MOST_WINDOWS = 8  # of a class, that are averaged


@dataclass(frozen=True)
class DefaultFigures:
    """The default's terms of L for a class of loads.

    Attributes:
        figures: Means over its windows.
        age_ns: Of the newest.
        nr_windows: How many.
    """

    figures: Mapping[str, float]
    age_ns: int
    nr_windows: int


@dataclass
class DefaultBook:
    """Windows under the default scheduler, by class of loads."""

    _windows: dict[str, list[tuple[int, Mapping[str, float]]]] = field(default_factory=dict)

    def add(self, load_class: str, time_ns: int, figures: Mapping[str, float]) -> None:
        """Take in a window that ended at a time."""
        kept = self._windows.pop(load_class, [])  # the newest class is the last
        self._windows[load_class] = [*kept, (time_ns, dict(figures))][-_MOST_WINDOWS:]
        if len(self._windows) > _MOST_CLASSES:
            del self._windows[next(iter(self._windows))]

    def look(self, load_class: str, now_ns: int) -> DefaultFigures | None:
        """Return what is known of a class; None: nothing that is fresh enough."""
        fresh = [one for one in self._windows.get(load_class, ()) if now_ns - one[0] <= FRESH_NS]
        if not fresh:
            return None
        means = {term.name: statistics.fmean(one[term.name] for _, one in fresh) for term in LOSS_TERMS}
        return DefaultFigures(means, now_ns - fresh[-1][0], len(fresh))

    def loss(
        self, load_class: str, now_ns: int, figures: Mapping[str, float], weights: Mapping[str, float]
    ) -> float | None:
        """Return L of a window, over the sum of its weights: 1 is as good as the default; None: unknown."""
        known = self.look(load_class, now_ns)
        if known is None:
            return None
        return loss(figures, known.figures, weights) / sum(weights[term.name] for term in LOSS_TERMS)
