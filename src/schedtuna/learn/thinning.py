"""Which rows are kept where there are too many? A share of them, drawn by hash: the same in every pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
_ALL = 1 << 64


class ThinnedRows:
    """Rows that come in parts, of which at most so many are kept.

    A row's fate hangs on its own key and on how many rows there are, not on the parts in which they came.

    Args:
        most: How many are kept at most; at least half of that where there are more.
        seed: What the draw hangs on.

    Attributes:
        nr_seen: Rows so far.
    """

    def __init__(self, most: int, seed: int) -> None:
        self.nr_seen = 0
        self._most, self._seed, self._below = most, seed, _ALL
        self._parts: list[Columns] = []
        self._nr_kept = 0

    def add(self, keys: npt.NDArray[np.uint64], columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take rows.

        Args:
            keys: What identifies each row within all.
            columns: Arrays of the same length.
        """
        self.nr_seen += len(keys)
        part: Columns = {"_draw": _mixed(keys, self._seed), **columns}
        self._parts.append(_below(part, self._below))
        self._nr_kept += len(self._parts[-1]["_draw"])
        while self._nr_kept > self._most:
            self._below //= 2
            self._parts = [_below(part, self._below) for part in self._parts]
            self._nr_kept = sum(len(part["_draw"]) for part in self._parts)

    def columns(self) -> Columns:
        """Return the rows that are kept, in the order in which they came; none: no columns."""
        if not self._parts:
            return {}
        names = [name for name in self._parts[0] if name != "_draw"]
        return {name: np.concatenate([part[name] for part in self._parts]) for name in names}


def _below(part: Columns, limit: int) -> Columns:
    if limit >= _ALL:
        return part
    kept = part["_draw"] < np.uint64(limit)
    return {name: column[kept] for name, column in part.items()}


def _mixed(keys: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Hash keys: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        mixed = keys.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % _ALL)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return mixed ^ (mixed >> np.uint64(31))
