"""Did the runs measure the same things? A mean over other parts, or in another unit, is not comparable.

A stressor that was starved out of the table, a thread that never woke up or a test that gave no
result makes what is left look better. So the parts of the default's first run that worked are
those of every run: a run with others fails, and says which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from schedtuna.backend.base import Trial, Validity
from schedtuna.experiment.viability import end_without_verdict
from schedtuna.workload.numerals import is_same_unit

_MOST_NAMES = 6


class Reference:
    """What the default's first run that worked measured; runs of older logs, which do not say, are let be."""

    def __init__(self) -> None:
        self._first: Trial | None = None

    def learn(self, trial: Trial) -> None:
        """Take a run of the default in; the first one that worked counts."""
        if self._first is None and trial.validity is Validity.OK and trial.parts is not None:
            self._first = trial

    def judged(self, trial: Trial) -> Trial:
        """Return the run, failed where it measured other parts.

        Raises:
            StudyError: It printed a metric in another unit: the run is not to blame for that.
        """
        first = self._first
        if first is None or first.parts is None or trial.parts is None or trial.validity is not Validity.OK:
            return trial
        _require_units(first, trial)
        there, here = _kinds(first.parts), _kinds(trial.parts)
        if there == here:
            return trial
        told = [
            f"{word} {_listing(names)}"
            for word, names in (("without", there - here), ("with", here - there))
            if names
        ]
        reason = f"it measured other parts than the default's first run: {' and '.join(told)}"
        return trial.model_copy(update={"validity": Validity.FAILED, "reason": reason})


def _require_units(first: Trial, trial: Trial) -> None:
    for name in first.units | trial.units:
        was, is_now = first.units.get(name, ""), trial.units.get(name, "")
        if not is_same_unit(was, is_now):
            end_without_verdict(
                f"{name} is printed in {was or 'no unit'} in one run and in {is_now or 'no unit'} in another",
                "their numbers can't be compared",
                hint="end a time's name with its unit, such as p99_us, and it is converted; or let the "
                "command print one unit, and spell that out in the pattern: ([0-9.]+)ms",
            )


def _kinds(parts: Iterable[str]) -> Counter[str]:
    """How many parts there are of each name, where long numbers in it (of a process, say) do not count."""
    return Counter(re.sub(r"\d{3,}", "#", part) for part in parts)


def _listing(names: Collection[str]) -> str:
    shown = sorted(names)[:_MOST_NAMES]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
