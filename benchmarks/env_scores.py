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

from schedtuna.env.assigning import AssigningEnv
from schedtuna.env.course import CourseEnv
from schedtuna.env.exploits import Slots
from schedtuna.env.migrate import MigrateEnv
from schedtuna.env.params import ParamsEnv
from schedtuna.env.pick_next import CPUSchedulerEnv
from schedtuna.env.setting import ALL_FAMILIES
from schedtuna.env.slices import SliceEnv
from schedtuna.env.swap import SwapEnv
from schedtuna.space import spell_assignment

Rule = Callable[[Any, np.random.Generator], int]  # of what is observed
# What the kernel's scheduler scores, by the environments' rules.
DEFAULT = {"PickNext-v0": -100.0, "Migrate-v0": -100.0, "Swap-v0": 0.0, "Slice-v0": 0.0, "Params-v0": 0.0}
SEARCHED = 3  # episodes of each assignment, of which the best one is then scored on others


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


def score(env: gymnasium.Env[Any, Any], rule: Rule, episodes: int, *, first: int = 0) -> float:
    """Return the mean sum of an episode's rewards."""
    rng, total = np.random.default_rng(1), 0.0
    for seed in range(first, first + episodes):
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


def setting_rules(env: AssigningEnv, episodes: int) -> dict[str, Rule]:
    """Return the rules of `schedtuna/Slice-v0` and `Params-v0`: random, and the best one that stays.

    Args:
        env: Which one.
        episodes: Of each assignment; the best one is then scored on others.
    """

    def always(action: int) -> Rule:
        return lambda *_: action

    found = [score(env, always(action), episodes, first=1000) for action in range(len(env.arms))]
    best = int(np.argmax(found))
    return {
        "random": lambda _, rng: int(rng.integers(len(env.arms))),
        f"always {best}: {spell_assignment(env.arms[best], ', ')}": always(best),
    }


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
    short: dict[str, Any] = {"step_s": 0.2, "discard_s": 0.04} if episodes == 2 else {}
    for one in (SliceEnv(**short), ParamsEnv(**short)):
        name = f"{type(one).__name__.removesuffix('Env')}-v0"
        environments[name] = (one, setting_rules(one, 1 if short else SEARCHED))
    for name, (env, rules) in environments.items():
        nr = max(episodes // 4, 2) if isinstance(env, CourseEnv) else episodes
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
