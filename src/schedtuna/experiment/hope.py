"""When is it pointless to go on? When nothing that ran has succeeded."""

from __future__ import annotations

from collections.abc import Sequence

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import StudyError

HOPELESS = 3  # when the first runs all fail, more of them will, too


def require_hope(trials: Sequence[Trial], planned: int) -> None:
    """Stop where the first trials all failed, and no other outcome can be expected.

    Raises:
        StudyError: With the last failure's reason and output.
    """
    if len(trials) != min(HOPELESS, planned) or any(t.validity is Validity.OK for t in trials):
        return
    last = trials[-1]
    tail = f"\nlast lines of output:\n{last.output_tail}" if last.output_tail.strip() else ""
    raise StudyError(
        f"none of the first {len(trials)} runs succeeded: {last.reason}{tail}",
        hint="make the command succeed by hand first, with the same user and folder",
    )
