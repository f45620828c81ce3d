"""A simulation as a trace: the same tables as a recorded one has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna import __version__
from schedtuna.errors import SimulationError, SimulationTimeoutError, UsageError, naming
from schedtuna.sim.behind import Behind
from schedtuna.sim.loads import LoadSource
from schedtuna.sim.native import LONGEST_NS, Stop, TaskState
from schedtuna.sim.schedulers import SchedulerSource
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.topology import MachineShape
from schedtuna.trace.formats.sink import Collector, Sink
from schedtuna.trace.groups import GROUP_DTYPE, GroupArray
from schedtuna.trace.schema import (
    PF_KTHREAD,
    POLICIES,
    STATIC_PRIO_NICE_0,
    TASK_DTYPE,
    TaskArray,
    TaskReason,
)
from schedtuna.trace.store import open_trace
from schedtuna.trace.trace import Trace
from schedtuna.trace.writer import TraceWriter

CLOCK = "simulated"
_LONGEST_COMM = TASK_DTYPE["comm"].itemsize - 1


def simulate(
    workload: LoadSource,
    scheduler: SchedulerSource = "fair",
    *,
    cpus: int | None = None,
    topology: MachineShape | str | None = None,
    seed: int = 1,
    noise_seed: int | None = None,
    duration_s: float | None = None,
    costs: Mapping[str, int] | None = None,
    swaps: Sequence[tuple[float, SchedulerSource]] = (),
    trace: Path | str | None = None,
    force: bool = False,
    compact: bool = False,
    on_start: Callable[[Simulation], None] | None = None,
    timeout_s: float | None = None,
    coverage: bool = False,
    settings: Path | None = None,
) -> Trace:
    """Simulate a load from its beginning, and return what happened.

    Args:
        workload: As for `Simulation`.
        scheduler: As above.
        cpus: As above.
        topology: As above.
        seed: As above.
        noise_seed: As above.
        duration_s: Simulated time. Default, and at most: the workload's own end, if it has one.
        costs: As for `Simulation`.
        swaps: Which scheduler takes over when (seconds): `Simulation.swap`.
        trace: A folder for the trace; default: it stays in memory, 32 bytes an event.
        force: Replace a trace in that folder.
        compact: Compress it at its end: to a tenth of the 32 bytes an event, for twice the time.
        on_start: Called with the simulation before it goes on.
        timeout_s: Seconds, of ours, after which it is given up.
        coverage: Let a sched_ext object count which of its instructions run; the manifest tells.
        settings: As for `Simulation`.

    Returns:
        A trace whose clock is ``simulated``; `manifest["simulation"]` says of what.

    Raises:
        UsageError: See `Simulation`; or the folder holds something.
        SimulationError: The scheduler broke a rule of the kernel's, or tasks wait for each other for ever.
        SimulationTimeoutError: It was given up.
        UnavailableError: The native module or polars is not there.
    """
    if duration_s is not None and not 0 < duration_s <= LONGEST_NS / 1e9:
        raise UsageError(f"a duration of {duration_s} s: expected more than 0, and 104 days at most")
    simulation = Simulation(
        workload,
        scheduler,
        cpus=cpus,
        topology=topology,
        seed=seed,
        noise_seed=noise_seed,
        costs=costs,
        duration_s=duration_s,
        traced=True,
        coverage=coverage,
        settings=settings,
    )
    if on_start is not None:
        on_start(simulation)
    until_ns = None if duration_s is None else round(duration_s * 1e9)
    if trace is None:
        collector = Collector({"schedtuna_version": __version__, "clock": CLOCK} | _manifest(simulation))
        _write(simulation, _stages(simulation, until_ns, swaps), timeout_s, collector)
        return collector.trace()
    folder = Path(trace)
    facts = _manifest(simulation)
    with (
        naming(folder),
        TraceWriter(folder, facts, clock=CLOCK, force=force, compacts=compact) as writer,
        Behind(writer) as sink,
    ):
        _write(simulation, _stages(simulation, until_ns, swaps), timeout_s, sink)
    return open_trace(folder)


def _stages(
    simulation: Simulation, until_ns: int | None, swaps: Sequence[tuple[float, SchedulerSource]]
) -> Iterator[Stop]:
    for at_s, scheduler in sorted(swaps, key=lambda swap: swap[0]):
        at_ns, stop = round(at_s * 1e9), Stop.TIME
        if until_ns is not None and at_ns >= until_ns:
            break
        for stop in simulation.stages(at_ns):
            yield stop
        if stop is not Stop.TIME or simulation.now_ns < at_ns:  # the load has ended
            return
        simulation.swap(scheduler)
    yield from simulation.stages(until_ns)


def _write(
    simulation: Simulation, stages: Iterator[Stop], timeout_s: float | None, sink: Sink | Behind
) -> None:
    end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
    sink.write_cpu_sets(simulation.cpu_sets())
    sink.write_groups(_groups(simulation))
    try:
        stop = Stop.TIME
        for stop in stages:
            sink.write_events(simulation.take_events())
            sink.write_attributes(simulation.take_attributes())
            if time.monotonic() > end_s and stop is Stop.TIME:
                raise SimulationTimeoutError(
                    f"{simulation.now_ns / 1e9:.3f} s were simulated in {timeout_s:.1f} s, the timeout"
                )
        if stop is Stop.DECISION:
            raise UsageError(
                "external decides nothing by itself",
                hint="Simulation, in Python, asks for its decisions: docs/simulator.md",
            )
        if stop is Stop.DEADLOCK:
            raise SimulationError(
                f"deadlock after {simulation.now_ns / 1e9:.6f} s: {simulation.waiting()}",
                hint="no timer and no task that runs will ever wake them up: mend the workload",
            )
        sink.update_manifest(_result(simulation, stop))
    finally:  # also of one that is interrupted, whose events are there
        sink.write_tasks(_task_rows(simulation))
        sink.write_cgroups(_cgroups(simulation))


def _manifest(simulation: Simulation) -> dict[str, Any]:
    return {
        "mode": "simulated",
        "label": None,
        "command": [],
        "nr_cpus": simulation.shape.nr_cpus,
        "attributes": {},
        "groups": {},
        "simulation": {
            "workload": simulation.load_facts,
            "scheduler": simulation.scheduler_facts,
            "swaps": [{"at_ns": at_ns, "scheduler": facts} for at_ns, facts in simulation.swaps],
            "topology": str(simulation.shape),
            "seed": simulation.seed,
            "noise_seed": simulation.noise_seed,
            "costs": simulation.costs,
        },
    }


def _result(simulation: Simulation, stop: Stop) -> dict[str, Any]:
    facts = _manifest(simulation)["simulation"]
    if executed := simulation.executed():
        facts["executed"] = {name: list(counts) for name, counts in executed.items()}
    totals = vars(simulation.totals) | {"hash": f"{simulation.totals.hash:016x}"}
    return {
        "window_ns": [0, simulation.now_ns],
        "duration_s": simulation.now_ns / 1e9,
        "simulation": facts | {"stop": stop.name.lower(), "totals": totals},
    }


def _task_rows(simulation: Simulation) -> TaskArray:
    """Return the task table: one row per task that was born, as it was at last."""
    born = [task for task in simulation.state().tasks if task.state is not TaskState.UNBORN]
    tids = np.array([task.id + 1 for task in born], np.int64)
    tallies = simulation.tallies()
    tallies = [tallies[task.id] for task in born]
    dead_ns = [dead for _, dead, *_ in tallies]
    rows = np.zeros(len(born), TASK_DTYPE)
    rows["timestamp_ns"] = [simulation.now_ns if dead is None else dead for dead in dead_ns]
    rows["reason"] = [TaskReason.SNAPSHOT if dead is None else TaskReason.EXIT for dead in dead_ns]
    rows["start_time_ns"] = [born for born, *_ in tallies]
    rows["tid"] = rows["tgid"] = tids
    rows["ppid"] = [0 if task.parent is None else task.parent + 1 for task in born]
    rows["cgroup_id"] = [task.group + 1 for task in born]
    rows["prio"] = rows["static_prio"] = [STATIC_PRIO_NICE_0 + task.nice for task in born]
    rows["policy"] = [POLICIES.index(task.policy.name) for task in born]
    rows["flags"] = [PF_KTHREAD if task.is_kthread else 0 for task in born]
    rows["comm"] = [task.name.encode()[:_LONGEST_COMM] for task in born]
    for name in ("cpu_time_ns", "weight", "slice_ns", "cpu"):
        rows[name] = [getattr(task, name) for task in born]
    rows["nr_voluntary_switches"] = [voluntary for *_, voluntary, _ in tallies]
    rows["nr_involuntary_switches"] = [involuntary for *_, involuntary in tallies]
    return rows


def _cgroups(simulation: Simulation) -> dict[int, str]:
    """Return the groups' paths, which are their names."""
    return {group: name or "/" for group, (name, *_) in enumerate(simulation.load.groups, 1)}


def _groups(simulation: Simulation) -> GroupArray:
    groups = simulation.load.groups
    rows = np.zeros(len(groups), GROUP_DTYPE)
    rows["id"] = np.arange(1, len(groups) + 1)
    rows["parent_id"] = [0 if parent is None else parent + 1 for _, parent, _ in groups]
    rows["shares"] = [shares for _, _, shares in groups]
    return rows
