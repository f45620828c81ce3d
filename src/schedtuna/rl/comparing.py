"""Which of several policies is better in the same episodes?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from schedtuna.errors import UsageError
from schedtuna.rl.evaluation import Decider, evaluate
from schedtuna.rl.pretrained import PRETRAINED, find_policy
from schedtuna.rl.rivals import is_rival, rival_named
from schedtuna.rl.world import World

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Contestant:
    """One of those that are compared.

    Attributes:
        name: As it was given.
        score: Mean of its episodes.
        difference: By how much that is higher than the first one's; None: it is the first.
        low, high: Bounds of the difference, with 95% confidence in each, for all of them together.
        verdict: In a word.
    """

    name: str
    score: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class PolicyComparison:
    """What came of a comparison."""

    sides: list[Contestant]
    nr_episodes: int


def compare(
    names: Sequence[str], loads: Sequence[str], parameters: Mapping[str, Any], *, seed: int, episodes: int
) -> PolicyComparison:
    """Compare policies with the first of them, episode by episode.

    Args:
        names: Files or folders of policies or names of such that come along, one at least, schedulers
            that can be watched, and, of environments whose actions are settings, those of `rivals`.
        loads: Empty: those that the first policy was validated on.
        parameters: Keywords of the environment beyond those of the first policy's training.
        seed: Of the episodes.
        episodes: How many, over all loads.

    Raises:
        UsageError: There are not two, no policy is among them, or one does not fit the environment.
        PolicyError: A policy can't be read.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            "two different policies or more are compared", hint="name another one, or a scheduler"
        )
    policies = {name: find_policy(name) for name in names if name in PRETRAINED or Path(name).exists()}
    if not policies:
        raise UsageError(
            f"none of {', '.join(names)} is a policy's file or folder",
            hint=f"`schedtuna rl train` makes one; {', '.join(PRETRAINED)} comes along",
        )
    first = next(iter(policies.values())).manifest
    world = World(first.fit.environment, first.parameters | dict(parameters))
    fit = world.fit()
    for policy in policies.values():
        policy.require_fit(fit)
    deciders: dict[str, Decider | str] = dict(policies)
    for name in names:
        if name not in policies and not is_rival(name):
            world.watched(name, [])
            deciders[name] = name
    rivals = [name for name in names if name not in policies and is_rival(name)]
    for name in rivals:
        deciders[name] = rival_named(name, world, first)
    chosen = list(loads) or first.splits.validation
    scores = {}
    for name in names:
        place = world.discrete if name in rivals else world
        played = evaluate(deciders[name], place, chosen, seed=seed, episodes=episodes)
        scores[name] = np.array([episode.score for episode in played])
    reference = scores[names[0]]
    sides = [Contestant(names[0], float(reference.mean()), verdict="the reference")]
    sides += [_side(name, scores[name], reference, len(names) - 1) for name in names[1:]]
    return PolicyComparison(sides, len(reference))


def _side(name: str, scores: np.ndarray, reference: np.ndarray, nr_compared: int) -> Contestant:
    """Student's interval of the paired differences, widened (Bonferroni) for how many are compared."""
    differences = scores - reference
    mean = float(differences.mean())
    if len(differences) < 2:
        raise UsageError("an interval needs two episodes at least", hint="give a larger --episodes")
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    share = 1 - (1 - CONFIDENCE) / nr_compared / 2
    reach = float(stats.t.ppf(share, len(differences) - 1)) * error
    low, high = mean - reach, mean + reach
    verdict = "better" if low > 0 else "worse" if high < 0 else "same" if low == high else "no evidence"
    return Contestant(name, float(scores.mean()), mean, low, high, verdict)
