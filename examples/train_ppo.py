"""Train PPO to choose what runs next, with a warm start, and draw how it learns beside EEVDF and SRTF.

python examples/train_ppo.py [FILE.png [STEPS [WARM_START]]]
"""

import sys
import tempfile
from pathlib import Path

from schedtuna.report.figures import COLORS, new_figure, styled
from schedtuna.rl.evaluation import evaluate, mean_score
from schedtuna.rl.policy import Splits
from schedtuna.rl.training import VALIDATION_SEED, Progress, make_plan, train
from schedtuna.rl.world import World

ENVIRONMENT = "schedtuna/PickNext-v0"
PARAMETERS = {"cpus": 1, "episode_ms": 250, "reward": {"turnaround": 1}}
LOADS = Splits(
    train=[f"heavy-tail:load=0.9,member={member}" for member in range(1, 9)],
    validation=[f"heavy-tail:load=0.9,member={member}" for member in range(101, 105)],
)


def tell(progress: Progress) -> None:
    """Show how far it is, at the end of every stage."""
    if progress.title == "validating":
        print(f"{progress.done:,} of {progress.total:,} decisions  {progress.note}", flush=True)


def main(picture: Path, steps: int, warm_start: str) -> None:
    """Train, compare and draw."""
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(
            environment=ENVIRONMENT,
            parameters=PARAMETERS,
            algorithm="maskable_ppo",
            steps=steps,
            splits=LOADS,
            warm_start=warm_start,
        )
        curve = train(plan, Path(folder) / "trained", tell).curve
    world = World(ENVIRONMENT, PARAMETERS)
    rules = {
        name: mean_score(evaluate(rule, world, LOADS.validation, seed=VALIDATION_SEED))
        for name, rule in {"EEVDF": "fair", "SRTF (knows the future)": "srtf"}.items()
    }
    for name, score in {**rules, "PPO": max(point.score for point in curve)}.items():
        print(f"{name:24} {score:8.1f}")
    with styled():
        figure = new_figure(7, 4)
        axes = figure.add_subplot()
        axes.plot(
            [point.nr_steps / 1000 for point in curve],
            [point.score for point in curve],
            color=COLORS["candidate"],
            marker=".",
            label=f"PPO, after imitating {warm_start}",
        )
        for (name, score), style in zip(rules.items(), ("--", ":"), strict=True):
            axes.axhline(score, color=COLORS["default"], linestyle=style, label=name)
        axes.set(xlabel="decisions (thousands)", ylabel="score on loads it was not trained on")
        axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.25))
        figure.savefig(picture, dpi=144)
    print(f"drawn: {picture}")


if __name__ == "__main__":
    words = sys.argv[1:]
    main(
        Path(words[0]) if words else Path("learning.png"),
        int(words[1]) if len(words) > 1 else 150_000,
        words[2] if len(words) > 2 else "las",
    )
