"""Who could have run next, and who did? Choices of a scheduler: recorded ones, and simulated ones.

Recorded choices are those of `record --picks`, from tasks' own queues: groups of tasks are no tasks.
Simulated ones are those of the trace's own scheduler: the simulation is repeated, and must come out alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.learn.sources import SIMULATED, RunSource
from schedtuna.sim.origin import Origin
from schedtuna.trace.picks import CandidateFlag
from schedtuna.trace.picks import concatenate as concatenate_picks

IntArray = npt.NDArray[np.int64]
ALONE = "choices of one candidate: nothing is decided"
TORN = "picks whose candidates are not all there, or do not give the kernel's sums"
OF_GROUPS = "picks among groups of tasks"
_TOLD_EVERY = 2000


@dataclass(frozen=True)
class TaskChoices:
    """Choices among tasks, in time order, and all their candidates, choice by choice.

    Attributes:
        time_ns, cpu, prev_tid, nr_candidates: Of each choice; 0 ran before where the CPU idled.
        tid, is_chosen: Of each candidate.
        nr_seen: How many choices there were.
        dropped: Choices that are not here, by reason.
    """

    time_ns: IntArray
    cpu: IntArray
    prev_tid: IntArray
    nr_candidates: IntArray
    tid: IntArray
    is_chosen: npt.NDArray[np.bool_]
    nr_seen: int
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def choice(self) -> IntArray:
        """Of each candidate, the choice that it is of."""
        return np.repeat(np.arange(len(self.time_ns)), self.nr_candidates)


def choices_of(source: RunSource, *, on_choices: Callable[[int], object] = lambda _: None) -> TaskChoices:
    """Return the choices of a run with two candidates and more.

    Raises:
        DatasetError: It has none.
        TraceError: The trace is damaged, or does not say of what simulation it is.
        SimulationError: Simulated again, it does not come out alike.
    """
    found = _simulated(source, on_choices) if source.kind == SIMULATED else _recorded(source)
    if not found.nr_seen:
        raise DatasetError(
            f"{source.name} has no choices: it tells who ran, but not who else could have",
            hint="record them: schedtuna record --picks -o DIR",
        )
    return found


def _recorded(source: RunSource) -> TaskChoices:
    picks = concatenate_picks(list(source.trace.picks()))
    nr_seen = len(picks.queues)
    dropped = Counter[str]()
    of_tasks = picks.queues["level"] == 0
    if nr_seen:
        of_tasks &= ~np.logical_or.reduceat(
            picks.candidates["flags"] & CandidateFlag.GROUP != 0, picks.starts
        )
    dropped[OF_GROUPS] = int((~of_tasks).sum())
    picks = picks.where(of_tasks)
    whole = picks.is_consistent()
    dropped[TORN] = int((~whole).sum())
    picks = picks.where(whole)
    chosen = np.zeros(len(picks.candidates), np.bool_)
    chosen[picks.starts] = True
    # Who sleeps, and stays queued until its lag is gone, is no candidate.
    awake = picks.candidates["flags"] & CandidateFlag.DELAYED == 0
    choice = np.repeat(np.arange(len(picks.queues)), picks.queues["nr_candidates"])
    count = np.bincount(choice[awake], minlength=len(picks.queues))
    real = count > 1
    dropped[ALONE] = int((~real).sum())
    kept = awake & real[choice]
    queues = picks.queues[real]
    made = TaskChoices(
        time_ns=queues["timestamp_ns"].astype(np.int64),
        cpu=queues["cpu"].astype(np.int64),
        prev_tid=queues["prev_tid"].astype(np.int64),
        nr_candidates=count[real],
        tid=picks.candidates["tid"][kept].astype(np.int64),
        is_chosen=chosen[kept],
        nr_seen=nr_seen,
        dropped=dropped,
    )
    return _in_time_order(made)


def _in_time_order(made: TaskChoices) -> TaskChoices:
    order = np.argsort(made.time_ns, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = np.argsort(rank[made.choice], kind="stable")
    return TaskChoices(
        made.time_ns[order],
        made.cpu[order],
        made.prev_tid[order],
        made.nr_candidates[order],
        made.tid[rows],
        made.is_chosen[rows],
        made.nr_seen,
        made.dropped,
    )


def _simulated(source: RunSource, on_choices: Callable[[int], object]) -> TaskChoices:
    simulation = Origin.of(source.trace).simulation()
    end_ns = source.trace.window_ns[1]
    columns: dict[str, list[Any]] = {name: [] for name in ("time", "cpu", "prev", "count", "tid", "chosen")}
    nr_seen, dropped = 0, Counter[str]()
    while True:
        simulation.stop_at_pick(simulation.nr_picks)
        simulation.run(end_ns)
        cpu = simulation.deciding_cpu
        if cpu is None:
            break
        candidates, now_ns, before = simulation.candidates(), simulation.now_ns, _running(simulation, cpu)
        simulation.choose()
        simulation.take_events()  # they are not needed, and would pile up
        nr_seen += 1
        if nr_seen % _TOLD_EVERY == 0:
            on_choices(nr_seen)
        after = _running(simulation, cpu)
        if len(candidates) < 2 or after not in candidates:
            dropped[ALONE] += 1
            continue
        columns["time"].append(now_ns)
        columns["cpu"].append(cpu)
        columns["prev"].append(0 if before is None else before + 1)
        columns["count"].append(len(candidates))
        columns["tid"] += [task + 1 for task in candidates]
        columns["chosen"] += [task == after for task in candidates]
    _require_same(source, simulation)
    arrays = {name: np.array(column, np.int64) for name, column in columns.items()}
    return TaskChoices(
        arrays["time"],
        arrays["cpu"],
        arrays["prev"],
        arrays["count"],
        arrays["tid"],
        arrays["chosen"].astype(np.bool_),
        nr_seen,
        dropped,
    )


def _running(simulation: Any, cpu: int) -> int | None:
    running: int | None = simulation.running[cpu]
    return running


def _require_same(source: RunSource, simulation: Any) -> None:
    told = source.trace.manifest["simulation"].get("totals", {}).get("hash")
    if told is not None and f"{simulation.totals.hash:016x}" != told:
        raise DatasetError(
            f"{source.name}, simulated again, does something else than its trace",
            hint="another version of schedtuna wrote it: simulate it anew",
        )
