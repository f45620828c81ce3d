"""What does every family of models have: arrays, a layout of accumulators, a reference in numpy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError

BinArray = npt.NDArray[np.uint16]
IntArray = npt.NDArray[np.int64]
Accumulators = npt.NDArray[np.int32]
AnyArray = npt.NDArray[Any]
Given = Any  # what numpy makes an array of integers of; once a core is built, that array, read-only

MOST_INPUTS = 32
MOST_LOGITS = 4
_INT32 = np.iinfo(np.int32)


class Core(ABC):
    """The numbers of a model of one family. Its bounds are proven when it is built.

    Attributes:
        family: Its name in files and in executors.
    """

    family: ClassVar[str]

    @property
    @abstractmethod
    def nr_inputs(self) -> int:
        """How many bins it takes."""

    @property
    @abstractmethod
    def nr_logits(self) -> int:
        """How many numbers decide; they are the last accumulators."""

    @abstractmethod
    def layout(self) -> tuple[tuple[str, int], ...]:
        """The accumulators of a row, in order: the stages' names and sizes."""

    @abstractmethod
    def accumulate(self, bins: BinArray) -> Accumulators:
        """Compute every accumulator of every row, in the plainest way.

        Args:
            bins: [rows, inputs].

        Returns:
            [rows, accumulators], stage by stage as `layout` has them.
        """

    @abstractmethod
    def require(self, nr_bins: Sequence[int]) -> None:
        """Refuse inputs that its bounds are not proven for.

        Raises:
            ModelError: An input has too many bins.
        """

    @abstractmethod
    def arrays(self) -> dict[str, AnyArray]:
        """What a file holds of it."""

    @abstractmethod
    def settings(self) -> dict[str, int | list[int]]:
        """What a file's header holds of it."""

    @classmethod
    @abstractmethod
    def of(cls, arrays: Mapping[str, AnyArray], settings: Mapping[str, Any]) -> Self:
        """Build one of what a file holds.

        Raises:
            ModelError: Something is missing, of a wrong kind, or out of its bounds.
        """

    @property
    def nr_accumulators(self) -> int:
        """How many a row has."""
        return sum(size for _, size in self.layout())

    def logits(self, bins: BinArray) -> Accumulators:
        """Compute what decides.

        Args:
            bins: [rows, inputs].

        Returns:
            [rows, logits].
        """
        return self.accumulate(bins)[:, -self.nr_logits :]


def require_array(name: str, value: Any, dtype: type[np.generic], ndim: int) -> AnyArray:
    """Return a read-only array of that type, whose values are those that were given.

    Raises:
        ModelError: It has another number of dimensions, or a value that the type can't hold.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "iu" and given.size:
        raise ModelError(f"{name} holds integers, not {given.dtype}")
    if given.ndim != ndim:
        raise ModelError(f"{name} has {ndim} dimensions, not {given.ndim}")
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    if given.size and not (int(given.min()) >= limits.min and int(given.max()) <= limits.max):
        raise ModelError(f"{name} holds {limits.min} to {limits.max}, not {given.min()} to {given.max()}")
    made = np.ascontiguousarray(given, dtype).copy()
    made.setflags(write=False)
    return made


def require_whole(name: str, value: Any, low: int, high: int) -> int:
    """Return an integer within its bounds.

    Raises:
        ModelError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ModelError(f"{name} is an integer from {low} to {high}, not {value!r}")
    return int(value)


def require_sum(name: str, low: IntArray, high: IntArray, bits: int) -> None:
    """Prove that sums fit into signed integers of so many bits.

    Args:
        name: Of the sums.
        low: The least that each can become.
        high: The greatest that each can become.
        bits: Of the integer, or of its lane in a word.

    Raises:
        ModelError: One can leave them.
    """
    limit = 1 << (bits - 1)
    outside = np.flatnonzero((low < -limit) | (high >= limit))
    if outside.size:
        first = outside[0]
        raise ModelError(
            f"{name} {first} can become {low[first]} to {high[first]}, and has {bits} bits: "
            f"{-limit} to {limit - 1}",
            hint="scale its weights or its bias down",
        )


def require_int32(name: str, value: Any) -> int:
    """Return an integer of 32 bits.

    Raises:
        ModelError: It is none.
    """
    return require_whole(name, value, int(_INT32.min), int(_INT32.max))
