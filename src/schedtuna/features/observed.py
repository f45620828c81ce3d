"""What does a choice of the next scheduler look at? A window's features, each as a number from 0 to 1.

Simulated and real windows give the same numbers under the same names, in the bins of the table, so what was
trained on the ones can look at the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schedtuna.features.table import feature
from schedtuna.features.told import TOLD
from schedtuna.features.windows import WindowValues

# Each feature's average over the window, and its change in it.
OBSERVED = tuple(name for base in TOLD for name in (base, f"{base}.percent_change"))
# Those that schedtuna/Swap-v0 offers, the default first.
SWAP_SCHEDULERS = ("fair", "rr:slice_us=3000", "fifo", "las", "mlfq", "vtime", "interactive")
SwapObservation = npt.NDArray[np.float32]


def scaled(name: str, value: float | None) -> float:
    """A feature's bin, from 0 to 1; unknown is the bin of 0."""
    bins = feature(name).bins
    return float(bins.quantise(np.array([int(value or 0)]))[0]) / (bins.nr_bins - 1)


def window_numbers(seen: Mapping[str, WindowValues]) -> list[float]:
    """Return `OBSERVED` of a window.

    Args:
        seen: Its features, at least those of `TOLD`.
    """
    values: list[float] = []
    for name in TOLD:
        told = seen[name]
        values += [scaled(name, told.average), scaled(f"{name}.percent_change", told.percent_change)]
    return values


def told_observation(arms: Sequence[str]) -> tuple[str, ...]:
    """Return what the numbers of `swap_observation` are called."""
    return (*OBSERVED, *(f"on {arm}" for arm in arms))


def swap_observation(seen: Mapping[str, WindowValues], current: str, arms: Sequence[str]) -> SwapObservation:
    """Return `OBSERVED` of a window, and behind it which of some schedulers was on.

    Args:
        seen: The window's features, at least those of `TOLD`.
        current: The one that was on.
        arms: All that may be.
    """
    return np.array([*window_numbers(seen), *(float(name == current) for name in arms)], np.float32)
