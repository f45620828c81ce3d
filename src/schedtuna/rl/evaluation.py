"""What is a policy worth on loads that it was not trained on? Simulated episodes are decided all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from schedtuna.rl.world import World
from schedtuna.workload.spec import derived_seed

MOST_STEPS = 1_000_000  # of an episode
EPISODES = 16  # where nothing else is said
LIVE_EPISODES = 4  # the same where each takes a minute


class Decider(Protocol):
    """A policy, or whatever else decides."""

    def act(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """Return an action per observation and mask: its number, or a point."""


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        load: What ran; empty: the environment's own.
        seed: Of its reset.
        score: The sum of its rewards: higher is better.
        nr_steps: Decisions.
        has_ended: Whether all its tasks had exited, so that nothing was cut off.
        info: What the environment told last.
    """

    load: str
    seed: int
    score: float
    nr_steps: int
    has_ended: bool
    info: dict[str, Any]


def evaluate(
    decider: Decider | str,
    world: World,
    loads: Sequence[str],
    *,
    seed: int,
    episodes: int | None = None,
) -> list[Episode]:
    """Play episodes to their ends.

    Args:
        decider: Who decides; a text: a scheduler that can be watched there.
        world: Where.
        loads: Each gets the same number of episodes, rounded up; empty: the environment's own load.
        seed: Of the episodes' seeds: two deciders with the same one meet the same arrivals.
        episodes: How many, over all loads; None: EPISODES, or LIVE_EPISODES where they are measured.

    Raises:
        UsageError: An environment can't be made.
        PolicyError: An environment allows no action.
    """
    chosen = list(loads) or [""]
    if episodes is None:
        episodes = LIVE_EPISODES if world.is_live else EPISODES
    plan = [
        (load, derived_seed(seed, i, j))
        for i, load in enumerate(chosen)
        for j in range(-(-episodes // len(chosen)))
    ]
    if isinstance(decider, str):
        return [_watched(decider, world, load, seed) for load, seed in plan]
    if world.is_live:  # one after the other: two on one machine would disturb each other
        return [episode for one in plan for episode in _played_together(decider, world, [one])]
    return _played_together(decider, world, plan)


def _watched(scheduler: str, world: World, load: str, seed: int) -> Episode:
    watched = world.watched(scheduler, [load] if load else [], [seed])
    watched.reset(seed)
    score, nr_steps, ended, terminated = 0.0, 0, False, False
    info: dict[str, Any] = {}
    while not ended:
        _, _, reward, terminated, truncated, info = watched.step()
        score, nr_steps, ended = score + reward, nr_steps + 1, terminated or truncated
    return Episode(load, seed, score, nr_steps, terminated, info)


def _played_together(decider: Decider, world: World, plan: list[tuple[str, int]]) -> list[Episode]:
    made = [world.make(load or None, [seed]) for load, seed in plan]
    try:
        return _played(decider, made, plan)
    finally:
        for environment in made:
            environment.close()


def _played(decider: Decider, made: list[Any], plan: list[tuple[str, int]]) -> list[Episode]:
    observations = np.stack([env.reset(seed=seed)[0] for env, (_, seed) in zip(made, plan, strict=True)])
    mask_of: list[Any] = []
    if made[0].has_wrapper_attr("action_masks"):
        mask_of = [env.get_wrapper_attr("action_masks") for env in made]
    scores, steps = np.zeros(len(made)), np.zeros(len(made), int)
    told: list[dict[str, Any]] = [{} for _ in made]
    ended = np.zeros(len(made), bool)
    alive = list(range(len(made)))
    is_point = isinstance(made[0].action_space, spaces.Box)
    while alive:
        masks = np.stack([mask_of[i]() for i in alive]) if mask_of else None
        left = []
        for i, action in zip(alive, decider.act(observations[alive], masks), strict=True):
            observations[i], reward, terminated, truncated, told[i] = made[i].step(
                action if is_point else int(action)
            )
            scores[i] += float(reward)
            steps[i] += 1
            ended[i] = terminated
            if not (terminated or truncated or steps[i] >= MOST_STEPS):
                left.append(i)
        alive = left
    return [
        Episode(load, seed, float(scores[i]), int(steps[i]), bool(ended[i]), told[i])
        for i, (load, seed) in enumerate(plan)
    ]


def mean_score(episodes: Sequence[Episode]) -> float:
    """Return the mean of the scores."""
    return float(np.mean([episode.score for episode in episodes]))
