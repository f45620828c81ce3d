"""What should a reader of a verdict know? One sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from schedtuna.evidence.carry_over import SURE_BLOCKS
from schedtuna.evidence.checks import ALARM, SLOW_SUSPICION
from schedtuna.evidence.design import Design
from schedtuna.evidence.result import Result, Verdict


def notes_of(result: Result) -> tuple[str, ...]:
    """The sentences that belong under a verdict, most important first."""
    is_pairs = result.design is Design.PAIRS
    of_triples = () if is_pairs else (*_carry_over_notes(result), *_design_notes(result))
    notes = [*_guard_notes(result), *of_triples]
    failed = {arm: count for arm, count in result.failures.items() if count}
    if failed:
        told = ", ".join(f"{arm.replace('_', ' ')} {count}" for arm, count in failed.items())
        notes.append(f"Failed or timed-out runs count as the worst: {told} of {result.blocks} each.")
    if result.scale == "difference":
        notes.append(
            "Values of zero or less rule out ratios: differences were compared, "
            "relative to the default's typical value."
        )
    if result.runs_needed is not None:
        notes.append(
            f"With {'a spread over seeds' if is_pairs else 'noise'} of {result.noise_cv:.1%} it would take "
            f"about {result.runs_needed} runs "
            f"to find a gain of {result.delta:.0%} or exclude it."
        )
    if not math.isfinite(result.effect.ci95[0]) or not math.isfinite(result.effect.ci95[1]):
        notes.append("Too few blocks, or too many failures, to bound the effect on both sides.")
    if is_pairs:
        notes.append(
            "Equal seeds give equal runs here: the interval is over seeds of this load, and holds no noise "
            "of a machine."
        )
        return tuple(notes)
    notes.append(
        "One boot of one machine: memory layout, link order and firmware state are drawn once per boot, "
        "so another boot or machine can differ by more than this interval."
    )
    return tuple(notes)


def _tell_p(p: float) -> str:
    """A p-value to as many digits as matter."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _carry_over_notes(result: Result) -> Iterator[str]:
    """What the runs say, and can't say, of something left behind for the next run."""
    check = result.carry_over
    differ = (
        f"Runs after a candidate's are an estimated {check.ratio:.3f} times those after a default's "
        f"({_tell_p(check.p)})"
    )
    blind = (
        f"{result.blocks} blocks can't tell whether runs leave something behind for the next "
        f"({_tell_p(check.p)}; about {check.blocks_needed} would)"
    )
    if check.alarm:
        yield (
            f"{differ}: the candidate seems to leave something behind, which biases the comparison "
            f"(its ratio is {check.effect_ratio:.3f} without that)"
            + (", and no verdict holds without it" if check.withheld else "")
            + "; lengthen the washout and repeat."
        )
    elif check.withheld and check.suspected:
        yield (
            f"{differ}: by chance, or because the candidate leaves something behind. Without that its "
            f"ratio is {check.effect_ratio:.3f} and no verdict holds; lengthen the washout and repeat."
        )
    elif check.withheld:
        yield (
            f"{blind}, and no verdict holds if runs after a candidate's are {check.ratio:.3f} times what "
            "they would be; run more blocks, or lengthen the washout."
        )
    elif check.exposed and result.blocks < check.blocks_needed:
        yield (
            f"{blind}, and the verdict would not hold if runs after a candidate's were "
            f"{check.plausible_ratio:.3f} times what they would be; a washout between runs rules that out."
        )
    elif result.blocks < min(SURE_BLOCKS, check.blocks_needed) and result.verdict is not Verdict.TOO_NOISY:
        yield (
            f"{blind}; the verdict holds even if runs after a candidate's were "
            f"{check.plausible_ratio:.3f} times what they would be."
        )


def _guard_notes(result: Result) -> Iterator[str]:
    """What the typical run hides."""
    guard = result.guard
    mean = (
        f"the ratio of means is {guard.mean.ratio:.3f} [{guard.mean.ci95[0]:.3f}, {guard.mean.ci95[1]:.3f}]"
    )
    slow = (
        f"{guard.slow_candidate:.0%} of the candidate's runs are slow or failed "
        f"(default: {guard.slow_default:.0%}, {_tell_p(guard.slow_p)})"
    )
    if guard.blocked:
        yield f"The typical run is better, but {mean} and {slow}: not counted as an improvement."
    elif result.verdict is Verdict.IMPROVED and guard.slow_p < SLOW_SUSPICION:
        yield f"{slow}: too few to tell whether it has more of them; {mean}."


def _design_notes(result: Result) -> Iterator[str]:
    """What is odd about the runs, whatever the scheduler, and what would not be noticed."""
    aa, place = result.aa, result.position
    if aa.alarm:
        yield (
            f"The default differs from itself (ratio {aa.ratio:.3f}, {_tell_p(aa.p)}): "
            "something other than the scheduler seems to change between runs."
        )
    elif 2 * 0.5**result.blocks >= ALARM and result.verdict is not Verdict.TOO_NOISY:
        yield (
            f"{result.blocks} blocks are too few to show that the default differs from itself (A/A): "
            "that no alarm is raised says nothing."
        )
    if place.alarm:
        yield (
            f"A run's place within its block seems to matter ({place.ratio:.3f} times between places, "
            f"{_tell_p(place.p)}); orders are random, so that costs precision, not validity, but a warm-up "
            "run may help."
        )
