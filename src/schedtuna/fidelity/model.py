"""The simulated side: a load at all phases of the tick, as the model has it or wrong on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schedtuna.fidelity import rules
from schedtuna.fidelity.loads import PlayedLoad
from schedtuna.fidelity.measure import SETTLED_S, Interruptions, RunFigures, measured
from schedtuna.fidelity.rules import Control
from schedtuna.sim.native import cost_table, scheduler_table
from schedtuna.sim.schedulers import scheduler_text
from schedtuna.sim.topology import MachineShape
from schedtuna.sim.traced import simulate

_MATCHINGS = 4
_MOST_PER_S = 5000.0
_TICKS_NS = 4_000_000  # over which phases are spread where there are no ticks


@dataclass(frozen=True)
class Model:
    """What is held against the machine.

    Attributes:
        shape: Its CPUs.
        costs: Constants that differ from the defaults.
        parameters: Of `fair`, that differ from the defaults.
    """

    shape: MachineShape
    costs: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)

    def under(self, control: Control | None) -> tuple[str, dict[str, int]]:
        """Return the scheduler and the constants, as they are or wrong on purpose."""
        defaults = {name: initial for name, initial, *_ in cost_table()}
        costs = defaults | dict(self.costs)
        parameters = dict(self.parameters)
        scheduler = "fair"
        if control:
            scheduler = control.scheduler or scheduler
            costs |= control.costs or {}
            if control.zero_costs:
                costs = dict.fromkeys(costs, 0) | {
                    name: costs[name] for name in ("tick_ns", "kthread_per_s", "kthread_ns")
                }
            initial = fair_defaults()
            for name, factor in control.parameters:
                parameters[name] = parameters.get(name, initial[name]) * factor
        return scheduler_text(scheduler, parameters if scheduler == "fair" else {}), costs


def fair_defaults() -> dict[str, int]:
    """What every parameter of `fair` is without a word; switches are 0 or 1."""
    return {row[0]: row[2] for name, _, rows in scheduler_table() if name == "fair" for row in rows}


def nr_simulated(nr_runs: int) -> int:
    """How many runs of a load are simulated: a multiple of the real ones, at enough phases of the tick."""
    return nr_runs * max(2, -(-rules.FEWEST_PHASES // nr_runs))


def matched_noise(load: PlayedLoad, model: Model, seen: Interruptions) -> Interruptions:
    """Return how often kernel threads are to wake up for tasks of others to run as often as they were seen.

    They wait for the CPU, too, so that they come less often than they would like to.
    """
    asked = seen
    if not seen.per_s:
        return asked
    for _ in range(_MATCHINGS):
        came = simulated_runs(load, model, [0], noise=asked, nr_runs=1)[0].interruptions
        if not came.per_s:
            break
        most = min(_MOST_PER_S, 10 * seen.per_s)
        asked = Interruptions(
            per_s=min(asked.per_s * seen.per_s / came.per_s, most),
            mean_ns=asked.mean_ns * seen.mean_ns / came.mean_ns,
            share=seen.share,
        )
    return asked


def simulated_runs(
    load: PlayedLoad,
    model: Model,
    seeds: Sequence[int],
    *,
    control: Control | None = None,
    noise: Interruptions | None = None,
    nr_runs: int | None = None,
) -> list[RunFigures]:
    """Simulate a load with each seed, begun at phases of the tick that lie evenly in it.

    Args:
        load: What runs.
        model: On what.
        seeds: What it draws, as the real runs did; each is used equally often.
        control: Makes the model wrong on purpose.
        noise: Tasks of others on the machine, which come as kernel threads here.
        nr_runs: How many; default: `nr_simulated`.
    """
    scheduler, costs = model.under(control)
    if noise is not None:
        costs |= {"kthread_per_s": round(noise.per_s), "kthread_ns": max(1, round(noise.mean_ns))}
    tick_us = (costs["tick_ns"] or _TICKS_NS) // 1000
    nr_runs = nr_runs or nr_simulated(len(seeds))
    runs = []
    for k in range(nr_runs):
        delay_us = 1 + tick_us * k // nr_runs
        seed = seeds[k % len(seeds)]
        trace = simulate(
            load.simulated(delay_us, control),
            scheduler,
            topology=model.shape,
            seed=seed,
            noise_seed=seed * nr_runs + k,
            costs=costs,
            duration_s=load.seconds + delay_us / 1e6,
        )
        window_s = (SETTLED_S + delay_us / 1e6, load.seconds + delay_us / 1e6)
        runs.append(measured(trace, seed, window_s, load.cpus))
    return runs
