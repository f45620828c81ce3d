"""What tasks of a trace ask of the scheduler at first, and the steps with which that changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schedtuna.errors import UsageError
from schedtuna.machine.cpu_lists import parse_cpu_list
from schedtuna.sim.flat import NONE, FlatArray
from schedtuna.sim.lives import BoolArray, Lives
from schedtuna.sim.loops import Places
from schedtuna.sim.native import Op, Policy
from schedtuna.sim.retold import Deeds, place_in
from schedtuna.trace.trace import Trace

# Those of other classes than the fair one and sched_ext's are no tasks of a simulation.
SIMULATED = {"OTHER": Policy.OTHER, "EXT": Policy.OTHER, "BATCH": Policy.BATCH, "IDLE": Policy.IDLE}
_OF_ONE_CPU = re.compile(r"[^/]+/([0-9]{1,5})(?::.*)?")  # a kernel thread's name
_STEPS = {
    "nice": Op.SET_NICE,
    "policy": Op.SET_POLICY,
    "slice_ns": Op.SET_SLICE,
    "cpu_set": Op.SET_AFFINITY,
}


class AskedOfScheduler:
    """What the tasks of a trace ask for, on a machine of so many CPUs.

    Args:
        trace: The trace.
        lives: Its tasks.
        rows: The row of each in the task table; -1: none.
        names: Of the tasks.
        nr_cpus: CPUs beyond them are left out of what tasks may run on.

    Attributes:
        cpu_sets: The sets that tasks and steps name.

    Raises:
        UsageError: A task may run on none of these CPUs.
    """

    def __init__(self, trace: Trace, lives: Lives, rows: Places, names: Sequence[str], nr_cpus: int) -> None:
        self._lives, self._names, self._nr_cpus = lives, names, nr_cpus
        self.cpu_sets: list[list[int]] = []
        self._numbers: dict[str | None, int] = {None: NONE}
        self._first: dict[int, dict[str, int]] = {}
        self._changes: list[tuple[int, int, Op, int]] = []  # task, when, what, to what
        if trace.why_no_attributes is None:
            self._read_attributes(trace, rows)
        else:
            self._read_tasks(trace, rows)

    def fill(self, tasks: FlatArray) -> None:
        """Set what the tasks ask for at first."""
        tasks["cpu_set"] = NONE
        for task, values in self._first.items():
            for name, value in values.items():
                tasks[name][task] = value

    def changes(self, kept: Mapping[str, BoolArray]) -> Deeds:
        """Return the steps with which tasks ask for something else, when they next run.

        `kept` are the attributes that some tasks never change.
        """
        never = {_STEPS[name]: tasks for name, tasks in kept.items()}
        rows = [row for row in self._changes if row[2] not in never or not never[row[2]][row[0]]]
        numbers = [(task, time, op.value, value) for task, time, op, value in rows]
        task, time, op, value = np.array(numbers, np.int64).reshape(-1, 4).T
        lives = self._lives
        state = lives.at(lives.states.tid[lives.first[task]], time)
        known = state >= 0
        state, time, op, value = state[known], time[known], op[known], value[known]
        is_set = op == Op.SET_AFFINITY.value
        return Deeds.make(
            state,
            place=place_in(lives, state, time),
            op=op,
            object=np.where(is_set, value, NONE),
            amount=np.where(is_set, 0, value),
            time_ns=time,
        )

    def _read_attributes(self, trace: Trace, rows: Places) -> None:
        tids, starts = trace.tasks["tid"].to_list(), trace.tasks["start_time_ns"].to_list()
        tasks = {(tids[row], starts[row]): task for task, row in enumerate(rows.tolist()) if row >= 0}
        now: dict[int, dict[str, int]] = {}
        for row in trace.attributes.iter_rows(named=True):
            task = tasks.get((row["tid"], row["start_time_ns"]))
            if task is None or row["policy"] not in SIMULATED:
                continue
            values = {
                "nice": row["nice"],
                "policy": SIMULATED[row["policy"]].value,
                "slice_ns": row["slice_ns"] or 0,
                "cpu_set": self._set_of(row["cpus"], task),
            }
            self._first.setdefault(task, values)
            before = now.get(task, values)
            time = max(row["timestamp_ns"] - self._lives.begin_ns, 0)
            self._changes += [
                (task, time, step, values[name])
                for name, step in _STEPS.items()
                if values[name] != before[name]
            ]
            now[task] = values

    def _read_tasks(self, trace: Trace, rows: Places) -> None:
        columns: dict[str, Any] = {
            name: trace.tasks[name].to_list() for name in ("nice", "policy", "is_kthread")
        }
        for task, row in enumerate(rows.tolist()):
            if row < 0:
                continue
            nice = columns["nice"][row]
            found = _OF_ONE_CPU.fullmatch(self._names[task]) if columns["is_kthread"][row] else None
            cpu = int(found[1]) if found else None
            self._first[task] = {
                "nice": nice if -20 <= nice <= 19 else 0,
                "policy": SIMULATED.get(columns["policy"][row], Policy.OTHER).value,
                "cpu_set": NONE if cpu is None or cpu >= self._nr_cpus else self._set_of(str(cpu), task),
            }

    def _set_of(self, text: str | None, task: int) -> int:
        """Return the number of a set of CPUs."""
        if text not in self._numbers:
            cpus = [cpu for cpu in parse_cpu_list(text or "") if cpu < self._nr_cpus]
            if not cpus:
                raise UsageError(
                    f"{self._names[task]} may only run on CPUs {text}, and the machine has {self._nr_cpus}",
                    hint="give it more: --cpus, --topology",
                )
            if len(cpus) == self._nr_cpus:
                self._numbers[text] = NONE
            else:
                self._numbers[text] = len(self.cpu_sets)
                self.cpu_sets.append(cpus)
        return self._numbers[text]
