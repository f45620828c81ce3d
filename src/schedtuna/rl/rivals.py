"""Whom does a policy of settings have to beat? Who never changes them, and who looks at the present alone.

Both choose among settings that have numbers, on the loads that the policy was trained on, and in as many
decisions if they learn. A policy whose actions are points meets them in the same episodes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from schedtuna.rl.evaluation import Decider
from schedtuna.rl.fixed import BEST, fixed_named, is_fixed
from schedtuna.rl.policy import PolicyManifest
from schedtuna.rl.training import LEAST_STEPS, make_plan, train
from schedtuna.rl.world import World

LEARNT = "linucb"
RIVALS = (BEST, LEARNT)
MOST_STEPS = 4096  # a line per setting has nothing to learn from more


def is_rival(name: str) -> bool:
    """Whether a name means one of them: ``linucb``, ``best-fixed`` or ``fixed:N``."""
    return name == LEARNT or is_fixed(name)


def rival_named(name: str, world: World, manifest: PolicyManifest) -> Decider:
    """Return who is meant, who acts in `world.discrete`.

    Args:
        name: As said.
        world: Where the policy acts.
        manifest: The policy's.

    Raises:
        UsageError: There is no such action, or the environment's steps are not of a kind for it.
    """
    if is_fixed(name) or not world.has_settings:
        return fixed_named(name, world.discrete, manifest.splits.train)
    plan = make_plan(
        environment=world.environment,
        parameters=dict(world.discrete.parameters),
        algorithm=name,
        steps=min(max(manifest.nr_steps, LEAST_STEPS), MOST_STEPS),
        seed=manifest.seed,
        splits=manifest.splits.model_copy(update={"test": []}),
    )
    with tempfile.TemporaryDirectory() as folder:
        return train(plan, Path(folder) / "trained").policy
