"""A recorded trace as a load: the same tasks, computing and sleeping as they did, under any scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from schedtuna.errors import TraceError, UsageError
from schedtuna.sim import retold
from schedtuna.sim.asked import SIMULATED, AskedOfScheduler
from schedtuna.sim.flat import INTERRUPTION_DTYPE, TASK_DTYPE, FlatArray, FlatLoad
from schedtuna.sim.grouped import RecordedGroups
from schedtuna.sim.lives import BoolArray, Lives
from schedtuna.sim.loops import RULES, Blocks, Loop, Places, rule_of_tasks, wakers
from schedtuna.sim.native import NEVER, Workload
from schedtuna.sim.retold import Deeds
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.schema import EventType
from schedtuna.trace.states import TaskState
from schedtuna.trace.store import open_trace
from schedtuna.trace.trace import Trace

LoopChoice = Literal["open", "closed", "auto"]
LOOPS: tuple[LoopChoice, ...] = ("auto", "open", "closed")
MOST_UNKNOWN = 0.05  # share of the CPUs' time of which the trace may not tell
_WORTH_TELLING = 0.001
_SOON_NS = 1_000_000  # a task's fork and its first wakeup are not the same moment


@dataclass(frozen=True)
class Decision:
    """What a replay takes for the cause of a task's wakeups.

    Attributes:
        task: Its name.
        tid: Its tid.
        rule: Of `loops.RULES`, ``woken`` where other tasks made most of its wakeups, or ``asked``.
        loop: That of wakeups which no task makes.
        nr_wakeups: How often it was woken up.
        nr_by_tasks: How often by another task, which will wake it up again.
        why: In words.
    """

    task: str
    tid: int
    rule: str
    loop: Loop
    nr_wakeups: int
    nr_by_tasks: int
    why: str


def require_one_speed(costs: Mapping[str, int]) -> None:
    """Refuse what was simulated where a burst takes longer here than there, or now than then.

    Raises:
        TraceError: It was.
    """
    if costs.get("nodes", 1) > 1 or costs.get("slow_cpus") or costs.get("pressure_per_s"):
        raise TraceError(
            "its CPU time was simulated on CPUs of several speeds: how long bursts take elsewhere is unknown",
            hint="replay what was simulated without slow_cpus, nodes and pressure_per_s",
        )


class RecordedLoad:
    """What the tasks of a trace did, for simulations.

    Args:
        trace: The trace, or its folder.
        loop: Why tasks wake up (see `loops`): ``open``, ``closed``, or ``auto``: by the table of rules.
        allow_lost: Accept a trace that lost events.

    Attributes:
        analysis: The trace, measured.
        nr_cpus: Of the machine that it is from.
        duration_ns: How long it is.

    Raises:
        IncompleteTraceError: Events were lost.
        TraceError: It doesn't tell what all tasks did, or has no events.
    """

    def __init__(
        self, trace: Trace | Path | str, *, loop: LoopChoice = "auto", allow_lost: bool = False
    ) -> None:
        if loop not in LOOPS:
            raise UsageError(f"loop {loop!r}: expected {', '.join(LOOPS)}")
        self.loop = loop
        self.trace = trace if isinstance(trace, Trace) else open_trace(Path(trace))
        self.name = "trace" if isinstance(trace, Trace) else str(trace)
        self.analysis = Analysis(self.trace, allow_lost=allow_lost)
        if self.analysis.reading.is_partial:
            raise TraceError(
                "only some tasks were recorded, so nobody knows when the others took the CPUs away",
                hint="record without a filter",
            )
        if self.analysis.unknown_share > MOST_UNKNOWN:
            raise TraceError(
                f"what the CPUs did in {self.analysis.unknown_share:.0%} of their time is unknown",
                hint="`schedtuna stats` says why",
            )
        require_one_speed(self.trace.manifest.get("simulation", {}).get("costs", {}))
        self.lives = Lives(self.analysis)
        self._built: tuple[Any, Workload, str] | None = None  # for the machine that was last asked for
        self.nr_cpus = self.analysis.nr_cpus
        self.duration_ns = self.analysis.end_ns - self.analysis.start_ns
        if not self.duration_ns or not (self._starts != NEVER).any():
            raise TraceError("no task ran in this trace: there is nothing to replay")

    def with_loop(self, loop: LoopChoice) -> RecordedLoad:
        """Return the same load with another loop."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        for name in ("_is_closed", "_wakers", "decisions"):
            other.__dict__.pop(name, None)
        other.loop, other._built = loop, None
        return other

    def workload(self, nr_cpus: int, costs: Mapping[str, int]) -> tuple[Workload, dict[str, Any]]:
        """Return it for a machine of so many CPUs with these constants, and what a manifest says of it.

        Raises:
            UsageError: A task may run on none of these CPUs.
        """
        key = (nr_cpus, *sorted(costs.items()))
        if self._built is None or self._built[0] != key:
            flat = self.flat(nr_cpus, costs)
            self._built = key, flat.workload(), flat.sha256()
        _, workload, sha256 = self._built
        return workload, {"name": self.name, "sha256": sha256, "loop": self.loop, "notes": self.notes}

    def flat(
        self, nr_cpus: int, costs: Mapping[str, int], *, kept: Mapping[str, BoolArray] | None = None
    ) -> FlatLoad:
        """Return it as arrays: see `workload`.

        Args:
            nr_cpus: Of the machine.
            costs: Its constants.
            kept: Attributes, as `TASK_DTYPE` names them, that some tasks never change.
        """
        blocks, lives = self._blocks, self.lives
        woken = None if self.loop == "open" else self._wakers
        asked = AskedOfScheduler(self.trace, lives, self.rows, self.names, nr_cpus)
        parts = [retold.blocking(lives, blocks, self._is_closed, woken), self._forks, retold.ending(lives)]
        parts.append(asked.changes(kept or {}))
        if woken is not None:
            parts.append(retold.waking(lives, blocks, woken))
        steps, nr_steps = retold.steps_of(lives, Deeds.together(parts), retold.Work(lives, costs, woken))
        tasks = self._tasks(nr_cpus)
        asked.fill(tasks)
        tasks["group"] = self._groups.of_task
        tasks["nr_steps"] = nr_steps
        return FlatLoad(
            self.names,
            tasks,
            steps,
            self.duration_ns,
            asked.cpu_sets,
            self._groups.rows,
            nr_mailboxes=0 if woken is None else lives.nr_tasks,
            interruptions=self._interruptions(nr_cpus),
        )

    @cached_property
    def names(self) -> list[str]:
        """The tasks' names."""
        comms = self.analysis.comms
        return [comms[number] for number in self._numbers.tolist()]

    @cached_property
    def cpu_time_ns(self) -> npt.NDArray[np.int64]:
        """Each task's CPU time in the trace."""
        lives = self.lives
        run = np.where(lives.is_running, lives.end - lives.start_ns, 0)
        return np.add.reduceat(run, lives.first) if lives.nr_tasks else run

    @cached_property
    def decisions(self) -> list[Decision]:
        """Why each task that was woken up is taken to have been."""
        blocks, lives = self._blocks, self.lives
        nr_wakeups = np.bincount(blocks.task[~blocks.is_last], minlength=lives.nr_tasks)
        by_tasks = np.zeros(lives.nr_tasks, np.int64)
        if self.loop != "open":
            by_tasks = np.bincount(blocks.task[self._wakers.block], minlength=lives.nr_tasks)
        found = []
        for task in np.flatnonzero((nr_wakeups > 0) & ~self._is_taken_away).tolist():
            rule, loop = self._rules[task], RULES[self._rules[task]].loop
            why = RULES[rule].why
            if self.loop != "auto":
                rule, loop, why = "asked", self.loop, "as asked for"
            elif by_tasks[task] > nr_wakeups[task] / 2:
                rule, loop, why = "woken", "closed", "is woken up by other tasks"
            tid = int(lives.states.tid[lives.first[task]])
            numbers = int(nr_wakeups[task]), int(by_tasks[task])
            found.append(Decision(self.names[task], tid, rule, loop, *numbers, why))
        return found

    @cached_property
    def notes(self) -> list[str]:
        """What the trace doesn't tell, and what is made of that: sentences."""
        why = self.trace.why_no_attributes
        told = (
            [] if why is None else [f"Where tasks may run, and what they ask for in time, is unknown: {why}."]
        )
        told += [f"{doubt[:1].upper()}{doubt[1:]}." for doubt in self.trace.attribute_doubts]
        analysis = self.analysis
        unknown = analysis.unknown_share
        if unknown >= _WORTH_TELLING:
            told.append(f"What the CPUs did in {unknown:.1%} of their time is unknown: it is taken away.")
        share = float(self.cpu_time_ns[self._is_taken_away].sum() / (self.duration_ns * self.nr_cpus))
        if share:
            told.append(
                f"Real-time tasks take {share:.2%} of the CPUs' time away, when and where they did then."
            )
        told += self._groups.notes
        if not len(self.lives.of_type(EventType.WAKING)):
            told.append("Who woke whom is not recorded.")
        return told

    @property
    def _numbers(self) -> npt.NDArray[np.int32]:
        return self.lives.states.task[self.lives.first]

    @cached_property
    def rows(self) -> Places:
        """Each task's row in the task table; -1: it has none."""
        return self.analysis.row_of_task[self._numbers]

    @cached_property
    def _groups(self) -> RecordedGroups:
        return RecordedGroups(self.trace, self.lives, self.rows)

    @cached_property
    def _policies(self) -> list[str]:
        names = self.trace.tasks["policy"].to_list()
        return [names[row] if row >= 0 else "OTHER" for row in self.rows.tolist()]

    @cached_property
    def _is_taken_away(self) -> npt.NDArray[np.bool_]:
        """Which tasks no scheduler here knows: real-time and deadline ones."""
        return np.array([policy not in SIMULATED for policy in self._policies], np.bool_)

    @cached_property
    def _blocks(self) -> Blocks:
        return Blocks.of(self.lives)

    @cached_property
    def _wakers(self) -> Any:
        return wakers(self.lives, self._blocks)

    @cached_property
    def _rules(self) -> list[str]:
        return rule_of_tasks(self.lives, self._blocks)

    @cached_property
    def _is_closed(self) -> npt.NDArray[np.bool_]:
        if self.loop != "auto":
            return np.full(len(self._blocks.task), self.loop == "closed")
        closed = np.array([RULES[rule].loop == "closed" for rule in self._rules], np.bool_)
        return closed[self._blocks.task]

    @cached_property
    def _forks(self) -> Deeds:
        return retold.forking(self.lives, ~self._is_taken_away)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """When each task comes to be by itself; NEVER: it is forked, or is no task of the simulation."""
        lives = self.lives
        first = lives.first
        is_late = lives.is_asleep[first] | (lives.states.state[first] == TaskState.NEW)
        starts = np.where(is_late, lives.end[first], lives.start_ns[first])
        starts[is_late & (first == lives.last)] = NEVER
        starts[self._is_taken_away] = NEVER
        starts[self._forks.object] = NEVER
        return starts

    def _tasks(self, nr_cpus: int) -> FlatArray:
        tasks = np.zeros(self.lives.nr_tasks, TASK_DTYPE)
        tasks["start_ns"] = self._starts
        tasks["first_cpu"] = np.minimum(self._first_cpus(), nr_cpus - 1)
        known = self.rows >= 0
        tasks["is_kthread"][known] = self.trace.tasks["is_kthread"].to_numpy()[self.rows[known]]
        return tasks

    def _first_cpus(self) -> npt.NDArray[np.uint16]:
        lives = self.lives
        later = np.minimum(lives.first + 1, lives.last)
        cpus = lives.states.cpu[np.where(lives.is_asleep[lives.first], later, lives.first)]
        born = lives.events[lives.of_type(EventType.WAKEUP_NEW)]
        state = lives.at(born["tid"], lives.times_of(born))
        known = state >= 0
        task = lives.task[state[known]]
        fits = np.abs(lives.times_of(born)[known] - lives.start_ns[lives.first[task]]) <= _SOON_NS
        cpus[task[fits]] = born["cpu"][known][fits]
        return cpus

    def _interruptions(self, nr_cpus: int) -> FlatArray:
        """Return what takes CPUs away: tasks that no scheduler here knows, and what is unknown."""
        lives, gaps = self.lives, self.analysis.gaps.united()
        runs = np.flatnonzero(lives.is_running & self._is_taken_away[lives.task])
        gap_start = gaps.start_ns - lives.begin_ns
        found = np.zeros(len(runs) + len(gaps), INTERRUPTION_DTYPE)
        found["start_ns"] = np.concatenate([lives.start_ns[runs], gap_start])
        found["length_ns"] = np.concatenate([lives.end[runs], gaps.end_ns - lives.begin_ns])
        found["length_ns"] -= found["start_ns"]
        found["cpu"] = np.concatenate([lives.states.cpu[runs], gaps.cpu])
        found = found[found["cpu"] < nr_cpus]
        return found[np.lexsort((found["start_ns"], found["cpu"]))]
