"""Reinforcement learning on a scheduler: progress, a bound to keep, and a study that builds on another.

    python examples/advanced_usage.py [EPISODES [COMMAND...]]

Needs the extra `rl`.
"""

import sys
from pathlib import Path
from typing import Any

from schedtuna import RLSchedulerOptimizer


def show(event: Any) -> None:
    """Print one run: of the search, or of the proof."""
    trial = event.record.trial
    print(f"{event.done:4}/{event.total}", event.record.phase, trial.validity, trial.values, file=sys.stderr)


def main(episodes: int, *command: str) -> None:
    """Train, test what was found, and train again from there."""
    config = {
        "scheduler_name": "fair",
        "algorithm": "ppo",
        "episodes": episodes,
        "benchmark_cmd": command or None,
        "optimize_metric": "wall_time_s:min",
        "requirements": ["max_rss_kib<=4000000"],  # kept with confidence, or it is not the winner
        "learning_rate": 3e-3,
        "update_frequency": 5,
        "save_frequency": 10,
        "use_gpu": False,
        "seed": 1,
    }
    optimizer = RLSchedulerOptimizer(config)
    print("searches over", ", ".join(optimizer.get_scheduler_info()["parameters"]))
    first = optimizer.train(on_event=show)
    print("first study:", first["verdict"], first["best_parameters"])

    tested = optimizer.test(first["experiment_path"], test_runs=5)
    print(f"tested: {tested['metric']} {tested['mean']:.4g} +- {tested['sd']:.2g}")

    folder = Path(first["experiment_path"])
    checkpoint = max(folder.glob("checkpoint_episode_*.pt"), key=lambda path: path.stat().st_mtime)
    again = RLSchedulerOptimizer(
        {**config, "pretrained_model_path": checkpoint, "warm_start": [folder], "seed": 2}
    )
    second = again.train()
    print("second study:", second["verdict"], second["best_parameters"])


if __name__ == "__main__":
    given, *rest = sys.argv[1:] or ["60"]
    main(int(given), *rest)
