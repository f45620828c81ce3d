"""Can this be judged at all? Where nothing works, or an arm never does, it ends without a verdict.

A verdict compares speeds, and an arm of which no run worked has none. One run that works is enough
to go on: from then on its failures count as the worst value, as the default's do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import StudyError
from schedtuna.evidence.design import Arm

FIRST_CHANCES = 3  # when the first runs all fail, more of them will, too
DEFAULT_CHANCES = 6  # runs of the default that may fail before the candidate's merit is beside the point
CANDIDATE_CHANCES = 4  # runs of the candidate that may fail: no look is earlier than the fourth block


def end_without_verdict(what: str, reason: str, *, tail: str = "", hint: str | None = None) -> NoReturn:
    """End a comparison that can't be judged.

    Args:
        what: What can't be judged, such as "none of the 4 runs of scx_x worked".
        reason: Why, for people.
        tail: The last lines of output, or of a scheduler's log.
        hint: What to do next.

    Raises:
        StudyError: Always.
    """
    raise StudyError(f"no verdict: {what}: {reason}{_told(tail)}", hint=hint)


def require_viable(trials: Sequence[Trial], planned: int) -> None:
    """Stop where the first trials all failed, and no other outcome can be expected.

    Raises:
        StudyError: With the last failure's reason and output.
    """
    if len(trials) != min(FIRST_CHANCES, planned) or any(t.validity is Validity.OK for t in trials):
        return
    last = trials[-1]
    what = f"none of the first {len(trials)} runs succeeded" if len(trials) > 1 else "the only run failed"
    raise StudyError(
        f"{what}: {last.reason}{_told(last.output_tail)}",
        hint="make the command succeed by hand first, with the same user and folder",
    )


def require_working_arms(
    blocks: Sequence[Mapping[Arm, Trial]], candidate: str, *, at_end: bool = False
) -> None:
    """End a comparison one of whose sides never works, while the other one does.

    Args:
        blocks: The trials of each complete block.
        candidate: What the candidate ran under, for people.
        at_end: Whether no block will follow, so that no side has a chance left.

    Raises:
        StudyError: No run of a side worked, and it had its chances.
    """
    defaults = [block[arm] for block in blocks for arm in (Arm.A, Arm.A2)]
    candidates = [block[Arm.B] for block in blocks]
    if _never_worked(defaults, 1 if at_end else DEFAULT_CHANCES):
        last = defaults[-1]
        end_without_verdict(
            f"the default failed in each of its {len(defaults)} runs",
            last.reason,
            tail=last.output_tail,
            hint="make the command succeed under the default first",
        )
    if _never_worked(candidates, 1 if at_end else CANDIDATE_CHANCES):
        last = candidates[-1]
        end_without_verdict(
            f"{candidate} failed in each of its {len(candidates)} runs, so nothing is known of its speed",
            last.reason,
            tail=last.output_tail,
            hint="make the command succeed under it first; the default works",
        )


def _told(tail: str) -> str:
    return f"\nlast lines of output:\n{tail}" if tail.strip() else ""


def _never_worked(trials: Sequence[Trial], chances: int) -> bool:
    return len(trials) >= chances and all(trial.validity is not Validity.OK for trial in trials)
