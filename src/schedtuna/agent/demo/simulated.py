"""The demonstration's loads under each arm on a simulated machine: the same draws, policies and intervals.

What the agent senses is made of the simulated machine's events, and what it decides is set there. So it
takes seconds, disturbs nobody, and gives the same figures each time. It leaves out what the simulated machine
has not: caches, this machine's other programs, the agent's own thread and the time that its acts take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna.agent.contract import (
    SENSED_DTYPE,
    AgentPolicy,
    Intent,
    RunningScheduler,
    Sensed,
    SensedTasks,
    Standing,
)
from schedtuna.agent.demo.answers import Answers
from schedtuna.agent.demo.arms import Roles, told_policy
from schedtuna.agent.demo.figures import DemoRun
from schedtuna.agent.demo.loads import DemoLoad
from schedtuna.agent.glancing import LOOKS_PER_INTERVAL
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.policies.returning import Glance, Reconsidering
from schedtuna.trace.fairness import nice_weight
from schedtuna.trace.groups import AUTOGROUP
from schedtuna.trace.schema import IDLE_TID, EventType, PrevState
from schedtuna.workload.programs import mix

if TYPE_CHECKING:
    from numpy.random import Generator

    from schedtuna.sim.state import SimulatedTask

UNIT_NS = 20_000  # what a unit of work takes
_POLICY_NUMBERS = {"other": 0, "batch": 3, "idle": 5}
_WAITS = (PrevState.PREEMPTED, PrevState.RUNNABLE)


def simulate_arm(
    load: DemoLoad, arm: str, block: int, seed: int, rng: Generator, *, nr_cpus: int, interval_s: float
) -> DemoRun:
    """Run a load under one arm.

    Args:
        load: The load.
        arm: Which.
        block: Its number.
        seed: Of all that the load draws.
        rng: Chooses the placebo's tasks.
        nr_cpus: Of the simulated machine.
        interval_s: The agent's.

    Raises:
        UsageError: There is no such policy.
        UnavailableError: This installation lacks the simulator.
    """
    world = SimulatedWorld(load, seed, nr_cpus, round(interval_s * 1e9))
    policy = told_policy(arm, world.roles, rng) or make_policy(arm)
    figures = world.run(policy)
    return DemoRun(arm, block, figures, len(world.acted_on), len(world.roles.everybody), None)


class SimulatedWorld:
    """A load on the simulated machine, which a policy looks at and changes.

    Args:
        load: The load.
        seed: Of all that it draws.
        nr_cpus: Of the machine.
        interval_ns: Of the agent.

    Attributes:
        roles: Who is what, by tid.
        acted_on: Tids that were ever changed.
    """

    def __init__(self, load: DemoLoad, seed: int, nr_cpus: int, interval_ns: int) -> None:
        from schedtuna.sim.mixed import load_of_mix
        from schedtuna.sim.simulation import Simulation

        self._options = mix.parse_options(load.arguments(nr_cpus, seed))
        flat = load_of_mix(self._options, UNIT_NS)
        self._sim = Simulation(flat, "fair", cpus=nr_cpus, seed=seed, traced=True)
        self._end_ns = mix.START_NS + round(load.seconds * 1e9)
        self._counted_ns = mix.START_NS + round(load.skipped_s * 1e9)
        self._interval_ns = interval_ns
        tids = {kind: [tid for tid, name in enumerate(flat.names, 1) if name in kind] for kind in _KINDS}
        half_ns = mix.START_NS + round(load.seconds * 1e9) // 2
        swap_ns = half_ns if self._options.swap else self._end_ns + 1
        self.roles = Roles(tuple(tids[_ANSWERS]), tuple(tids[_COMPUTES]), swap_ns)
        # Each group is a session's, which its first task leads; and the others' is nobody's of them.
        self._groups = flat.tasks["group"].astype(np.uint64)
        leaders = {int(group): tid for tid, group in reversed(list(enumerate(self._groups, 1))) if group}
        self._sessions = [leaders.get(int(group), 0) for group in self._groups]
        self.acted_on: set[int] = set()
        self._standing: dict[str, Standing] = {}
        self._before = np.zeros(0, SENSED_DTYPE)
        self._waits = _RunDelays(len(flat.names))
        self._answers = Answers(mix.draw_all(self._options), self._options)

    def run(self, policy: AgentPolicy) -> dict[str, float]:
        """Run the load to its end under a policy, and return its figures."""
        look_ns = self._interval_ns // LOOKS_PER_INTERVAL
        worked_ns = 0
        cpu_before = np.zeros(len(self._sim.state().tasks), np.int64)
        for nr_looks, at_ns in enumerate(range(look_ns, self._end_ns + 1, look_ns), 1):
            batch = [tid - 1 for tid in self.roles.batch_at(at_ns - look_ns)]
            self._sim.run(at_ns)
            self._take_events()
            tasks = self._sim.state().tasks
            cpu = np.array([task.cpu_time_ns for task in tasks])
            if at_ns > self._counted_ns:
                worked_ns += int((cpu - cpu_before)[batch].sum())
            cpu_before = cpu
            if nr_looks % LOOKS_PER_INTERVAL == 0:
                self._decide(policy, at_ns, tasks)
            elif isinstance(policy, Reconsidering) and self._standing:
                changed = [one.intent.target.tid for one in self._standing.values()]
                rows = self._rows(tasks)
                glance = Glance(at_ns, rows[np.isin(rows["tid"], changed)])
                self._put_back(policy.reconsider(glance, dict(self._standing)))
        counted_s = (self._end_ns - self._counted_ns) / 1e9
        return {"ops_per_s": worked_ns / UNIT_NS / counted_s, **self._answers.figures(self._counted_ns)}

    def _take_events(self) -> None:
        events = self._sim.take_events()
        self._waits.add(events)
        self._answers.add(events)

    def _decide(self, policy: AgentPolicy, at_ns: int, tasks: tuple[SimulatedTask, ...]) -> None:
        rows = self._rows(tasks)
        sensed = Sensed(
            number=at_ns // self._interval_ns - 1,
            start_ns=at_ns - self._interval_ns,
            end_ns=at_ns,
            tasks=_differences(rows, self._before, self._interval_ns),
            cgroups={},
            machine={},
            kernel={},
            scheduler=RunningScheduler("eevdf"),
        )
        self._before = rows
        wanted = {one.key: one for one in policy.decide(sensed, dict(self._standing))}
        self._put_back([key for key in self._standing if key not in wanted])
        for key, intent in wanted.items():
            held = self._standing.get(key)
            if intent.target.kind not in ("thread", "session") or (held and held.intent.new == intent.new):
                continue
            found = held.found if held else intent.old
            self._set(intent, intent.new)
            self._standing[key] = Standing(intent, at_ns, found)
            self.acted_on.add(intent.target.tid)

    def _put_back(self, keys: list[str]) -> None:
        for key in keys:
            one = self._standing.pop(key)
            self._set(one.intent, one.found)

    def _set(self, intent: Intent, value: Any) -> None:
        from schedtuna.sim.native import Policy

        task = intent.target.tid - 1
        match intent.setting:
            case "nice":
                self._sim.set_attributes(task, nice=int(value or 0))
            case "policy":
                self._sim.set_attributes(task, policy=Policy[str(value or "other").upper()])
            case "autogroup_nice":
                self._sim.set_group_weight(int(self._groups[task]), nice_weight(int(value or 0)))
            case "slice_us":
                self._sim.set_attributes(task, slice_ns=1000 * int(value or 0))

    def _rows(self, tasks: tuple[SimulatedTask, ...]) -> SensedTasks:
        """Totals of each task, as the agent's own reading has them."""
        rows = np.zeros(len(tasks), SENSED_DTYPE)
        rows["tid"] = rows["tgid"] = 1 + np.arange(len(tasks))
        rows["start_time_ns"] = 1
        rows["comm"] = b"work"
        rows["nice"] = [task.nice for task in tasks]
        rows["policy"] = [_POLICY_NUMBERS[task.policy.name.lower()] for task in tasks]
        rows["weight"] = [task.weight for task in tasks]
        rows["slice_ns"] = [task.slice_ns for task in tasks]
        rows["sched_group"] = np.where(self._groups > 0, AUTOGROUP | self._groups, 0)
        rows["session"] = self._sessions
        rows["total_cpu_time_ns"] = [task.cpu_time_ns for task in tasks]
        rows["total_run_delay_ns"] = self._waits.total_ns
        tallies = self._sim.tallies()
        rows["total_nr_voluntary"] = [row[2] for row in tallies]
        rows["total_nr_involuntary"] = [row[3] for row in tallies]
        return rows


_ANSWERS, _COMPUTES = ("interactive", "helper"), ("hog", "job")
_KINDS = (_ANSWERS, _COMPUTES)
_COUNTERS = ("cpu_time_ns", "run_delay_ns", "nr_voluntary", "nr_involuntary")


def _differences(rows: SensedTasks, before: SensedTasks, interval_ns: int) -> SensedTasks:
    """What each did since the reading before; of the first one no rates are known."""
    tasks = rows.copy()
    if len(before):
        tasks["observed_ns"] = interval_ns
        for name in _COUNTERS:
            tasks[name] = rows[f"total_{name}"] - before[f"total_{name}"]
    return tasks


class _RunDelays:
    """How long each task has waited on a runqueue; like the kernel's, a wait counts when it has ended."""

    def __init__(self, nr_tasks: int) -> None:
        self._total_ns = np.zeros(nr_tasks, np.int64)
        self._since: dict[int, int] = {}

    def add(self, events: np.ndarray[Any, Any]) -> None:
        since = self._since
        chosen = events[np.isin(events["type"], (EventType.SWITCH, EventType.WAKEUP, EventType.WAKEUP_NEW))]
        columns = (
            chosen[name].tolist() for name in ("timestamp_ns", "type", "tid", "other_tid", "prev_state")
        )
        for at_ns, kind, tid, other, state in zip(*columns, strict=True):
            if kind != EventType.SWITCH:
                since.setdefault(tid, at_ns)
                continue
            if tid != IDLE_TID and state in _WAITS:
                since[tid] = at_ns
            if other != IDLE_TID and other in since:
                self._total_ns[other - 1] += at_ns - since.pop(other)

    @property
    def total_ns(self) -> np.ndarray[Any, Any]:
        return self._total_ns
