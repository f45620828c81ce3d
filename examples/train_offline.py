"""Learn from simulated loads which bursts are short, and let the best model schedule other loads.

python examples/train_offline.py [DIR [SECONDS]]
"""

import sys
from pathlib import Path

from schedtuna.learn.building import build_dataset
from schedtuna.learn.decision_value import decision_values
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.sources import RunSource
from schedtuna.learn.training_run import TrainingOptions, train_models
from schedtuna.model.file import write_model
from schedtuna.sim import simulate
from schedtuna.sim.model_scheduler import ModelScheduler

FAMILIES = ("poisson", "heavy-tail", "interactive", "fork-join")
LOADS = ("poisson:load=0.9,member=9", "interactive:load=0.9,member=9")
FEATURES = ("burst_ns", "burst_2_ns", "burst_mean_ns", "burst_median_ns", "sleep_mean_ns")


def main(folder: Path, seconds: float) -> None:
    """Train, print who foretells bursts best, write the best model, and let it decide."""
    names = [f"{family}:load=0.8,member={member}" for family in FAMILIES for member in range(3)]
    sources = [RunSource.of(simulate(name, cpus=2, seed=1, duration_s=seconds), name) for name in names]
    dataset = build_dataset(sources, BuildOptions(task="burst", split="run"))
    options = TrainingOptions(models=("tree", "linear", "running_median"), features=FEATURES, budget=1)
    (found,) = train_models(dataset, options)
    for one in found.outcomes:
        auc, off = one.metrics["auc"], one.metrics["octaves_off"]
        print(f"{one.name:15} AUC {auc.mean or 0:.3f}, off by {off.mean or 0:.2f} octaves")
    best = found.best.fitted
    assert best is not None
    write_model(best.model, folder / "best.safetensors")
    scheduler = ModelScheduler(best.model)
    for worth in decision_values({best.algorithm: scheduler}, loads=LOADS, seeds=(1,), seconds=seconds):
        print(f"{worth.scheduler:15} turnaround {worth.turnaround:.3f} of fair's")
    print(f"schedtuna model check {folder / 'best.safetensors'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), float(sys.argv[2]) if len(sys.argv) > 2 else 4)
