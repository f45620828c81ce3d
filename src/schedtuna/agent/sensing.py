"""What happened in an interval: the kernel's counters, and the difference to the reading before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from schedtuna.agent.contract import SENSED_DTYPE, Need, RunningScheduler, Sensed, SensedTasks
from schedtuna.errors import KnobError, UnavailableError
from schedtuna.knobs.scheduler_parameter import HotParameters, SchedulerParameter
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.record.filters import cgroup_names, current_layout
from schedtuna.record.procfs import SystemSampler
from schedtuna.record.sense import DelaySums, ProcTaskSensor, TaskRows, TaskSensor, Touch
from schedtuna.trace.aggregates.summary import entitled_ns
from schedtuna.trace.fairness import Fairness
from schedtuna.trace.tasks import clean_name

SCHED_EXT = Path("/sys/kernel/sched_ext")
_COUNTERS = {
    "cpu_time_ns": "total_cpu_time_ns",
    "run_delay_ns": "total_run_delay_ns",
    "nr_voluntary": "total_nr_voluntary",
    "nr_involuntary": "total_nr_involuntary",
}
_ALIKE = (
    *("tid", "tgid", "ppid", "start_time_ns", "comm", "cgroup_id", "nice", "policy", "weight", "slice_ns"),
    *("cpus_hash", "nr_cpus_allowed", "sched_group", "session"),
)

ReadParameters = Callable[[], HotParameters]


@dataclass
class Costs:
    """What sensing took of this process's CPU time, in nanoseconds, of the last interval.

    Attributes:
        tasks_ns, machine_ns, kernel_ns: By what was read.
    """

    tasks_ns: int = 0
    machine_ns: int = 0
    kernel_ns: int = 0


@dataclass
class SensorState:
    """What the reading before has left."""

    tasks: SensedTasks
    end_ns: int
    cgroups: dict[int, str] = field(default_factory=dict)
    number: int = 0


class Senses:
    """Reads an interval after the other, from opening to closing.

    Args:
        needs: What policy and guard need; the kernel's aggregates cost a program per context switch.
        read_parameters: Gives the parameters of the sched_ext scheduler in charge, where they are needed.

    Attributes:
        needs: As given.
        unknown: What can't be sensed, and why, by name.

    Raises:
        UnavailableError: Something that is needed can't be sensed.
    """

    def __init__(
        self,
        needs: frozenset[Need] = frozenset({Need.TASKS, Need.MACHINE}),
        *,
        read_parameters: ReadParameters | None = None,
    ) -> None:
        self.needs = needs
        self.unknown: dict[str, str] = {}
        read_parameters = read_parameters or SchedulerParameter().read
        if Need.SCHEDULER in needs:
            _require_parameters(read_parameters)
        self.costs = Costs()
        self.touches: list[Touch] = []
        self._read_parameters = read_parameters if Need.SCHEDULER in needs else None
        self._layout: CgroupMounts = current_layout()
        self._tasks = self._open_tasks()
        self._sums: DelaySums | None = None
        try:
            self._sums = DelaySums(self._layout)
        except UnavailableError as error:
            if Need.KERNEL in needs:
                self._tasks.close()
                raise
            self.unknown["kernel"] = str(error)
        self._system = SystemSampler(threads=False)
        self._state = SensorState(np.zeros(0, SENSED_DTYPE), time.monotonic_ns())
        self._state.tasks = self._differences(self._tasks.rows(), self._state.end_ns)
        if why := self._tasks.why_unfollowed:
            self.unknown["actors"] = why

    def _open_tasks(self) -> TaskSensor | ProcTaskSensor:
        try:
            return TaskSensor()
        except UnavailableError as error:
            self.unknown["slices"] = f"threads are read from /proc: {error}"
            return ProcTaskSensor()

    @property
    def by_bpf(self) -> bool:
        """Whether threads are read by BPF."""
        return isinstance(self._tasks, TaskSensor)

    def read(self) -> Sensed:
        """Return what happened since the last call, or since opening."""
        before = self._state
        began_ns = time.thread_time_ns()
        self.touches = self._tasks.touches()
        end_ns = time.monotonic_ns()
        tasks = self._differences(self._tasks.rows(), end_ns)
        read_ns = time.thread_time_ns()
        seconds = max((end_ns - before.end_ns) / 1e9, 1e-9)
        kernel = {} if self._sums is None else self._sums.window(seconds)
        if (fair := fairness_cv(tasks, len(os.sched_getaffinity(0)), end_ns - before.end_ns)) is not None:
            kernel["fairness_cv"] = fair
        summed_ns = time.thread_time_ns()
        machine = self._system.sample()[1]
        self._name_cgroups(tasks)
        self.costs = Costs(read_ns - began_ns, time.thread_time_ns() - summed_ns, summed_ns - read_ns)
        sensed = Sensed(
            number=before.number,
            start_ns=before.end_ns,
            end_ns=end_ns,
            tasks=tasks,
            cgroups=before.cgroups,
            machine=machine,
            kernel=kernel,
            scheduler=self._scheduler(),
            unknown=dict(self.unknown),
        )
        self._state = replace(before, tasks=tasks, end_ns=end_ns, number=before.number + 1)
        return sensed

    def counted(self, tids: Collection[int]) -> SensedTasks:
        """Return who some threads are and what was counted of them since their fork, as they are now.

        It begins no interval. Only BPF tells it: /proc has no count of switches that is cheap to read.
        """
        if not self.by_bpf:
            return np.zeros(0, SENSED_DTYPE)
        rows = self._tasks.rows()
        rows = rows[np.isin(rows["tid"], list(tids))]
        return differences(rows, np.zeros(0, SENSED_DTYPE), self._state.end_ns, time.monotonic_ns())

    def close(self) -> None:
        """Detach what counts in the kernel."""
        self._tasks.close()
        if self._sums is not None:
            self._sums.close()

    def _differences(self, rows: TaskRows, end_ns: int) -> SensedTasks:
        return differences(rows, self._state.tasks, self._state.end_ns, end_ns)

    def _name_cgroups(self, tasks: SensedTasks) -> None:
        known = self._state.cgroups
        unknown = [int(id_) for id_ in np.unique(tasks["cgroup_id"]) if int(id_) not in known]
        if unknown:
            names = {id_: clean_name(name) for id_, name in cgroup_names(self._layout).items()}
            known.clear()
            known.update(names)
            known.update({id_: known.get(id_, "") for id_ in unknown})

    def _scheduler(self) -> RunningScheduler:
        running = running_scheduler()
        if self._read_parameters is None:
            return running
        self.unknown.pop("parameters", None)
        try:
            found = self._read_parameters()
        except KnobError as error:
            self.unknown["parameters"] = str(error)
            return running
        return replace(running, parameters=found.values) if found.scheduler == running.name else running


def _require_parameters(read_parameters: ReadParameters) -> None:
    try:
        read_parameters()
    except KnobError as error:
        raise UnavailableError(f"the policy sets parameters, and {error}", hint=error.hint) from error


def running_scheduler() -> RunningScheduler:
    """Return which scheduler is in charge, without its parameters."""
    name = _read(SCHED_EXT / "root/ops") if _read(SCHED_EXT / "state") == "enabled" else ""
    return RunningScheduler(name, is_ext=True) if name else RunningScheduler("eevdf")


def differences(rows: TaskRows, before: SensedTasks, start_ns: int, end_ns: int) -> SensedTasks:
    """Return what each thread did between two readings, by tid.

    Args:
        rows: `record.sense.SENSED_TASK_DTYPE`, at the end.
        before: What this returned the last time; empty at first, and then no rates are known.
        start_ns: When the reading before was made.
        end_ns: When this one was.
    """
    rows = rows[np.argsort(rows["tid"], kind="stable")]
    tasks = np.zeros(len(rows), SENSED_DTYPE)
    for name in _ALIKE:
        tasks[name] = rows[name]
    place = np.minimum(np.searchsorted(before["tid"], rows["tid"]), max(len(before) - 1, 0))
    known = np.zeros(len(rows), bool)
    if len(before):
        known = (before["tid"][place] == rows["tid"]) & (
            before["start_time_ns"][place] == rows["start_time_ns"]
        )
    born = ~known & (rows["start_time_ns"] >= start_ns) if len(before) else np.zeros(len(rows), bool)
    lived_ns = np.maximum(end_ns - rows["start_time_ns"].astype(np.int64), 0)
    tasks["observed_ns"] = np.where(known, end_ns - start_ns, np.where(born, lived_ns, 0))
    for name, total in _COUNTERS.items():
        tasks[total] = now = rows[name]
        earlier = np.where(known, before[total][place], 0) if len(before) else np.zeros(len(rows), np.uint64)
        tasks[name] = np.where((known | born) & (now > earlier), now - earlier, 0)
    return tasks


def fairness_cv(tasks: SensedTasks, nr_cpus: int, window_ns: int) -> float | None:
    """Return the coefficient of variation of CPU time received / entitled; None where nothing ran.

    Over the threads that were there at both ends, or were born meanwhile; as `trace.aggregates.summary` does
    it, the window is one moment.
    """
    received = tasks["cpu_time_ns"].astype(np.float64)
    asked = received + tasks["run_delay_ns"]
    ran = (asked > 0) & (tasks["observed_ns"] > 0)
    if not ran.any():
        return None
    weight = np.where(tasks["weight"] > 0, tasks["weight"] / 1024, 1.25 ** -tasks["nice"].astype(np.float64))
    entitled = entitled_ns(asked[ran], weight[ran], float(nr_cpus) * window_ns)
    value = Fairness(np.arange(int(ran.sum()), dtype=np.int32), entitled, received[ran]).cv()
    return None if np.isnan(value) else float(value)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
