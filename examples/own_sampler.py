"""Decide what is tried next by an algorithm of your own: any class that asks and is told.

python examples/own_sampler.py [EPISODES [COMMAND...]]
PYTHONPATH=examples schedtuna tune --sampler own_sampler:HillClimb -- COMMAND
"""

import sys

import numpy as np

from schedtuna import RLSchedulerOptimizer
from schedtuna.samplers.base import Sampler
from schedtuna.samplers.racing import recommend
from schedtuna.space import ParameterSpace, ParameterValue

START = 6  # random draws before it climbs
REPEAT_EVERY = 3  # runs after which the best so far runs once more, as a single run proves little


class HillClimb(Sampler):
    """Change one parameter of the best so far.

    Args:
        start: Random draws before that.
    """

    name = "hill-climb"

    def __init__(
        self, space: ParameterSpace, *, budget: int, rng: np.random.Generator, start: int = START
    ) -> None:
        super().__init__(space, budget=budget, rng=rng)
        self.start = start

    def ask(self) -> dict[str, ParameterValue]:
        """Return the default first, then random draws, then neighbours of the best so far."""
        if not self.history:
            return self.space.default()
        if self.suggestions:  # what was good in an earlier study, with --warm-start
            return self.suggestions.pop(0)
        if len(self.history) <= self.start:
            return self.space.sample(self.rng)
        best = self.recommend()
        if len(self.history) % REPEAT_EVERY == 0:
            return best
        point = self.space.to_unit(best)
        moved = self.rng.integers(len(point))
        point[moved] = np.clip(point[moved] + 0.2 * self.rng.standard_normal(), 0, 1)
        return self.space.from_unit(point)

    def recommend(self) -> dict[str, ParameterValue]:
        """Return the best of those that ran, where a lucky single run does not count for much."""
        return recommend(self.space, self.history)


def main(episodes: int, *command: str) -> None:
    """Tune the kernel's own scheduler with it."""
    optimizer = RLSchedulerOptimizer(
        {
            "scheduler_name": "fair",
            "algorithm": "own_sampler:HillClimb",
            "episodes": episodes,
            "benchmark_cmd": command or None,
            "seed": 1,
        }
    )
    result = optimizer.train()
    print("verdict:", result["verdict"])


if __name__ == "__main__":
    given, *rest = sys.argv[1:] or ["40"]
    main(int(given), *rest)
