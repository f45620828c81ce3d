"""How far are trials? Events of each, numbered, so that who lost the line goes on where it was. Pure."""

from __future__ import annotations

import hashlib
import statistics
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from schedtuna.wire import Submission, TrialProgress, TrialState, TrialStatus

MOST_TRIALS = 200  # whose events are kept
MOST_WORKS = 1000  # of which it is kept how long a run took


@dataclass
class _Course:
    """What is known of one trial.

    Attributes:
        work: What runs, as a digest.
        nr_runs: How many runs it has.
        samples_s: How long those took that have ended.
        events: So far.
    """

    work: str
    nr_runs: int
    samples_s: list[float] = field(default_factory=list)
    events: list[TrialProgress] = field(default_factory=list)


class ProgressBook:
    """The events of the last trials; of one that it does not know, as after a restart, there are none."""

    def __init__(self) -> None:
        self._courses: OrderedDict[str, _Course] = OrderedDict()
        self._took_s: OrderedDict[str, float] = OrderedDict()

    def see(self, submission: Submission, status: TrialStatus) -> None:
        """Note where a trial stands; what is as it was is no event."""
        course = self._course(submission)
        last = course.events[-1] if course.events else None
        stands = (status.state, status.nr_before)
        if last is None or (last.state, last.nr_before) != stands:
            self._add(course, status)

    def ran(self, submission: Submission, status: TrialStatus, took_s: float) -> None:
        """Note that a run of a trial has ended.

        Args:
            submission: The trial's.
            status: Where it stands.
            took_s: How long that run took, with the rest before it.
        """
        course = self._course(submission)
        course.samples_s.append(took_s)
        self._took_s[course.work] = took_s
        self._took_s.move_to_end(course.work)
        while len(self._took_s) > MOST_WORKS:
            self._took_s.popitem(last=False)
        self._add(course, status)

    def after(self, trial_id: str, number: int, status: TrialStatus) -> list[TrialProgress]:
        """Return the events of a trial after one; all where there is no event of that number.

        Args:
            trial_id: Its id.
            number: Of the last event that is known already; 0: none is.
            status: Where it stands: what is told of a trial without events.
        """
        course = self._courses.get(trial_id)
        if course is None or not course.events:
            return [] if number == 1 else [_progress(1, status, _Course("", 1), None)]
        events = course.events
        return events[number:] if 0 <= number <= len(events) else list(events)

    def _course(self, submission: Submission) -> _Course:
        found = self._courses.get(submission.submit_id)
        if found is None:
            found = _Course(work_digest(submission), submission.warmup_runs + 1)
            self._courses[submission.submit_id] = found
            while len(self._courses) > MOST_TRIALS:
                self._courses.popitem(last=False)
        return found

    def _add(self, course: _Course, status: TrialStatus) -> None:
        eta_s = None
        if status.state is TrialState.RUNNING:
            eta_s = remaining_s(course.samples_s, course.nr_runs, self._took_s.get(course.work))
        course.events.append(_progress(len(course.events) + 1, status, course, eta_s))


def _progress(number: int, status: TrialStatus, course: _Course, eta_s: float | None) -> TrialProgress:
    return TrialProgress(
        number=number,
        state=status.state,
        reason=status.reason,
        nr_before=status.nr_before,
        nr_runs=course.nr_runs,
        nr_done=len(course.samples_s),
        took_s=course.samples_s[-1] if course.samples_s else None,
        eta_s=eta_s,
        now=status.now,
    )


def remaining_s(samples_s: Sequence[float], nr_runs: int, before_s: float | None) -> float | None:
    """Return how long the rest takes, by the trial's own runs, else by one before; None where neither is."""
    typical_s = statistics.fmean(samples_s) if samples_s else before_s
    return None if typical_s is None else typical_s * max(nr_runs - len(samples_s), 0)


def work_digest(submission: Submission) -> str:
    """Return what tells runs that take about as long as each other: all but scheduler, seed and who asks."""
    content = submission.model_dump_json(include={"workload", "command", "timeout_s", "washout_s", "trace"})
    return hashlib.sha256(content.encode()).hexdigest()
