"""What became of a scheduler among adversaries? One outcome per case, and one verdict; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from schedtuna import __version__
from schedtuna.experiment.vet.plan import STORED, VetCase, VetPlan


class VetOutcome(StrEnum):
    """How a case ended."""

    OK = "ok"
    STALLED = "stalled"  # the kernel threw it out, or it left: tasks stood still, or it erred
    FORGOTTEN = "forgotten"  # it stayed, and tasks never ran again
    NOT_STARTED = "not started"
    DIED = "guest died"
    NOT_RUN = "not run"


_FAILS = (VetOutcome.STALLED, VetOutcome.FORGOTTEN, VetOutcome.NOT_STARTED, VetOutcome.DIED)


class VetResult(BaseModel):
    """What became of one case.

    Attributes:
        case: It.
        outcome: How it ended.
        reason: Why it is not ok, or was not run; empty otherwise.
        after_s: When the scheduler had gone, in seconds of the guest from the adversary's start.
        longest_wait_s: How long a task of the crowd stood still at most.
        longest_kind: What kind of task that was.
        usual_wait_s: The same under the kernel's own scheduler; None: not measured.
        nr_tasks: Tasks of the crowd and of the adversary.
        dump: What the scheduler's program printed last: the kernel's dump.
        hash: Over all that the guest showed.
        replay_hash: Of a second run with the same seed, made where it failed; empty: none was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: VetCase
    outcome: VetOutcome
    reason: str = ""
    after_s: float | None = None
    longest_wait_s: float | None = None
    longest_kind: str = ""
    usual_wait_s: float | None = None
    nr_tasks: int = 0
    dump: str = ""
    hash: str = ""
    replay_hash: str = ""

    @property
    def fails(self) -> bool:
        """Whether it speaks against the scheduler."""
        return self.outcome in _FAILS

    @property
    def is_worth_a_replay(self) -> bool:
        """Whether a run of it alone would show more: it fails, and it did run."""
        return self.fails and self.outcome is not VetOutcome.NOT_STARTED

    @property
    def replays(self) -> bool:
        """Whether the same seed was seen to give the same bits again."""
        return bool(self.hash) and self.replay_hash == self.hash

    @property
    def replay_told(self) -> str:
        """What is known of a replay, as a title of its command."""
        return "replays bit for bit" if self.replays else "again (not seen to give the same bits)"


class VetCertificate(BaseModel):
    """All that was tried.

    Attributes:
        format_version: Of this format.
        schedtuna_version: The program that wrote it.
        plan: What was to be tried.
        results: In the plan's order.
        limits: What it can't tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    schedtuna_version: str = __version__
    plan: VetPlan
    results: tuple[VetResult, ...]
    limits: tuple[str, ...]

    @property
    def failed(self) -> tuple[VetResult, ...]:
        """Results that speak against the scheduler."""
        return tuple(result for result in self.results if result.fails)

    @property
    def is_clean(self) -> bool:
        """Whether something was tried, and nothing failed."""
        return not self.failed and any(result.outcome is VetOutcome.OK for result in self.results)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        counts = Counter(result.outcome for result in self.results)
        nr_run = len(self.results) - counts[VetOutcome.NOT_RUN]
        told = [f"{counts[outcome]} {outcome}" for outcome in VetOutcome if counts[outcome]]
        if self.is_clean:
            left_out = f", {counts[VetOutcome.NOT_RUN]} not run" if counts[VetOutcome.NOT_RUN] else ""
            return f"no stall in {nr_run} case{'s' * (nr_run > 1)} of {self.plan.seconds:g} s{left_out}"
        return f"{len(self.failed)} of {nr_run} failed: {', '.join(told)}" if nr_run else "nothing was run"


def judged(
    case: VetCase, seen: Mapping[str, Any], *, ejected: str, reason: str, dump: str, digest: str
) -> VetResult:
    """Return the result of a case that ran.

    Args:
        case: It.
        seen: What `lab.guest.adversaries` printed.
        ejected: Why the scheduler was not in charge all the time, by the kernel's files; empty: it was.
        reason: What the kernel gave as the reason, as the scheduler's program printed it.
        dump: What that printed last.
        digest: Over all that the guest showed.
    """
    common: dict[str, Any] = {
        "case": case,
        "hash": digest,
        "after_s": seen.get("ejected_after_s"),
        "longest_wait_s": seen.get("longest_wait_s"),
        "longest_kind": seen.get("longest_kind", ""),
        "nr_tasks": seen.get("nr_tasks", 0),
    }
    if ejected:
        return VetResult(outcome=VetOutcome.STALLED, reason=reason or ejected, dump=dump, **common)
    if "cannot" in seen:
        return VetResult(outcome=VetOutcome.NOT_RUN, reason=str(seen["cannot"]), **common)
    if silent := seen.get("silent"):
        told = f"never ran again: {_counted(silent)}"
        return VetResult(outcome=VetOutcome.FORGOTTEN, reason=told, dump=dump, **common)
    return VetResult(outcome=VetOutcome.OK, **common)


def _counted(kinds: Sequence[str]) -> str:
    return ", ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in Counter(kinds).items())
