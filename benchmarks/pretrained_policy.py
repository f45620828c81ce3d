"""Makes the policy that comes with the package, and says what it is worth beside rules that learn nothing.

    OMP_NUM_THREADS=1 python benchmarks/pretrained_policy.py            # what the one that is there is worth
    OMP_NUM_THREADS=1 python benchmarks/pretrained_policy.py --write    # train it anew first

PPO after an imitation of LAS, in the leaderboard's environment, with three seeds; the one that validates best
is kept. It is compared on loads that none was trained on or chosen by; costs are over EEVDF's, as there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rl_leaderboard import ENVIRONMENT, PARAMETERS, costs
from schedtuna.rl.comparing import compare
from schedtuna.rl.loads import splits_for
from schedtuna.rl.policy import save_policy
from schedtuna.rl.pretrained import find_policy, pretrained_path
from schedtuna.rl.training import make_plan, train
from schedtuna.rl.world import World

NAME = "pretrained"
SEEDS, STEPS = (1, 2, 3), 98_304
RULES = ("fair", "las", "fifo", "srtf")
EPISODES, EPISODES_SEED = 64, 3


def write(steps: int, path: Path) -> None:
    """Train with each seed, and keep the policy that validates best."""
    found = []
    for seed in SEEDS:
        plan = make_plan(
            environment=ENVIRONMENT,
            parameters=PARAMETERS,
            algorithm="maskable_ppo",
            steps=steps,
            seed=seed,
            splits=splits_for(ENVIRONMENT, [], [], []),
            warm_start="las",
        )
        with tempfile.TemporaryDirectory() as folder:
            found.append(train(plan, Path(folder) / "trained").policy)
    save_policy(max(found, key=lambda policy: policy.manifest.validation or 0.0), path)


def card() -> dict[str, Any]:
    """What it is worth on the test loads: by the leaderboard's costs, and by paired differences to rules."""
    policy = find_policy(NAME)
    world = World(ENVIRONMENT, policy.manifest.parameters)
    turnaround, latency = costs(policy, world, "test")
    found = compare([NAME, *RULES], policy.manifest.splits.test, {}, seed=EPISODES_SEED, episodes=EPISODES)
    return {
        "bytes": pretrained_path(NAME).stat().st_size,
        "seed": policy.manifest.seed,
        "validation": policy.manifest.validation,
        "turnaround": round(turnaround, 4),
        "latency": round(latency, 4),
        "episodes": found.nr_episodes,
        "against": {
            side.name: {
                "score": round(side.score, 2),
                "difference": None if side.difference is None else round(side.difference, 2),
                "ci95": None if side.low is None else [round(side.low, 2), round(side.high or 0.0, 2)],
                "verdict": side.verdict,
            }
            for side in found.sides
        },
    }


def main() -> None:
    """Read the options; train, if that is asked for, and print the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="train it anew, in the package's folder")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    if options.write:
        write(options.steps, pretrained_path(NAME))
    print(json.dumps({"benchmark": "pretrained_policy", **card()}, indent=2))


if __name__ == "__main__":
    main()
