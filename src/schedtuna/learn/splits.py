"""Which rows are for training, which for choosing, which are kept back? Never rows at random.

Whole families, runs or hosts go to one side; or each run's time is cut, with a gap between the sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError, UsageError
from schedtuna.learn.dataset_form import SPLITS, SplitBy

TRAIN, VALIDATION, TEST, NONE = range(len(SPLITS))
_HELD_BACK = 0.2  # of the units, for each of validation and test
# Where a run's time is cut, in parts of it: between two of these lies a gap.
_TIMES = ((0.0, 0.6, TRAIN), (0.65, 0.8, VALIDATION), (0.85, 1.0, TEST))
UNITS = {"family": "families", "run": "runs", "host": "hosts"}
BY: tuple[SplitBy, ...] = ("family", "run", "host", "time")


def split_rows(
    by: SplitBy,
    *,
    groups: npt.NDArray[Any],
    units: npt.NDArray[Any],
    times_ns: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Return the split of each row, an index into SPLITS.

    Args:
        by: family, run, host or time.
        groups: [rows] the run of each.
        units: [rows] the family, run or host of each; with time it does not matter.
        times_ns: [rows] since the run began.
        rng: Draws who goes where.

    Raises:
        DatasetError: There are fewer than three of them.
        UsageError: It is another word.
    """
    if by == "time":
        return _by_time(groups, times_ns)
    if by not in UNITS:
        raise UsageError(f"a split by {by!r} can't be made: expected {', '.join(BY)}")
    names, numbers = np.unique(units, return_inverse=True)
    if len(names) < 3:
        raise DatasetError(
            f"a split by {by} needs at least 3 {UNITS[by]}, and there "
            + (f"is one: {names[0]}" if len(names) == 1 else f"are {len(names)}"),
            hint="give traces of more, or --split time",
        )
    nr_back = max(1, round(_HELD_BACK * len(names)))
    side = np.full(len(names), TRAIN)
    order = rng.permutation(len(names))
    side[order[:nr_back]] = TEST
    side[order[nr_back : 2 * nr_back]] = VALIDATION
    found: npt.NDArray[np.int64] = side[numbers]
    return found


def _by_time(groups: npt.NDArray[Any], times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    found = np.full(len(groups), NONE)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        time = times_ns[rows]
        share = (time - time.min()) / max(int(time.max() - time.min()), 1)
        for begin, end, side in _TIMES:
            found[rows[(share >= begin) & (share <= end)]] = side
    return found
