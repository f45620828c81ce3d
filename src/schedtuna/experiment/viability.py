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
    defaults = [trial for block in blocks for arm, trial in block.items() if arm is not Arm.B]
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


def require_drawn(defaults: Sequence[Trial]) -> None:
    """Refuse a load that draws nothing from its seed: its runs would be one run, however many.

    Args:
        defaults: Runs of the default at a place where equal seeds are equal runs, each of its own seed.

    Raises:
        StudyError: Two of them that worked are one and the same.
    """
    seen: list[dict[str, float]] = []
    for trial in defaults:
        if trial.validity is not Validity.OK:
            continue
        if trial.metrics in seen:
            end_without_verdict(
                "runs of the default under different seeds are the same run",
                "the load draws nothing from its seed, so that many runs say no more than one",
                hint="a recording is such a load: give the machine noise of its own, such as "
                "--cost kthread_per_s=20, and the verdict is over that",
            )
        seen.append(trial.metrics)


def require_repeated(trial: Trial, again: Trial, names: Sequence[str]) -> None:
    """Refuse a place that calls itself exact, and gives another run for the same seed.

    Args:
        trial: A run of the default.
        again: The same once more.
        names: The metrics that are judged.

    Raises:
        StudyError: They differ.
    """
    differing = [name for name in names if trial.metrics.get(name) != again.metrics.get(name)]
    if trial.validity is not again.validity or differing:
        told = "; ".join(
            f"{name} {trial.metrics.get(name)}, then {again.metrics.get(name)}" for name in differing
        )
        end_without_verdict(
            f"the default's run of seed {trial.seed} does not repeat",
            told or f"{trial.validity}, then {again.validity}",
            hint="equal seeds have to give equal runs there: use one CPU, or a place whose runs have noise",
        )


def _told(tail: str) -> str:
    return f"\nlast lines of output:\n{tail}" if tail.strip() else ""


def _never_worked(trials: Sequence[Trial], chances: int) -> bool:
    return len(trials) >= chances and all(trial.validity is not Validity.OK for trial in trials)
