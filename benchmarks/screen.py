"""How many real runs does a model save that is asked first what to try, and what does a wrong one cost?

What stands for the machine is a simulated one as well, with constants that the model doesn't have and noise
of its own: 2 CPUs, a load that draws anew in every run. One run of it is recorded, and `tune --screen sim`
replays that with the default constants. Three searches with equal budgets: without a model, with it, and with
one that is wrong on purpose (its costs turned round, or dealt out to other settings). After so many runs each
nominates; what it nominates is confirmed on fresh interleaved runs, else the default stays. What is deployed
so has a mean cost: equal costs are equal regrets.

    python benchmarks/screen.py --rows rows.jsonl

It appends what is done, and continues; a load takes about three minutes of one core per replicate of ten.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.backend.places.simulated import KNOBS
from schedtuna.evidence.design import MAX_BLOCKS, Arm, plan_campaign
from schedtuna.evidence.sequential import Sequential
from schedtuna.evidence.verdict import Block, Verdict
from schedtuna.history.objective import Objective
from schedtuna.history.plan import Screen
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.registry import DEFAULT_SAMPLER, make_sampler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.schedulers import parsed_scheduler
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.traced import simulate
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue
from schedtuna.trace.aggregates.metrics import SCHED_METRICS
from schedtuna.tune.replica import Replica
from schedtuna.tune.screen import screen
from schedtuna.workload.spec import Direction, MetricSpec
from screen_summary import MARKS, summary

# Loads, and what they are tuned for.
LOADS = dict.fromkeys(
    [
        f"{name}:load=0.9"
        for name in ("heavy-tail", "interactive", "poisson", "bursts", "fork-join", "ping-pong")
    ],
    "sched.wakeup_latency_mean_us",
)
ARMS = ("without", "screened", "turned round", "dealt out")
MACHINE = {
    "context_switch_ns": 3000,
    "wakeup_ns": 2500,
    "idle_exit_ns": 15_000,
    "migration_ns": 30_000,
    "tick_skew_ns": 500_000,
    "kthread_per_s": 60,
    "kthread_ns": 150_000,
}
SHAPE = MachineShape.of(2, None)
SECONDS = 1
BASELINE_RUNS = 3
NR_FRESH = 24  # runs of what is nominated, of which confirmations are drawn
NR_CONFIRMATIONS = 4
EARLIER = 1000  # seeds of the searches begin there


def machine_parameters() -> dict[str, ParameterSpec]:
    """What a search varies: the tasks' slice and policy, and what of `fair` a machine has."""
    known = parsed_scheduler("fair").parameters
    slice_us = ParameterSpec(
        name="slice_us", type=ParameterType.INTEGER, default=2800, min_value=100, max_value=100_000, log=True
    )
    policy = ParameterSpec(
        name="policy", type=ParameterType.CATEGORICAL, default="other", choices=("other", "batch", "idle")
    )
    others = {name: known[name] for name in KNOBS if name != "base_slice_us"}
    return {"slice_us": slice_us, "policy": policy} | others


@dataclass(frozen=True)
class Machine:
    """What stands for a real one, under one load."""

    load: str
    metric: MetricSpec
    replica: Replica
    fresh: dict[tuple[ParameterValue, ...], list[float]] = field(default_factory=dict)
    confirmed: dict[tuple[ParameterValue, ...], float] = field(default_factory=dict)

    @cached_property
    def reference(self) -> float:
        """The default's figure, as a median of many runs."""
        return float(np.median([self.figure(SPACE.default(), seed) for seed in range(30, 46)]))

    def figure(self, values: dict[str, ParameterValue], seed: int) -> float:
        """One run."""
        return float(self.replica.run(values, seed=seed)[SCHED_METRICS[self.metric.name].column] or 0.0)

    def cost(self, values: dict[str, ParameterValue], seed: int) -> float:
        """One run, on the default's scale."""
        return Objective((self.metric,), {self.metric.name: self.reference}).cost(
            {self.metric.name: self.figure(values, seed)}
        )

    def pool(self, values: dict[str, ParameterValue]) -> list[float]:
        """Fresh runs of a setting."""
        key = SPACE.key(values)
        if key not in self.fresh:
            self.fresh[key] = [self.cost(values, seed) for seed in range(100, 100 + NR_FRESH)]
        return self.fresh[key]

    def deployed(self, values: dict[str, ParameterValue], rng: np.random.Generator) -> float:
        """The mean cost of what is deployed after confirmations of a setting, whoever nominates it."""
        if values == SPACE.default():
            return 0.0
        own, default = self.pool(values), self.pool(SPACE.default())
        key = SPACE.key(values)
        if key not in self.confirmed:
            self.confirmed[key] = float(
                np.mean([_confirmed(default, own, rng) for _ in range(NR_CONFIRMATIONS)])
            )
        return float(self.confirmed[key] * (np.mean(own) - np.mean(default)))


SCHEDULER = SchedulerConfig(name="fair", parameters=machine_parameters())
SPACE = SCHEDULER.space


def _confirmed(default: list[float], own: list[float], rng: np.random.Generator) -> bool:
    study = Sequential(Direction.MIN, max_blocks=MAX_BLOCKS)
    for plan in plan_campaign(rng, MAX_BLOCKS):
        if study.should_stop():
            break
        drawn = {arm: float(np.exp(rng.choice(own if arm is Arm.B else default))) for arm in plan.order}
        study.add(Block(plan.order, drawn))
    return study.result().verdict is Verdict.IMPROVED


def machine_under(load: str) -> Machine:
    """Return the machine under a load."""
    replica = Replica(
        {**_member(load)}, SCHEDULER, shape=SHAPE, costs=MACHINE, whose=_everybody, is_model=True
    )
    return Machine(load, MetricSpec(name=LOADS[load], direction=Direction.MIN), replica)


def _member(load: str) -> dict[str, Any]:
    from schedtuna.workload.families import family

    name, _, share = load.partition(":load=")
    return family(name, 1, SHAPE.nr_cpus, float(share), seconds=SECONDS)


def _everybody(load: RecordedLoad) -> Any:
    return np.ones(load.lives.nr_tasks, np.bool_)


def asked(machine: Machine, seed: int, settings: int) -> Screen:
    """Record one run, and ask the model."""
    trace = simulate(_member(machine.load), "fair", topology=SHAPE, seed=seed, costs=MACHINE)
    replica = Replica(RecordedLoad(trace), SCHEDULER, shape=SHAPE, costs={}, whose=_everybody, is_model=True)
    found, _ = screen(replica, SPACE, (machine.metric,), load=machine.load, seed=seed, most=settings)
    return found


def said(arm: str, screened: Screen, rng: np.random.Generator) -> list[Observation]:
    """What a search is told."""
    costs = np.array([run.cost for run in screened.runs], float)
    if arm == "turned round":
        costs = -costs
    elif arm == "dealt out":
        rng.shuffle(costs)
    return [
        Observation(SPACE.validate_assignment(run.values), float(cost))
        for run, cost in zip(screened.runs, costs, strict=True)
    ]


def search(
    machine: Machine, arm: str, screened: Screen, seed: int, marks: tuple[int, ...]
) -> dict[int, float]:
    """The cost of what is deployed, by runs."""
    rng = np.random.default_rng([seed, ARMS.index(arm)])
    sampler = make_sampler(DEFAULT_SAMPLER, SPACE, budget=max(marks), rng=np.random.default_rng([seed, 9]))
    if arm != "without" and screened.runs:
        sampler.trust(said(arm, screened, rng))
    found = {}
    for run in range(1, max(marks) + 1):
        values = SPACE.default() if run <= BASELINE_RUNS else sampler.ask()
        sampler.tell(Observation(values, machine.cost(values, EARLIER * seed + run)))
        if run in marks:
            found[run] = machine.deployed(sampler.recommend(), rng)
    return found


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loads", nargs="*", choices=LOADS, default=list(LOADS))
    parser.add_argument("--replicates", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the first replicate")
    parser.add_argument("--settings", type=int, default=600, help="that the model tries")
    parser.add_argument("--rows", type=Path, help="JSON lines: continue what is there, append what is done")
    parser.add_argument("--quick", action="store_true", help="one load, one replicate, few runs")
    options = parser.parse_args()
    marks = MARKS[:3] if options.quick else MARKS
    loads = options.loads[:1] if options.quick else options.loads
    rows = [] if options.rows is None or not options.rows.exists() else _read(options.rows)
    done = {(row["load"], row["seed"]) for row in rows}
    machines = {load: machine_under(load) for load in loads}
    for seed in range(options.seed, options.seed + (1 if options.quick else options.replicates)):
        for load, machine in machines.items():
            if (load, seed) in done:
                continue
            screened = asked(machine, seed, 40 if options.quick else options.settings)
            costs = {arm: search(machine, arm, screened, seed, marks) for arm in ARMS}
            rows.append({"load": load, "seed": seed, "settings": screened.nr_settings, "costs": costs})
            if options.rows is not None:
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
            print(f"{load} {seed}", file=sys.stderr)
    print(json.dumps({"benchmark": "screen", **summary(json.loads(json.dumps(rows)), marks)}, indent=2))


def _read(path: Path) -> list[dict[str, Any]]:
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


if __name__ == "__main__":
    main()
