"""How many decisions until a policy is as good as EEVDF, with and without a start from somebody else's?

    OMP_NUM_THREADS=1 python benchmarks/rl_warm_start.py [--steps 40000] [--seeds 1 2 3]

The model foretells bursts by the burst before, trained on simulated members of four families that are neither
trained nor validated on here. PPO then learns in PickNext-v0 on one CPU, from nothing, or after imitating
the model or the scheduler LAS; decisions that are shown count, too. One that only imitates stands beside
them: what it lacks is what learning is worth. Scores are validations, EEVDF's is -100.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from schedtuna.learn.building import build_dataset
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.sources import RunSource
from schedtuna.learn.training_run import TrainingOptions, train_models
from schedtuna.model.file import write_model
from schedtuna.rl.loads import splits_for
from schedtuna.rl.training import make_plan, train
from schedtuna.sim import simulate

ENVIRONMENT = "schedtuna/PickNext-v0"
PARAMETERS: dict[str, Any] = {"cpus": 1, "episode_ms": 250, "reward": {"turnaround": 1}}
FAMILIES = ("poisson", "heavy-tail", "bursts", "interactive")
MEMBERS = range(50, 54)
EEVDF = -100.0
PPO, IMITATION = "maskable_ppo", "imitation"


def write_burst_model(path: Path) -> None:
    """Train boosted trees on the burst before."""
    names = [f"{family}:load=0.9,member={member}" for family in FAMILIES for member in MEMBERS]
    sources = [RunSource.of(simulate(name, cpus=1, seed=9, duration_s=2), name) for name in names]
    dataset = build_dataset(sources, BuildOptions(task="burst", split="run"))
    options = TrainingOptions(models=("lightgbm",), features=("burst_ns",), budget=1)
    (outcome,) = train_models(dataset, options)
    fitted = outcome.best.fitted
    assert fitted is not None
    write_model(fitted.model, path)


def curve(seed: int, steps: int, algorithm: str, warm_start: str, folder: Path) -> dict[str, Any]:
    """Train once, and tell when validations reach EEVDF's level."""
    plan = make_plan(
        environment=ENVIRONMENT,
        parameters=PARAMETERS,
        algorithm=algorithm,
        steps=steps,
        seed=seed,
        splits=splits_for(ENVIRONMENT, [], [], []),
        warm_start=warm_start,
    )
    found = train(plan, folder)
    reached = [point.nr_steps for point in found.curve if point.score >= EEVDF]
    return {
        "seed": seed,
        "first_at_eevdf": reached[0] if reached else None,
        "curve": [[point.nr_steps, round(point.score, 2)] for point in found.curve],
        "test": found.policy.manifest.test,
    }


def main() -> None:
    """Print all arms' curves."""
    parser = argparse.ArgumentParser(
        description="Decisions until EEVDF's level, from a model, a scheduler or nothing."
    )
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    arms: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "bursts.safetensors"
        write_burst_model(model)
        starts = {
            "from nothing": (PPO, ""),
            "from a model": (PPO, str(model)),
            "from LAS": (PPO, "las"),
            "imitates the model": (IMITATION, str(model)),
            "imitates LAS": (IMITATION, "las"),
        }
        for number, (arm, (algorithm, start)) in enumerate(starts.items()):
            arms[arm] = [
                curve(seed, given.steps, algorithm, start, Path(place) / f"{number}-{seed}")
                for seed in given.seeds
            ]
    told = {
        arm: {
            "steps_to_eevdf": [each["first_at_eevdf"] for each in runs],
            "best_validation": round(statistics.median(max(s for _, s in each["curve"]) for each in runs), 2),
            "test": round(statistics.median(each["test"] for each in runs), 2),
        }
        for arm, runs in arms.items()
    }
    print(json.dumps({"benchmark": "rl_warm_start", "eevdf": EEVDF, "medians": told, "runs": arms}))


if __name__ == "__main__":
    main()
