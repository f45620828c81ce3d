"""Deciders on the simulated machine: episodes of `schedtuna/Swap-v0`, in which one chooses and learns.

Costs and what is seen are those of the policy on a real machine, but for one thing: L is held against what
the default makes of the very same step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedtuna.agent.swap.canary import Canary
from schedtuna.agent.swap.deciders import SwapDecider, SwapSight
from schedtuna.agent.swap.window import load_class
from schedtuna.env.swap import SwapEnv
from schedtuna.errors import UsageError


@dataclass(frozen=True)
class SwapStep:
    """A step of an episode.

    Attributes:
        load: Which was on.
        arm: Which scheduler, by its number.
        swapped: Whether that was another one before.
        cost: L and what the swap took, over the default's L.
    """

    load: str
    arm: int
    swapped: bool
    cost: float


def run_episode(
    env: SwapEnv,
    decider: SwapDecider,
    rng: np.random.Generator,
    *,
    seed: int,
    learns: bool = True,
    canary: Canary | None = None,
) -> list[SwapStep]:
    """Run an episode; returns its steps.

    Args:
        env: Its first scheduler is `fair`.
        decider: Chooses.
        rng: Draws from its probabilities.
        seed: Of the loads' order and arrivals.
        learns: Whether the decider is told what came of each choice.
        canary: What it knows of each arm's costs; None: all may be chosen.

    Raises:
        UsageError: `fair` is not the first.
    """
    if env.schedulers != env.may_be_on:
        raise UsageError("the first scheduler has to be `fair`, which is the default")
    nr = len(env.schedulers)
    observation, info = env.reset(seed=seed)
    current, ended = 0, False
    steps: list[SwapStep] = []
    while not ended:
        load_class = _class_of(info, env)
        allowed = np.ones(nr, bool) if canary is None else canary.allowed(load_class)
        sight = SwapSight(observation, info["seen"], current, allowed)
        shares = decider.propensities(sight)
        arm = int(rng.choice(nr, p=shares))
        observation, reward, _, ended, info = env.step(np.int64(arm))
        steps.append(SwapStep(str(info["load"]), arm, bool(info["swapped"]), 1.0 - reward))
        if canary is not None:
            canary.take(env.schedulers[arm], steps[-1].cost, load_class, _class_of(info, env))
        if learns:
            decider.learn(sight, arm, float(shares[arm]), steps[-1].cost)
        current = arm
    return steps


def _class_of(info: Mapping[str, Any], env: SwapEnv) -> str:
    return load_class(info["seen"], env.nr_cpus)
