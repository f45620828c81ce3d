"""What a comparison found: the verdict, the numbers behind it, and one sentence for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from schedtuna.errors import StudyError
from schedtuna.evidence.design import RUNS_PER_BLOCK, Arm
from schedtuna.evidence.requirements import Judgement, Outcome
from schedtuna.evidence.result import is_bounded, tell_verdict
from schedtuna.evidence.shares import FailureShare
from schedtuna.evidence.verdict import Estimate, Result, Verdict
from schedtuna.experiment.triallog import TrialRecord
from schedtuna.files import write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.printable import number, percent_change
from schedtuna.workload.spec import Direction, MetricSpec

COMPOSITE = "composite"
RESULT_NAME = "comparison.json"
STORED = StoredFormat(StudyError)  # of comparison.json


class Ended(StrEnum):
    """Why a comparison ended."""

    DECIDED = "decided"
    BUDGET = "budget"
    TIME = "time"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Comparison:
    """A candidate against a default, on one workload.

    Attributes:
        default: What the default ran under, as `compare` reads it.
        candidate: What the candidate ran under.
        metrics: What was optimised. Of several, the verdict is on their composite: the weighted
            geometric mean of their ratios, less is better.
        result: What evidence says of the primary metric (or the composite).
        each: Where there are several metrics: what each one says by itself, descriptive.
        requirements: The bounds, judged on the candidate's runs.
        records: Every run, in order; those of an unfinished block too.
        ended: Why it ended.
        warnings: What else a reader should know of the runs.
        failing: What of the work failed on both sides, by the tool's own counts.
        is_model: Whether it was found in a model, and has yet to be confirmed on a machine.
    """

    default: str
    candidate: str
    metrics: tuple[MetricSpec, ...]
    result: Result
    each: Mapping[str, Result]
    requirements: tuple[Judgement, ...]
    records: tuple[TrialRecord, ...]
    ended: Ended
    warnings: tuple[str, ...] = ()
    failing: tuple[FailureShare, ...] = ()
    is_model: bool = False

    @property
    def verdict(self) -> Verdict:
        """The verdict; `improved` only where every requirement is met, and no more of the work fails."""
        if self.result.verdict is not Verdict.IMPROVED or not (self.unmet or self.costs_failures):
            return self.result.verdict
        missed = any(judged.outcome is Outcome.NOT_MET for judged in self.unmet)
        return Verdict.NO_EVIDENCE if missed or self.costs_failures else Verdict.TOO_NOISY

    @property
    def told_verdict(self) -> str:
        """The verdict's word; one of a model says so: ``improved (model)``."""
        return tell_verdict(self.verdict, is_model=self.is_model)

    @property
    def costs_failures(self) -> bool:
        """Whether so much more of the candidate's work fails that it is not an improvement."""
        return any(share.matters for share in self.failing)

    @property
    def unmet(self) -> tuple[Judgement, ...]:
        """The requirements that were not shown to hold."""
        return tuple(judged for judged in self.requirements if judged.outcome is not Outcome.MET)

    @property
    def default_name(self) -> str:
        """What sentences call the default: a scheduler's bare name means its default settings."""
        bare = ":" not in self.default and " on " not in self.default and self.default != "default"
        return f"{self.default}'s defaults" if bare else self.default

    @property
    def metric(self) -> str:
        """Name of what the verdict is about."""
        return self.metrics[0].name if len(self.metrics) == 1 else COMPOSITE

    @property
    def direction(self) -> Direction:
        """Which way is better."""
        return self.result.direction

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it: the verdict is the last look's."""
        return self.ended is Ended.INTERRUPTED

    @property
    def nr_runs(self) -> int:
        """How many runs it took, all arms and failures included."""
        return len(self.records)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, most important first."""
        higher = (
            f"More of the candidate's work fails than of the default's ({share.tell()}, p = {share.p:.3f})."
            for share in self.failing
            if share.is_higher
        )
        return (*higher, *self.warnings, *self.result.notes)

    def with_warnings(self, warnings: Sequence[str]) -> Comparison:
        """Return the same comparison with more to know."""
        return replace(self, warnings=(*self.warnings, *warnings))

    def summary(self) -> dict[str, Any]:
        """Return the numbers for programs; what is unbounded is None."""
        numbers = self.result.to_dict()
        summary = {
            "metric": self.metric,
            "direction": str(self.direction),
            "default": self.default,
            "candidate": self.candidate,
            "verdict": self.told_verdict,
            "is_model": self.is_model,
            "effect": {**numbers["effect"], "pairs": self.result.pairs},
            "aa": {name: numbers["aa"][name] for name in ("ratio", "ci95")},
            "delta": self.result.delta,
            "noise_cv": numbers["noise_cv"],
            "runs_needed": self.result.runs_needed,
            "ended": str(self.ended),
            "requirements": [_judged(judged) for judged in self.requirements],
            "failing": [
                {"field": share.field, "default": share.default, "candidate": share.candidate, "p": share.p}
                for share in self.failing
            ],
            "notes": list(self.notes),
        }
        if self.each:
            summary["metrics"] = {name: result.to_dict()["effect"] for name, result in self.each.items()}
        return summary

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the runs, for a file."""
        return {
            **self.summary(),
            "sentence": self.sentence(),
            "evidence": self.result.to_dict(),
            "nr_runs": self.nr_runs,
        }

    def headline(self) -> str:
        """Say the verdict's word first, unless the sentence begins with it."""
        word, sentence = self.told_verdict.replace("_", " "), self.sentence()
        return sentence if sentence.lower().startswith(word) else f"{word}: {sentence}"

    def sentence(self) -> str:
        """Say the verdict in one sentence: the figure first, then what it was measured with."""
        result, delta = self.result, f"{self.result.delta:.0%}"
        change = f"{self.metric} {tell_effect(result.effect)}"
        found = f"{change}, {result.pairs} pairs, with {self.candidate} against {self.default_name}"
        if self.verdict in {Verdict.IMPROVED, Verdict.WORSE}:
            return f"{self.told_verdict}: {found}."
        if self.unmet and result.verdict is Verdict.IMPROVED:
            rules = ", ".join(map(self.tell_rule, self.unmet))
            return f"Better, but not shown to keep what is required: {found}; {rules}."
        if self.costs_failures and result.verdict is Verdict.IMPROVED:
            worst = ", ".join(share.tell() for share in self.failing if share.matters)
            return f"No improvement: {found}, is better, but more of the candidate's work fails: {worst}."
        if self.verdict is Verdict.TOO_NOISY:
            if 0 < result.pairs == result.failures[Arm.B]:
                return (
                    f"{self.candidate} failed in each of its {result.pairs} runs so far: "
                    f"{self._last_reason(Arm.B)}."
                )
            if result.look == 0:
                return f"Too few runs to say anything: {found} (nothing is decided yet)."
            if result.carry_over.withheld:
                return (
                    f"No verdict: {found}, does not hold once what the candidate's runs may leave behind "
                    "for the next is taken off."
                )
            return (
                f"Too noisy to tell: {found}; about {result.runs_needed} runs would tell a gain of {delta}."
            )
        if result.guard.blocked:
            return f"No improvement: {found}, is the typical run's gain, but the mean or slow runs are worse."
        return f"No evidence of a gain: {found}; a gain of {delta} or more is excluded."

    def tell_rule(self, judged: Judgement) -> str:
        """Say whether one of its requirements is kept."""
        return tell_rule(judged, runs_per_block=self.result.design.runs_per_block)

    def _last_reason(self, arm: Arm) -> str:
        """Why the last run of an arm failed, in a line."""
        reasons = [
            record.trial.reason for record in self.records if record.arm == arm and record.trial.reason
        ]
        return reasons[-1].splitlines()[0].rstrip(".") if reasons else "none said why"


def write_comparison(folder: Path, comparison: Comparison, summary: Mapping[str, Any]) -> None:
    """Write what programs are told, and the evidence behind it, into a results folder."""
    content = {STORED.key: STORED.newest, **summary, "evidence": comparison.result.to_dict()}
    write_text(folder / RESULT_NAME, json.dumps(content, indent=2, allow_nan=False) + "\n")


def tell_effect(effect: Estimate) -> str:
    """Say a ratio and its interval as percentages: ``-12.0% (95% interval -15.1% to -9.0%)``."""
    low, high = effect.ci95
    if is_bounded(low) and is_bounded(high):
        interval = f"95% interval {percent_change(low)} to {percent_change(high)}"
    elif is_bounded(low):
        interval = f"95% interval {percent_change(low)} or more"
    elif is_bounded(high):
        interval = f"95% interval {percent_change(high)} or less"
    else:
        interval = "too few runs, or too many failed, to bound it"
    middle = percent_change(effect.ratio) if is_bounded(effect.ratio) else "unbounded, as runs failed,"
    return f"{middle} ({interval})"


_TOLD = {Outcome.MET: "is kept", Outcome.NOT_MET: "is missed", Outcome.UNDECIDED: "is not certain"}


def tell_rule(judged: Judgement, *, runs_per_block: int = RUNS_PER_BLOCK) -> str:
    """Say whether a requirement is kept: ``rps>=1000 is kept (median 1204 of 9 runs)``; or what it takes."""
    rule, state = judged.requirement, _TOLD[judged.outcome]
    seen = f"median {number(judged.estimate, rule.metric)} of {judged.runs} runs"
    if judged.runs < judged.needed:
        least = runs_per_block * judged.needed
        seen += f"; it takes {judged.needed} of the candidate's, a confirmation of {least} runs or more"
    return f"{rule.metric}{rule.operator}{rule.bound:.15g} {state} ({seen})"


def _judged(judged: Judgement) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    rule = judged.requirement
    return {
        "requirement": f"{rule.metric}{rule.operator}{rule.bound:.15g}",
        "outcome": str(judged.outcome),
        "estimate": finite(judged.estimate),
        "interval": [finite(end) for end in judged.interval],
    }
