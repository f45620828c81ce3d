"""What a study says: plain, frozen data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from schedtuna.evidence.design import Arm, Design
from schedtuna.workload.spec import Direction


class Verdict(StrEnum):
    """What the runs say about the candidate."""

    IMPROVED = "improved"
    NO_EVIDENCE = "no_evidence"
    WORSE = "worse"
    TOO_NOISY = "too_noisy"


_MODEL = " (model)"


def tell_verdict(verdict: Verdict, *, is_model: bool) -> str:
    """Return a verdict's word, which says where it is one of a model."""
    return f"{verdict}{_MODEL if is_model else ''}"


def read_verdict_word(text: object) -> tuple[Verdict, bool]:
    """Return the verdict that a stored word is, and whether it is one of a model.

    Raises:
        ValueError: It is none.
    """
    word = text if isinstance(text, str) else ""
    return Verdict(word.removesuffix(_MODEL)), word.endswith(_MODEL)


@dataclass(frozen=True)
class Estimate:
    """A ratio candidate / default (or default again / default) with its interval.

    Attributes:
        ratio: Hodges and Lehmann's estimate.
        ci95: An interval of at least 95% confidence; infinite where nothing bounds it.
    """

    ratio: float
    ci95: tuple[float, float]


def is_bounded(ratio: float) -> bool:
    """Whether a ratio says how large a difference is; infinities stand for runs that failed."""
    return math.isfinite(ratio)


@dataclass(frozen=True)
class SameArm(Estimate):
    """The A/A comparison: both arms are the default, so every difference is noise.

    Attributes:
        p: Two-sided p-value.
        alarm: p < .01: something other than the scheduler differs between runs.
    """

    p: float
    alarm: bool


@dataclass(frozen=True)
class AssumptionCheck:
    """A check of the design's assumptions.

    Attributes:
        ratio: How much slower (or, for `max`, lower) the suspect runs are; 1 is none.
        p: Two-sided p-value.
        alarm: Whether p is below .01.
    """

    ratio: float
    p: float
    alarm: bool


@dataclass(frozen=True)
class CarryOverCheck(AssumptionCheck):
    """Whether the candidate leaves something behind for the next run.

    `ratio` is what runs after the candidate's measured, over runs after the default's: the estimate
    where suspected, at most what is plausible where few blocks can't tell, else 1.

    Attributes:
        suspected: Whether p is below .2.
        effect_ratio: The typical run's ratio with it taken off.
        withheld: Whether that kept the verdict from being given.
        plausible_ratio: The largest plausible residue, on the side that would flatter the verdict.
        exposed: Whether the verdict that is given would not hold if that were there.
        blocks_needed: Blocks that would raise an alarm about it in nine of ten studies.
    """

    suspected: bool
    effect_ratio: float
    withheld: bool
    plausible_ratio: float
    exposed: bool
    blocks_needed: int


@dataclass(frozen=True)
class Guard:
    """What the typical run hides: the mean, and runs that are far slower than typical.

    Attributes:
        mean: Ratio of the means over the runs that finished.
        slow_candidate: Share of slow (or failed) runs of the candidate.
        slow_default: The same of the default.
        slow_p: One-sided p-value that the candidate has more of them.
        blocked: Whether this kept the verdict from being `improved`.
    """

    mean: Estimate
    slow_candidate: float
    slow_default: float
    slow_p: float
    blocked: bool


@dataclass(frozen=True)
class Result:
    """What a study says.

    Attributes:
        verdict: One of four.
        direction: Which way is better.
        delta: The relative gain that matters.
        scale: `ratio`, or `difference` where values of zero or less rule out logarithms; then
            ratios are 1 + difference / typical default, and 0 at least where no value is negative.
        effect: The typical run's ratio, candidate / default.
        p_improved: One-sided p-value against "not better".
        p_worse: One-sided p-value against "not worse".
        blocks: Blocks that the verdict rests on.
        pairs: Candidate runs compared, one per block.
        look: Number of the look, from 1; 0 before the first.
        p_bound: The one-sided level of that look.
        aa: Default again against default.
        noise_cv: Coefficient of variation of single runs, robust.
        runs_needed: Where the noise hides it: total runs that would tell, by the noise and effect seen.
        guard: The estimand guard.
        carry_over: Default runs after the candidate's against those after the default's.
        position: The slowest position within blocks against the fastest.
        failures: Failed and timed-out runs by arm.
        notes: What a reader should know, one sentence each.
        design: What a block was. Of pairs, `noise_cv` is the spread of the effect over seeds, and `aa`,
            `carry_over` and `position` are those of runs that repeat exactly.
    """

    verdict: Verdict
    direction: Direction
    delta: float
    scale: str
    effect: Estimate
    p_improved: float
    p_worse: float
    blocks: int
    pairs: int
    look: int
    p_bound: float
    aa: SameArm
    noise_cv: float
    runs_needed: int | None
    guard: Guard
    carry_over: CarryOverCheck
    position: AssumptionCheck
    failures: Mapping[Arm, int]
    notes: tuple[str, ...]
    design: Design = Design.TRIPLES

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes None."""
        data: dict[str, Any] = _jsonable(asdict(self))
        return data


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
