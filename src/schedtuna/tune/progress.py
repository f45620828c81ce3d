"""How far is a study? A line on stderr now and then, for programs that don't show it themselves."""

from __future__ import annotations

import sys
import time

from schedtuna.printable import printable
from schedtuna.tune.search import StudyEvent

LINE_EVERY_S = 5.0


class ProgressLines:
    """Told about every run; the first and the last one of each phase are always shown."""

    def __init__(self) -> None:
        self._phase = ""
        self._last_line_s = 0.0

    def __call__(self, event: StudyEvent) -> None:
        """Show where the study stands after a run."""
        phase, now_s = event.record.phase, time.monotonic()
        due = phase != self._phase or event.done == event.total or now_s - self._last_line_s >= LINE_EVERY_S
        if not due:
            return
        self._phase, self._last_line_s = phase, now_s
        failed = f": {event.record.trial.reason.splitlines()[0]}" if event.record.trial.reason else ""
        sys.stderr.write(printable(f"{phase}: run {event.done} of at most {event.total}{failed}") + "\n")
        sys.stderr.flush()
