"""Where in a list of releases did a figure change? A search by halves, with a verdict for every step. Pure.

The two ends are compared first. Where the newest is proven worse (or better) than the oldest, releases
between them are compared with the oldest, the one that would be better as the candidate: so "as good"
excludes a difference of delta, and is not merely a difference that was not seen. At last the two
neighbours are compared with one another.

Each verdict errs with the rate of its kind (docs/evidence.md), so a search that took n of them may be wrong
in at most n times that; and a list in which the figure changes more than once has more than one answer, of
which one is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from schedtuna.evidence.result import Verdict

ERROR_RATE = 0.05  # of one verdict, at most: 2.5% to either side


class BisectionEnd(StrEnum):
    """How a search ended."""

    FOUND = "found"  # two neighbours between which the figure changed
    NO_CHANGE = "no_change"  # the ends are as good as each other
    UNDECIDED = "undecided"  # a step was too noisy to tell
    UNCONFIRMED = "unconfirmed"  # the search points to two neighbours, which alone don't differ provably


@dataclass(frozen=True)
class BisectionStep:
    """One comparison: of two places in the list.

    Attributes:
        default: What the candidate was held against.
        candidate: The one that may be better.
        verdict: What the comparison proved.
    """

    default: int
    candidate: int
    verdict: Verdict


@dataclass(frozen=True)
class Bisection:
    """What a search found.

    Attributes:
        ended: How.
        newer_is_worse: Whether the newest is worse than the oldest; None where they don't differ provably.
        before: The last place known to be as the oldest.
        first: The first place known to be as the newest.
        steps: Every comparison, in order.
    """

    ended: BisectionEnd
    newer_is_worse: bool | None
    before: int
    first: int
    steps: tuple[BisectionStep, ...]

    @property
    def error_bound(self) -> float:
        """The most that the probability of a wrong answer can be, if the figure changed but once."""
        return min(1.0, ERROR_RATE * len(self.steps))


def bisect(nr_places: int, compare: Callable[[int, int], Verdict]) -> Bisection:
    """Find the first of a list, oldest first, that is worse or better than those before.

    Args:
        nr_places: How many there are; at least 2.
        compare: Called with a default and a candidate; the verdict is the candidate's.
    """
    steps: list[BisectionStep] = []

    def ask(default: int, candidate: int) -> Verdict:
        asked = next((step for step in steps if (step.default, step.candidate) == (default, candidate)), None)
        if asked is None:
            asked = BisectionStep(default, candidate, compare(default, candidate))
            steps.append(asked)
        return asked.verdict

    before, first = 0, nr_places - 1
    ends = ask(first, before)
    if ends not in {Verdict.IMPROVED, Verdict.WORSE}:
        ended = BisectionEnd.NO_CHANGE if ends is Verdict.NO_EVIDENCE else BisectionEnd.UNDECIDED
        return Bisection(ended, None, before, first, tuple(steps))
    newer_is_worse = ends is Verdict.IMPROVED
    while first - before > 1:
        middle = (before + first) // 2
        verdict = ask(middle, 0) if newer_is_worse else ask(0, middle)
        if verdict is Verdict.TOO_NOISY:
            return Bisection(BisectionEnd.UNDECIDED, newer_is_worse, before, first, tuple(steps))
        if verdict is Verdict.IMPROVED:
            first = middle
        else:
            before = middle
    better, worse = (before, first) if newer_is_worse else (first, before)
    ended = BisectionEnd.FOUND if ask(worse, better) is Verdict.IMPROVED else BisectionEnd.UNCONFIRMED
    return Bisection(ended, newer_is_worse, before, first, tuple(steps))
