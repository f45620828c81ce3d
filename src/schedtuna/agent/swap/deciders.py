"""Which scheduler next, and with which probability each? One contract; all of them are pure, without torch.

Costs are L over the sum of its weights, what a swap takes included: 1 is the default without a swap. What
draws keeps a share of 5% for each arm, however bad that seems: only so can what was logged say anything of
other choices later. Those without such a floor are for the simulated machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from schedtuna.errors import PolicyError
from schedtuna.samplers.bandits import upper_bounds

FLOOR = 0.05
MOST_ARMS = 12
FloatArray = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class SwapSight:
    """What a decider looks at.

    Attributes:
        observation: Numbers from 0 to 1, as `schedtuna/Swap-v0` shows them.
        values: Metrics of the window in their own units, as far as they are known.
        current: Number of the arm that is on.
        allowed: Which arms may be chosen; the default, 0, always.
    """

    observation: npt.NDArray[np.float32]
    values: Mapping[str, float]
    current: int
    allowed: npt.NDArray[np.bool_]


class SwapDecider(Protocol):
    """Chooses among arms.

    Attributes:
        name: As a file names it.
        has_floor: Whether each arm keeps its share; what has none does not run on a real machine.
        nr_learned: How many outcomes it has learned from.
    """

    name: str
    has_floor: bool
    nr_learned: int

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return with which probability each arm is to be chosen next; asked once per choice."""
        ...

    def learn(self, sight: SwapSight, action: int, propensity: float, cost: float) -> None:
        """Take in what came of a choice."""
        ...

    def expected(self, sight: SwapSight) -> FloatArray:
        """Return the cost that it expects of each arm; NaN: it has none in mind."""
        ...

    def state(self) -> Arrays:
        """Return what it has learned."""
        ...

    def restore(self, arrays: Arrays) -> None:
        """Take back what `state` returned.

        Raises:
            PolicyError: It is of others.
        """
        ...


def with_floor(shares: FloatArray, allowed: npt.NDArray[np.bool_], floor: float) -> FloatArray:
    """Return probabilities of which no allowed arm's is below a floor.

    Args:
        shares: Of the allowed arms, summing to 1.
        allowed: Which may be chosen.
        floor: Below 1 / their number; where it is not, all are alike.
    """
    number = int(allowed.sum())
    floor = min(floor, 1 / number)
    mixed = np.where(allowed, floor + (1 - number * floor) * np.where(allowed, shares, 0.0), 0.0)
    probabilities: FloatArray = mixed / mixed.sum()
    return probabilities


def one_hot(place: int, number: int) -> FloatArray:
    """Return 1 in one place, and 0 elsewhere."""
    shares = np.zeros(number)
    shares[place] = 1.0
    return shares


def take_arrays(arrays: Arrays, expected: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return a state's arrays in double precision, where they are those of a decider.

    Raises:
        PolicyError: They have other names or shapes, or are no finite numbers.
    """
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    if found != dict(expected):
        other = sorted(name for name in found | dict(expected) if found.get(name) != expected.get(name))
        raise PolicyError(f"the state has other arrays than the decider: {', '.join(other[:4])}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise PolicyError("the state has numbers that are not finite")
    return {name: np.array(array, np.float64) for name, array in arrays.items()}


class LinUcbDecider:
    """LinUCB (Li et al. 2010), a line per arm: the arm whose cost may be the lowest, the others at the floor.

    It leaves the current arm only where that promises `margin` of the default's cost or more.
    """

    name = "bandit"
    has_floor = True

    def __init__(
        self, nr_arms: int, nr_observed: int, *, width: float = 0.3, margin: float = 0.02, ridge: float = 1.0
    ) -> None:
        self.nr_learned = 0
        self._nr, self._size = nr_arms, nr_observed + 1
        self._width, self._margin = width, margin
        self._grams = np.tile(ridge * np.eye(self._size), (nr_arms, 1, 1))
        self._sums = np.zeros((nr_arms, self._size))

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return almost all for the arm that may be the best."""
        costs, spread = self._lines(sight)
        bounds = np.where(sight.allowed, costs - self._width * spread, np.inf)
        best = int(bounds.argmin())
        if sight.allowed[sight.current] and bounds[sight.current] - bounds[best] < self._margin:
            best = sight.current
        return with_floor(one_hot(best, self._nr), sight.allowed, FLOOR)

    def learn(self, sight: SwapSight, action: int, propensity: float, cost: float) -> None:  # noqa: ARG002
        """Move the arm's line."""
        row = self._row(sight)
        self._grams[action] += np.outer(row, row)
        self._sums[action] += row * (cost - 1.0)
        self.nr_learned += 1

    def expected(self, sight: SwapSight) -> FloatArray:
        """Return what the lines say."""
        return self._lines(sight)[0]

    def state(self) -> Arrays:
        """Return what the lines follow from."""
        return {"grams": self._grams, "sums": self._sums, "nr_learned": np.array([float(self.nr_learned)])}

    def restore(self, arrays: Arrays) -> None:
        """Take back the lines."""
        shapes = {"grams": self._grams.shape, "sums": self._sums.shape, "nr_learned": (1,)}
        taken = take_arrays(arrays, shapes)
        if any(np.linalg.eigvalsh(gram).min() <= 0 for gram in taken["grams"]):
            raise PolicyError("the state is damaged: a matrix of sums can't be one")
        self._grams, self._sums = taken["grams"], taken["sums"]
        self.nr_learned = int(taken["nr_learned"][0])

    def _row(self, sight: SwapSight) -> FloatArray:
        return np.concatenate([np.ones(1), sight.observation.astype(np.float64)])

    def _lines(self, sight: SwapSight) -> tuple[FloatArray, FloatArray]:
        row = self._row(sight)
        solved = np.linalg.solve(self._grams, np.tile(row, (self._nr, 1))[..., None])[..., 0]
        costs = 1.0 + (solved * self._sums).sum(axis=1)
        return costs, np.sqrt(np.maximum(solved @ row, 0.0))


class _Blind:
    """Means of each arm, whatever is seen: what the two below have in common."""

    has_floor = False

    def __init__(self, nr_arms: int) -> None:
        self.nr_learned = 0
        self._sums, self._counts = np.zeros(nr_arms), np.zeros(nr_arms)
        self._range = [math.inf, -math.inf]

    def learn(self, sight: SwapSight, action: int, propensity: float, cost: float) -> None:  # noqa: ARG002
        """Count it to the arm."""
        self._sums[action] += cost
        self._counts[action] += 1
        self._range = [min(self._range[0], cost), max(self._range[1], cost)]
        self.nr_learned += 1

    def expected(self, sight: SwapSight) -> FloatArray:  # noqa: ARG002
        """Return the means."""
        untried = np.full(len(self._sums), np.nan)
        means: FloatArray = np.divide(self._sums, self._counts, out=untried, where=self._counts > 0)
        return means

    def state(self) -> Arrays:
        """Return sums and counts."""
        return {"sums": self._sums, "counts": self._counts, "range": np.nan_to_num(np.array(self._range))}

    def restore(self, arrays: Arrays) -> None:
        """Take them back."""
        shape = self._sums.shape
        taken = take_arrays(arrays, {"sums": shape, "counts": shape, "range": (2,)})
        self._sums, self._counts, self._range = taken["sums"], taken["counts"], taken["range"].tolist()
        self.nr_learned = int(self._counts.sum())


class EpsilonGreedyDecider(_Blind):
    """The best arm so far, any with probability 1/sqrt(n): so at last it hardly ever tries another."""

    name = "epsilon"

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return 1/sqrt(n) for all together, and the rest for the best."""
        costs = np.where(sight.allowed, np.nan_to_num(self.expected(sight), nan=1.0), np.inf)
        epsilon = 1 / math.sqrt(self.nr_learned + 1)
        alike = sight.allowed / sight.allowed.sum()
        return np.asarray(epsilon * alike + (1 - epsilon) * one_hot(int(costs.argmin()), len(costs)))


class UcbDecider(_Blind):
    """UCB1 (Auer et al. 2002): it draws nothing, so what it logs says nothing of other choices."""

    name = "ucb"

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return 1 for the arm with the best bound."""
        means = np.nan_to_num(self.expected(sight), nan=1.0)
        width = max(self._range[1] - self._range[0], 0.0) if self.nr_learned else 1.0
        bounds = np.where(sight.allowed, upper_bounds(-means / (width or 1.0), self._counts, 1.0), -np.inf)
        return one_hot(int(bounds.argmax()), len(bounds))


class RegimeDecider:
    """A table: the arm of the first regime that holds, once it has held for some windows in a row.

    Args:
        regimes: Whether each holds for metrics (None: not known), and its arm's number; in their order.
        nr_arms: How many there are; where none holds it is the default, 0.
        windows: How many in a row have to speak for another arm.
        floor: Of each arm's probability; 0: nothing is drawn.
    """

    name = "rules"

    def __init__(
        self,
        regimes: Sequence[tuple[Callable[[Mapping[str, float]], bool | None], int]],
        nr_arms: int,
        *,
        windows: int = 1,
        floor: float = 0.0,
    ) -> None:
        self.nr_learned = 0
        self.has_floor = True  # it learns nothing that a floor would have to keep honest
        self._regimes, self._nr = regimes, nr_arms
        self._windows, self._floor = windows, floor
        self._chosen, self._next, self._nr_next = 0, 0, 0

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return 1 for the regime's arm, but for the floor."""
        said = self._says(sight.values)
        if said == self._chosen:
            self._nr_next = 0
        else:
            self._nr_next = self._nr_next + 1 if said == self._next else 1
            self._next = said
            if self._nr_next >= self._windows:
                self._chosen, self._nr_next = said, 0
        arm = self._chosen if sight.allowed[self._chosen] else 0
        return with_floor(one_hot(arm, self._nr), sight.allowed, self._floor)

    def _says(self, values: Mapping[str, float]) -> int:
        for holds, arm in self._regimes:
            found = holds(values)
            if found is None:
                return self._chosen  # what is not known decides nothing
            if found:
                return arm
        return 0

    def learn(self, sight: SwapSight, action: int, propensity: float, cost: float) -> None:
        """Do nothing: a person has written it."""

    def expected(self, sight: SwapSight) -> FloatArray:  # noqa: ARG002
        """Return nothing that it would expect."""
        return np.full(self._nr, np.nan)

    def state(self) -> Arrays:
        """Return nothing."""
        return {}

    def restore(self, arrays: Arrays) -> None:
        """Take nothing."""
        take_arrays(arrays, {})
