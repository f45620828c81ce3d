"""Who could have run next, and who did? Choices of a scheduler: recorded ones, and simulated ones.

Recorded choices are those of `record --picks`, from tasks' own queues: groups of tasks are no tasks.
Simulated ones are those of the trace's own scheduler: the simulation is repeated, and must come out alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.learn.sources import SIMULATED, RunSource
from schedtuna.sim.origin import Origin
from schedtuna.sim.picks import Choices
from schedtuna.trace.picks import CandidateFlag
from schedtuna.trace.picks import concatenate as concatenate_picks
from schedtuna.trace.schema import EventArray, EventType

IntArray = npt.NDArray[np.int64]
ALONE = "choices of one candidate: nothing is decided"
TORN = "picks whose candidates are not all there, or do not give the kernel's sums"
OF_GROUPS = "picks among groups of tasks"
NO_SWITCH = "picks whose switch is not in the trace"
VIRTUAL_FEATURES = ("deadline_ns", "vlag_ns", "is_eligible")
NEVER = -1  # no switch's time
_TOLD_EVERY = 2000


@dataclass(frozen=True)
class TaskChoices:
    """Choices among tasks, in time order, and all their candidates, choice by choice.

    Attributes:
        time_ns, cpu, prev_tid, nr_candidates: Of each choice; 0 ran before where the CPU idled.
        tid, is_chosen: Of each candidate.
        virtual: `VIRTUAL_FEATURES` of each candidate, as the kernel had them at the choice; empty: not told.
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
    virtual: Mapping[str, IntArray] = field(default_factory=dict)

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
    switched_ns = switch_times(source.trace.segments(), picks.queues)
    dropped[NO_SWITCH] = int((switched_ns == NEVER).sum())
    picks, switched_ns = picks.where(switched_ns != NEVER), switched_ns[switched_ns != NEVER]
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
        time_ns=switched_ns[real],
        cpu=queues["cpu"].astype(np.int64),
        prev_tid=queues["prev_tid"].astype(np.int64),
        nr_candidates=count[real],
        tid=picks.candidates["tid"][kept].astype(np.int64),
        is_chosen=chosen[kept],
        nr_seen=nr_seen,
        dropped=dropped,
        virtual={name: column[kept] for name, column in virtual_features(Choices.of(picks)).items()},
    )
    return _in_time_order(made)


def switch_times(parts: Iterable[EventArray], queues: npt.NDArray[np.void]) -> IntArray:
    """Return when each pick's switch was, by the events: NEVER where there is none.

    A pick is written some 0.1 us before or after its switch, by another program. By its own time whom it
    chose might run already, and what is known "before the choice" would tell it.

    Args:
        parts: The events of the trace, in time order.
        queues: Of the picks (`PICK_DTYPE`).
    """
    names = ["timestamp_ns", "cpu", "tid", "other_tid"]
    switches = [part[part["type"] == EventType.SWITCH][names] for part in parts]
    found = np.full(len(queues), NEVER)
    events = np.concatenate(switches) if switches else None
    if events is None or not len(events):
        return found
    for cpu in np.unique(queues["cpu"]).tolist():
        here, wanted = events[events["cpu"] == cpu], np.flatnonzero(queues["cpu"] == cpu)
        if not len(here):
            continue
        ours = queues[wanted]
        after = np.searchsorted(here["timestamp_ns"], ours["timestamp_ns"], side="right")
        for at in (after, after - 1):  # the one before it comes last, and stays if both are its
            inside = (at >= 0) & (at < len(here))
            event = here[np.clip(at, 0, len(here) - 1)]
            is_its = inside & (event["other_tid"] == ours["tid"]) & (event["tid"] == ours["prev_tid"])
            found[wanted[is_its]] = event["timestamp_ns"][is_its].astype(np.int64)
    return found


def virtual_features(choices: Choices) -> dict[str, IntArray]:
    """Return what EEVDF decides by, of each candidate: `VIRTUAL_FEATURES`.

    V is the mean of all candidates' vruntimes by weight, those of delayed tasks included, rounded down; who
    is eligible follows from the exact sums (kernel/sched/fair.c: avg_vruntime(), entity_eligible()).
    """
    if not len(choices.starts):
        return {name: np.empty(0, np.int64) for name in VIRTUAL_FEATURES}
    average = choices.total(choices.vruntime * choices.weight) // choices.total(choices.weight)
    return {
        "deadline_ns": choices.deadline - average,
        "vlag_ns": average - choices.vruntime,
        "is_eligible": choices.is_eligible().astype(np.int64),
    }


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
        {name: column[rows] for name, column in made.virtual.items()},
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
