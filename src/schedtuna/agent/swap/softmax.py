"""The softmax policy gradient over schedulers, in numpy: two hidden layers, (L - baseline) x log pi(action).

REINFORCE (Williams 1992) with a running baseline, by Adam (Kingma and Ba 2015). What is drawn from is
floor + (1 - arms x floor) x (stay x current + (1 - stay) x softmax): `stay` is its hysteresis, and the
gradient is that of the probability that was drawn from. Observations are standardised by what was seen so
far, as loads differ by little of each one's range; and entropy is rewarded, or the softmax is certain before
it has seen enough (Mnih et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from schedtuna.agent.swap.deciders import (
    FLOOR,
    Arrays,
    FloatArray,
    SwapSight,
    one_hot,
    take_arrays,
    with_floor,
)
from schedtuna.errors import PolicyError

HIDDEN = (32, 32)
LEARNING_RATE = 3e-3
BASELINE_WEIGHT = 0.05  # of the newest cost in the running mean
STAY = 0.2
ENTROPY = 0.1  # what a nat of it is worth, in costs of the default
_DECAY = (0.9, 0.999)
_TINY = 1e-8
_MOST_DEVIATIONS = 5.0
_LEAST_VARIANCE = 1e-4  # of a number that hardly ever moves
_MOST_COST = 5.0  # a starved window is bad, not the end of all that was learned


class SoftmaxDecider:
    """Draws an arm from a network's softmax.

    Args:
        nr_arms: How many.
        nr_observed: Numbers of an observation.
        rng: Draws the first weights.
        hidden: Widths of the two hidden layers.
        learning_rate: Of Adam.
        stay: Share that the current arm keeps.
    """

    name = "softmax"
    has_floor = True

    def __init__(
        self,
        nr_arms: int,
        nr_observed: int,
        rng: np.random.Generator,
        *,
        hidden: Sequence[int] = HIDDEN,
        learning_rate: float = LEARNING_RATE,
        stay: float = STAY,
    ) -> None:
        self.nr_learned = 0
        self._nr, self._stay, self._rate = nr_arms, stay, learning_rate
        widths = [nr_observed, *hidden, nr_arms]
        self._weights: list[FloatArray] = []
        for i, (inside, outside) in enumerate(pairwise(widths)):
            scale = 0.1 if i == len(hidden) else 1.0  # near uniform at first
            self._weights += [scale * rng.normal(0, inside**-0.5, (outside, inside)), np.zeros(outside)]
        self._moments = [[np.zeros_like(one) for one in self._weights] for _ in _DECAY]
        self._baseline = 1.0  # the default's cost
        self._mean, self._squares = np.zeros(nr_observed), np.ones(nr_observed)  # of observations

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return floor, stay and softmax, mixed."""
        return with_floor(self._shares(sight, self._forward(sight)[-1]), sight.allowed, FLOOR)

    def learn(self, sight: SwapSight, action: int, propensity: float, cost: float) -> None:
        """Make what was costlier than the baseline less probable, and the other way around."""
        advantage = min(cost, _MOST_COST) - self._baseline
        self._baseline += BASELINE_WEIGHT * advantage
        passed = self._forward(sight)
        soft = _softmax(passed[-1], sight.allowed)
        number = int(sight.allowed.sum())
        kept = (1 - number * min(FLOOR, 1 / number)) * (1 - self._stay_of(sight))
        slope = kept * soft[action] * (one_hot(action, self._nr) - soft) / max(propensity, FLOOR)
        logs = np.log(np.maximum(soft, _TINY))
        self._step(passed, advantage * slope + ENTROPY * soft * (logs - (soft * logs).sum()))
        self._see(sight.observation.astype(np.float64))
        self.nr_learned += 1

    def expected(self, sight: SwapSight) -> FloatArray:  # noqa: ARG002
        """Return nothing: it knows what to prefer, and not what that costs."""
        return np.full(self._nr, np.nan)

    def state(self) -> Arrays:
        """Return weights, Adam's moments, what was seen, and the baseline."""
        arrays = {f"weights{i}": one for i, one in enumerate(self._weights)}
        for m, moments in enumerate(self._moments):
            arrays |= {f"moment{m}.{i}": one for i, one in enumerate(moments)}
        arrays |= {"mean": self._mean, "squares": self._squares}
        return arrays | {"progress": np.array([self._baseline, float(self.nr_learned)])}

    def restore(self, arrays: Arrays) -> None:
        """Take them back."""
        taken = take_arrays(arrays, {name: array.shape for name, array in self.state().items()})
        squares = [taken["squares"], *(taken[f"moment1.{i}"] for i in range(len(self._weights)))]
        if any((one < 0).any() for one in squares):
            raise PolicyError("the state is damaged: a mean of squares is negative")
        self._weights = [taken[f"weights{i}"] for i in range(len(self._weights))]
        self._moments = [
            [taken[f"moment{m}.{i}"] for i in range(len(self._weights))] for m in range(len(_DECAY))
        ]
        self._mean, self._squares = taken["mean"], taken["squares"]
        self._baseline, self.nr_learned = float(taken["progress"][0]), int(taken["progress"][1])

    def _see(self, observation: FloatArray) -> None:
        """Take an observation into mean and squares (Welford 1962)."""
        off = observation - self._mean
        self._mean = self._mean + off / (self.nr_learned + 2)
        self._squares = self._squares + off * (observation - self._mean)

    def _spread(self) -> FloatArray:
        return np.asarray(np.sqrt(self._squares / (self.nr_learned + 1) + _LEAST_VARIANCE))

    def _stay_of(self, sight: SwapSight) -> float:
        return self._stay if sight.allowed[sight.current] else 0.0

    def _shares(self, sight: SwapSight, scores: FloatArray) -> FloatArray:
        stay = self._stay_of(sight)
        soft = _softmax(scores, sight.allowed)
        return np.asarray(stay * one_hot(sight.current, self._nr) + (1 - stay) * soft)

    def _forward(self, sight: SwapSight) -> list[FloatArray]:
        """The input, and what each layer makes of it."""
        deviations = (sight.observation.astype(np.float64) - self._mean) / self._spread()
        passed: list[FloatArray] = [np.clip(deviations, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)]
        layers = list(zip(self._weights[::2], self._weights[1::2], strict=True))
        for weights, biases in layers[:-1]:
            passed.append(np.tanh(weights @ passed[-1] + biases))
        weights, biases = layers[-1]
        return [*passed, weights @ passed[-1] + biases]

    def _step(self, passed: Sequence[FloatArray], slope: FloatArray) -> None:
        """Go a step down (L - baseline) log pi, whose derivative by the scores is given."""
        gradients: list[FloatArray] = []
        for i in range(len(self._weights) - 2, -1, -2):
            inside = passed[i // 2]
            gradients = [np.outer(slope, inside), slope, *gradients]
            slope = (self._weights[i].T @ slope) * (1 - inside**2)
        nth = self.nr_learned + 1
        first, second = self._moments
        for i, gradient in enumerate(gradients):
            first[i] = _DECAY[0] * first[i] + (1 - _DECAY[0]) * gradient
            second[i] = _DECAY[1] * second[i] + (1 - _DECAY[1]) * gradient**2
            mean = first[i] / (1 - _DECAY[0] ** nth)
            square = second[i] / (1 - _DECAY[1] ** nth)
            self._weights[i] = self._weights[i] - self._rate * mean / (np.sqrt(square) + _TINY)


def _softmax(scores: FloatArray, allowed: np.ndarray) -> FloatArray:
    shifted = np.where(allowed, np.exp(scores - scores[allowed].max()), 0.0)
    shares: FloatArray = shifted / shifted.sum()
    return shares
