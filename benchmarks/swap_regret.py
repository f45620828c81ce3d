"""Is it worth swapping schedulers? Deciders of the agent's policy `swap` in schedtuna/Swap-v0, by families.

A family is two regimes or more, in each of which another scheduler is the best, by 20% of L over those that
are the best in the others. Loads come in an order that nobody is told, and go on for some steps each.
Deciders learn on training episodes, whose loads are at other strengths than the tested ones; the best fixed
scheduler, and the best one for each load, are chosen there, too. What keeps a floor has the agent's canary,
which leaves out what costs three times the default's. Costs are L, swaps included, over that of
`fair`: 1 is the default. The clairvoyant switcher knows which load comes next.

    python benchmarks/swap_regret.py [--quick] [--seed N] [--family NAME] [--plot FILE.svg] [--csv FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.agent.policies.params import RegimeCondition
from schedtuna.agent.swap.canary import Canary
from schedtuna.agent.swap.deciders import (
    EpsilonGreedyDecider,
    FloatArray,
    LinUcbDecider,
    RegimeDecider,
    SwapDecider,
    SwapSight,
    UcbDecider,
    one_hot,
)
from schedtuna.agent.swap.simulated import SwapStep, run_episode
from schedtuna.agent.swap.softmax import SoftmaxDecider
from schedtuna.env.swap import SwapEnv
from schedtuna.features.observed import OBSERVED

ARMS = ("fair", "rr:slice_us=3000", "fifo", "las")
NR_OBSERVED = len(OBSERVED) + len(ARMS)
TRAINED_AT, TESTED_AT = (0.78, 0.82), (0.80,)
# Found by running each scheduler alone on each kind of load, before a decider ran on any of them.
FAMILIES = {
    "tails and barriers": ("heavy-tail", "barrier"),
    "requests and bursts": ("poisson", "bursts"),
    "interaction and barriers": ("interactive", "barrier"),
}
# By what a person who has seen the loads tells them apart: a condition, and whose it is.
RULES = {
    "tails and barriers": ("nr_threads <= 10", "barrier"),
    "requests and bursts": ("cpu_percent >= 95", "bursts"),
    "interaction and barriers": ("cpu_percent < 80", "barrier"),
}
STEPS, STEPS_PER_LOAD, STEP_S = 24, 6, 2.0
SWAP_NS = 100_000_000  # a step is twenty times as long
MARGIN, NON_INFERIOR = 0.20, 0.05
NR_DRAWS = 4000  # of the bootstrap

Episodes = list[list[SwapStep]]


class FixedDecider(RegimeDecider):
    """The same scheduler always."""

    def __init__(self, arm: int) -> None:
        super().__init__([(lambda _values: True, arm)], len(ARMS))


class ClairvoyantDecider(FixedDecider):
    """Knows which arm is the best for each step that comes."""

    def __init__(self, best: Sequence[int]) -> None:
        super().__init__(0)
        self._best = list(best)

    def propensities(self, sight: SwapSight) -> FloatArray:
        """Return 1 for the next one."""
        return one_hot(self._best.pop(0), len(sight.allowed))


@dataclass
class Judged:
    """A family, judged.

    Attributes:
        name: Of the family.
        best_for: The best arm for each load, by the training.
        costs: Each arm's mean cost for each load there.
        best_fixed: The best arm for all of them.
        episodes: Tested, by who decided.
    """

    name: str
    best_for: dict[str, int]
    costs: dict[str, FloatArray]
    best_fixed: int
    episodes: dict[str, Episodes] = field(default_factory=dict)

    def margin(self, load: str) -> float:
        """By how much the best of the other loads are worse for this one."""
        costs, best = self.costs[load], self.best_for[load]
        others = set(self.best_for.values()) - {best}
        return min((float(costs[other] / costs[best]) - 1 for other in others), default=0.0)

    def told(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        regimes = {
            load: {
                "best": ARMS[best],
                "margin": round(self.margin(load), 3),
                "costs": {
                    arm: round(float(cost), 3) for arm, cost in zip(ARMS, self.costs[load], strict=True)
                },
            }
            for load, best in self.best_for.items()
        }
        return {
            "family": self.name,
            "regimes": regimes,
            "has_two_regimes": min(map(self.margin, self.best_for)) >= MARGIN,
            "best_fixed": ARMS[self.best_fixed],
            "deciders": {who: self._figures(who) for who in self.episodes},
        }

    def _figures(self, who: str) -> dict[str, Any]:
        own, fixed = (_episode_costs(self.episodes[name]) for name in (who, "best fixed"))
        draws = np.random.default_rng(0).integers(len(own), size=(NR_DRAWS, len(own)))
        costs, ratios = own[draws].mean(axis=1), own[draws].mean(axis=1) / fixed[draws].mean(axis=1)
        return {
            "cost": round(float(own.mean()), 3),
            "cost_interval": _interval(costs),
            "over_best_fixed": round(float(own.mean() / fixed.mean()), 3),
            "over_best_fixed_interval": _interval(ratios),
            "swaps_per_episode": round(
                float(np.mean([sum(step.swapped for step in one) for one in self.episodes[who]])), 1
            ),
            "is_non_inferior": bool(np.quantile(ratios, 0.975) < 1 + NON_INFERIOR),
            "is_better_than_default": bool(np.quantile(costs, 0.975) < 1),
        }


def _interval(values: FloatArray) -> list[float]:
    return [round(float(end), 3) for end in np.quantile(values, (0.025, 0.975))]


def _episode_costs(episodes: Episodes) -> FloatArray:
    costs: FloatArray = np.array([[step.cost for step in one] for one in episodes]).mean(axis=1)
    return costs


def _env(loads: Sequence[str], levels: Sequence[float]) -> SwapEnv:
    named = [f"{name}:load={level}" for level in levels for name in loads]
    return SwapEnv(
        named,
        cpus=4,
        costs={"swap_ns": SWAP_NS},
        schedulers=ARMS,
        steps=STEPS,
        steps_per_load=STEPS_PER_LOAD,
        step_s=STEP_S,
        discard_s=STEP_S / 4,
    )


def _kind(load: str) -> str:
    return load.partition(":")[0]


def _run(env: SwapEnv, decider: SwapDecider, nr: int, seed: int, *, canary: Canary | None = None) -> Episodes:
    rng = np.random.default_rng(seed)
    return [run_episode(env, decider, rng, seed=seed + i, canary=canary) for i in range(nr)]


def _measured(name: str, loads: Sequence[str], env: SwapEnv, nr: int, seed: int) -> Judged:
    """Run each arm alone, and find the best."""
    runs = [_run(env, FixedDecider(arm), nr, seed) for arm in range(len(ARMS))]
    costs = {
        load: np.array(
            [np.mean([s.cost for one in run for s in one if _kind(s.load) == load]) for run in runs]
        )
        for load in loads
    }
    best_for = {load: int(own.argmin()) for load, own in costs.items()}
    fixed = int(np.argmin([_episode_costs(run).mean() for run in runs]))
    return Judged(name, best_for, costs, fixed)


def _rules(judged: Judged) -> RegimeDecider:
    """What a person might write who has seen the loads."""
    condition, load = RULES[judged.name]
    other = next(arm for name, arm in judged.best_for.items() if name != load)
    regimes = [(RegimeCondition.parse(condition).holds, judged.best_for[load]), (lambda _values: True, other)]
    return RegimeDecider(regimes, len(ARMS))


def judge(name: str, *, nr_training: int, nr_tested: int, seed: int) -> Judged:
    """Train and test all deciders on a family."""
    loads = FAMILIES[name]
    training, tested = _env(loads, TRAINED_AT), _env(loads, TESTED_AT)
    train_seed, test_seed = 10_000 * seed, 10_000 * seed + 5000
    judged = _measured(name, loads, training, max(nr_training // 4, 4), train_seed)
    makers: dict[str, Callable[[], SwapDecider]] = {
        "bandit": partial(LinUcbDecider, len(ARMS), NR_OBSERVED),
        "softmax": partial(SoftmaxDecider, len(ARMS), NR_OBSERVED, np.random.default_rng(seed)),
        "epsilon": partial(EpsilonGreedyDecider, len(ARMS)),
        "ucb": partial(UcbDecider, len(ARMS)),
    }
    fixed = _run(tested, FixedDecider(judged.best_fixed), nr_tested, test_seed)
    judged.episodes["best fixed"] = fixed
    judged.episodes["rules"] = _run(tested, _rules(judged), nr_tested, test_seed)
    for who, make in makers.items():
        decider = make()
        canary = Canary(ARMS) if decider.has_floor else None
        _run(training, decider, nr_training, train_seed, canary=canary)
        judged.episodes[who] = _run(tested, decider, nr_tested, test_seed, canary=canary)
    knowing = [ClairvoyantDecider([judged.best_for[_kind(step.load)] for step in one]) for one in fixed]
    judged.episodes["clairvoyant"] = [
        _run(tested, decider, 1, test_seed + i)[0] for i, decider in enumerate(knowing)
    ]
    return judged


def plot(found: Mapping[str, Mapping[str, Episodes]], path: Path) -> None:
    """Draw each family's regret against the clairvoyant switcher, added up over the tested steps."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "schedtuna"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3.2), squeeze=False)
    for axis, (name, deciders) in zip(axes[0], found.items(), strict=True):
        ideal = _flat(deciders["clairvoyant"])
        for who, episodes in deciders.items():
            if who != "clairvoyant":
                label = f"{who}: {ARMS[episodes[0][0].arm]}" if who == "best fixed" else who
                axis.plot(np.cumsum(_flat(episodes) - ideal), label=label, linewidth=1.2)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6)
    axes[0][0].set_ylabel("regret, in costs of the default", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={} if path.suffix == ".png" else {"Date": None})


def read_steps(paths: Sequence[Path]) -> dict[str, dict[str, Episodes]]:
    """Return what `write_steps` wrote, by family and decider."""
    found: dict[str, dict[str, Episodes]] = {}
    for path in paths:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                episodes = found.setdefault(row["family"], {}).setdefault(row["decider"], [])
                if row["step"] == "0":
                    episodes.append([])
                step = SwapStep(
                    row["load"], ARMS.index(row["arm"]), row["swapped"] == "1", float(row["cost"])
                )
                episodes[-1].append(step)
    return found


def write_steps(found: Sequence[Judged], path: Path) -> None:
    """Write a row per tested step and decider: what the plot is drawn from."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["family", "decider", "episode", "step", "load", "arm", "swapped", "cost"])
        for judged in found:
            for who, episodes in judged.episodes.items():
                for episode, steps in enumerate(episodes):
                    for number, step in enumerate(steps):
                        told = [_kind(step.load), ARMS[step.arm], int(step.swapped), f"{step.cost:.4f}"]
                        writer.writerow([judged.name, who, episode, number, *told])


def _flat(episodes: Episodes) -> FloatArray:
    return np.array([step.cost for one in episodes for step in one])


def main() -> None:
    """Judge what is asked for, a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=sorted(FAMILIES), action="append")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--csv", type=Path, help="every tested step")
    parser.add_argument("--drawn", type=Path, nargs="+", help="in place of running: such files, for --plot")
    asked = parser.parse_args()
    if asked.drawn:
        plot(read_steps(asked.drawn), asked.plot)
        return
    names = asked.family or list(FAMILIES)[: 1 if asked.quick else None]
    nr_training, nr_tested = (6, 3) if asked.quick else (40, 12)
    found = []
    for name in names:
        found.append(judge(name, nr_training=nr_training, nr_tested=nr_tested, seed=asked.seed))
        print(json.dumps(found[-1].told()), flush=True)
    if asked.plot:
        plot({judged.name: judged.episodes for judged in found}, asked.plot)
    if asked.csv:
        write_steps(found, asked.csv)


if __name__ == "__main__":
    main()
