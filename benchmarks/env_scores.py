"""What do simple agents score in each environment, and the kernel's scheduler beside them?

Each environment as it is by default, but for loads of every family; the mean over episodes of the sum of
rewards. The table of docs/environments.md is from here.

    python benchmarks/env_scores.py [--quick]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from schedtuna.env.exploits import Slots
from schedtuna.env.migrate import MigrateEnv
from schedtuna.env.pick_next import CPUSchedulerEnv
from schedtuna.env.setting import ALL_FAMILIES
from schedtuna.env.swap import SwapEnv

Rule = Callable[[Any, np.random.Generator], int]  # of what is observed
# What the kernel's scheduler scores, by the environments' rules.
DEFAULT = {"PickNext-v0": -100.0, "Migrate-v0": -100.0, "Swap-v0": 0.0}


def _first_come(slots: Slots, _: np.random.Generator) -> int:
    return slots.least(-slots.feature("waited_ns"))


def _least_attained(slots: Slots, _: np.random.Generator) -> int:
    return slots.least(slots.feature("attained_ns"))


def _shortest_habit(slots: Slots, _: np.random.Generator) -> int:
    return slots.least(np.maximum(slots.feature("burst_ns"), slots.feature("attained_ns")))


def _any_candidate(slots: Slots, rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(slots.mask[: slots.setting.nr_slots])))


PICK_NEXT: dict[str, Rule] = {
    "random": _any_candidate,
    "first come, first served": _first_come,
    "least attained service": _least_attained,
    "shortest burst before": _shortest_habit,
}
MIGRATE: dict[str, Rule] = {
    "random": lambda _, rng: int(rng.integers(2)),
    "always stay": lambda *_: 0,
    "always migrate": lambda *_: 1,
    "to CPUs used less": lambda seen, _: int(seen[4] < seen[3]),
}


def score(env: gymnasium.Env[Any, Any], rule: Rule, episodes: int) -> float:
    """Return the mean sum of an episode's rewards."""
    rng, total = np.random.default_rng(1), 0.0
    for seed in range(episodes):
        seen, _ = env.reset(seed=seed)
        is_over = False
        while not is_over:
            if isinstance(env, CPUSchedulerEnv):
                seen = Slots(env.setting, seen, env.action_masks())
            seen, reward, terminated, truncated, _ = env.step(rule(seen, rng))
            total += float(reward)
            is_over = terminated or truncated
    return round(total / episodes, 2)


def swap_rules(env: SwapEnv) -> dict[str, Rule]:
    """Return the rules of `schedtuna/Swap-v0`: any scheduler, or always the same one."""
    fixed: dict[str, Rule] = {
        f"always {name}": lambda *_, action=action: action for action, name in enumerate(env.schedulers)
    }
    return {"random": lambda _, rng: int(rng.integers(len(env.schedulers)))} | fixed


def main() -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a few episodes each")
    episodes = 2 if parser.parse_args().quick else 28
    swap = SwapEnv(step_s=1.0, discard_s=0.4, costs={"swap_ns": 150_000_000}) if episodes == 2 else SwapEnv()
    environments: dict[str, tuple[gymnasium.Env[Any, Any], dict[str, Rule]]] = {
        "PickNext-v0": (CPUSchedulerEnv(workload=ALL_FAMILIES), PICK_NEXT),
        "Migrate-v0": (MigrateEnv(workload=ALL_FAMILIES), MIGRATE),
        "Swap-v0": (swap, swap_rules(swap)),
    }
    for name, (env, rules) in environments.items():
        nr = max(episodes // 4, 2) if env is swap else episodes
        scores = {rule: score(env, act, nr) for rule, act in rules.items()}
        best = max(scores, key=scores.__getitem__)
        print(
            json.dumps(
                {
                    "environment": f"schedtuna/{name}",
                    "episodes": nr,
                    "fair": DEFAULT[name],
                    "best": best,
                    "gain": scores[best] - DEFAULT[name],
                    "scores": scores,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
