"""Which small integer does a feature's value become? One rule, the same in Python, C and the kernel.

docs/model-format.md states it. Integers alone, no division and no table: what is left of a row are a few
constants, which executors take from `constants()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError

MOST_BINS = 1 << 16
LINEAR_SHIFT = 47  # a multiplier's fraction: (2^32 - 1) * 2^47 * 2^16 / 2^32 stays below 2^64
_MOST_PER_OCTAVE = 1 << 12
_INT64 = np.iinfo(np.int64)


class BinConstants(NamedTuple):
    """What executors compute a bin from: see `Bins`.

    Attributes:
        lo: Least value; smaller ones become it.
        hi: Greatest value; greater ones become it.
        last: The greatest bin.
        shift: linear: bits dropped before the multiplication. log2: binary logarithm of `per_octave`.
        multiplier: linear: bins per (value >> shift), times 2^47. log2: 0.
        base: log2: the index of `lo`. linear: 0.
    """

    lo: int
    hi: int
    last: int
    shift: int
    multiplier: int
    base: int


@dataclass(frozen=True)
class Bins:
    """A row of bins.

    linear: with d = clamp(value, lo, hi) - lo, the bin is min(((d >> shift) * multiplier) >> 47,
    nr_bins - 1), where shift is the least that makes (hi - lo) >> shift smaller than 2^32, and multiplier is
    nr_bins * 2^47 / (((hi - lo) >> shift) + 1), rounded up. Up to hi - lo = 2^23 the bin is
    d * nr_bins / (hi - lo + 1), rounded down.

    log2: with index(x) = (s << p) + (x >> s), s = max(floor(log2(x)) - p, 0), 2^p = per_octave, the bin is
    min(index(clamp(value, lo, hi)) - index(lo), nr_bins - 1): values below per_octave have bins of their own,
    each octave above has per_octave bins of equal width.

    Attributes:
        kind: How wide the bins are.
        lo: Least value that is told apart from smaller ones.
        hi: Greatest value that is told apart from greater ones.
        nr_bins: 2 to 65536.
        per_octave: log2: a power of two; linear: 0.

    Raises:
        ModelError: They don't fit together: a bin would have no value, or a bound is no 64-bit integer.
    """

    kind: Literal["linear", "log2"]
    lo: int
    hi: int
    nr_bins: int
    per_octave: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "log2"):
            raise ModelError(f"bins are linear or log2, not {self.kind!r}")
        for name in ("lo", "hi", "nr_bins", "per_octave"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ModelError(f"{name} of bins is an integer, not {value!r}")
        if not _INT64.min <= self.lo < self.hi <= _INT64.max:
            raise ModelError(f"bins need lo < hi, both 64-bit integers, not {self.lo} and {self.hi}")
        if not 2 <= self.nr_bins <= MOST_BINS:
            raise ModelError(f"{self.nr_bins} bins: expected 2 to {MOST_BINS}")
        if self.kind == "log2":
            if self.lo < 0:
                raise ModelError(f"log2 bins begin at 0 or above, not at {self.lo}")
            power = self.per_octave > 0 and self.per_octave & (self.per_octave - 1) == 0
            if not power or self.per_octave > _MOST_PER_OCTAVE:
                raise ModelError(
                    f"per_octave is a power of two up to {_MOST_PER_OCTAVE}, not {self.per_octave}"
                )
        elif self.per_octave:
            raise ModelError("linear bins have no per_octave")
        if self.nr_bins > (most := self.most_bins()):
            raise ModelError(
                f"{self.nr_bins} {self.kind} bins from {self.lo} to {self.hi}: some would be empty",
                hint=f"at most {most} bins have a value there",
            )

    def most_bins(self) -> int:
        """How many bins there can be at most, so that each has a value."""
        if self.kind == "linear":
            return self.hi - self.lo + 1
        return self._index(self.hi) - self._index(self.lo) + 1

    def _index(self, value: int) -> int:
        p = self.per_octave.bit_length() - 1
        s = max(value.bit_length() - 1 - p, 0)
        return (s << p) + (value >> s)

    @property
    def last(self) -> int:
        """The greatest bin."""
        return self.nr_bins - 1

    @cached_property
    def _constants(self) -> BinConstants:
        if self.kind == "log2":
            p = self.per_octave.bit_length() - 1
            return BinConstants(self.lo, self.hi, self.last, p, 0, self._index(self.lo))
        span = self.hi - self.lo
        shift = max(span.bit_length() - 32, 0)
        steps = (span >> shift) + 1
        multiplier = -(-(self.nr_bins << LINEAR_SHIFT) // steps)
        return BinConstants(self.lo, self.hi, self.last, shift, multiplier, 0)

    def constants(self) -> BinConstants:
        """What an executor needs."""
        return self._constants

    def quantise(self, values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
        """Return the bin of each value; what is outside `lo` to `hi` is clamped.

        Args:
            values: Integers of at most 64 bits, of any shape.

        Raises:
            ModelError: They are no integers.
        """
        given = np.asarray(values)
        if given.dtype.kind not in "iu":
            raise ModelError(f"bins are made of integers, not of {given.dtype}")
        if given.dtype == np.uint64:
            given = np.minimum(given, np.uint64(_INT64.max))
        rule = self._constants
        clamped = np.clip(given.astype(np.int64), rule.lo, rule.hi)
        if self.kind == "log2":
            bins = _log2_index(clamped.astype(np.uint64), rule.shift) - np.uint64(rule.base)
        else:
            with np.errstate(over="ignore"):  # numpy warns of single numbers that wrap around
                distance = clamped.astype(np.uint64) - np.uint64(rule.lo & (1 << 64) - 1)  # modulo 2^64
            scaled = (distance >> np.uint64(rule.shift)) * np.uint64(rule.multiplier)
            bins = scaled >> np.uint64(LINEAR_SHIFT)
        found: npt.NDArray[np.uint16] = np.minimum(bins, np.uint64(rule.last)).astype(np.uint16)
        return found

    def edges(self) -> npt.NDArray[np.int64]:
        """Return the least value of each bin, `nr_bins` of them; the first is `lo`."""
        wanted = np.arange(self.nr_bins)
        low = np.full(self.nr_bins, self.lo, np.int64)
        high = np.full(self.nr_bins, self.hi, np.int64)
        while (low < high).any():
            middle = (low & high) + ((low ^ high) >> 1)  # their mean, rounded down, without overflow
            reached = self.quantise(middle) >= wanted
            high = np.where(reached, middle, high)
            low = np.where(reached, low, np.minimum(middle, high - 1) + 1)
        return low


def _log2_index(values: npt.NDArray[np.uint64], p: int) -> npt.NDArray[np.uint64]:
    logarithm = np.zeros_like(values)
    rest = values.copy()
    for bits in (32, 16, 8, 4, 2, 1):
        above = rest >= np.uint64(1 << bits)
        logarithm += above * np.uint64(bits)
        rest >>= above * np.uint64(bits)
    s = np.maximum(logarithm, np.uint64(p)) - np.uint64(p)
    return (s << np.uint64(p)) + (values >> s)
