"""A simulation that goes on step by step, can be looked at, and forked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import SimulationError, UsageError, nearest
from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.machine.facts import read_memory_bytes
from schedtuna.machine.probe import Probe
from schedtuna.sim.loads import LoadSource, read_load, with_recording
from schedtuna.sim.native import (
    NEVER,
    BadInputError,
    NativeSimulation,
    Policy,
    SchedulerError,
    Stop,
    cost_table,
    covered_instructions,
    idle_reason_table,
)
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.schedulers import (
    SchedulerSource,
    chosen_scheduler,
    native_schedulers,
    require_parameters,
)
from schedtuna.sim.state import (
    CANDIDATE_DTYPE,
    NextMigration,
    SimulatedTask,
    SimulationState,
    SimulationTotals,
)
from schedtuna.sim.topology import MachineShape
from schedtuna.space import Assignment
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, AttributeArray
from schedtuna.trace.schema import EVENT_DTYPE, EventArray

_MOST_SEED = 2**64 - 1
_EVENTS_AT_ONCE = 100_000  # between two looks at signals, and the records that are held: 3 MB
_UNFIT = "can't schedule this machine"  # in the native module's words
_UNFIT_HINT = (
    "name another scheduler, such as rr (a change of schedulers leads through fair), or leave out the --cost "
    "that makes such a machine"
)
_FIRST_STEP_NS = 10_000_000
_MOST_COST = 1_000_000_000
_BYTES_PER_TASK = 400  # its definition and its scheduler's part included: benchmarks/sim_peers.py
IDLE = -1  # a choice: nobody runs


class Simulation:
    """A machine, a load and a scheduler.

    Args:
        workload: A file of rt-app's JSON, the same as a dict, ``FAMILY:load=0.7,member=1``, a workload of the
            suite that is ours (``short-bursts``), a trace, its folder, or a `RecordedLoad`, which also says
            why its tasks wake up.
        scheduler: A name with or without values (``fair``, ``rr:slice_us=500``), ``module:Class``, or a
            `Scheduler` of yours, of which the simulation runs a copy. Under ``external`` it comes back
            wherever a CPU is to choose, and `choose()` says who runs.
        cpus: How many CPUs share one cache. Default: 8, or what `topology` or the trace has.
        topology: `MachineShape`, or the text LLCSxCORESxTHREADS.
        seed: What the load draws.
        noise_seed: What the machine's own noise draws. Default: `seed`.
        costs: Constants of the machine that differ from the table of `schedtuna sim list`.
        duration_s: How long a member of a family goes on. Default: 10.
        traced: Keep events for `take_events()`, and tasks' attributes for `take_attributes()`.
        coverage: Let a sched_ext object count which of its instructions run: `executed()`.
        settings: A file with what a sched_ext object's loader prepared (`sim settings`). Default: what is
            kept of it for this layout, if anything is.

    Attributes:
        scheduler_facts: What a manifest says of the scheduler: the one that it began with.
        swaps: Of those that came later, and of parameters that were set (`swap()`, `set_parameters()`): when
            it was asked for (ns), and the same.

    Raises:
        UsageError: The workload, scheduler, topology, seed or a constant is none.
        UnavailableError: This installation lacks the native module.
    """

    def __init__(
        self,
        workload: LoadSource,
        scheduler: SchedulerSource = "fair",
        *,
        cpus: int | None = None,
        topology: MachineShape | str | None = None,
        seed: int = 1,
        noise_seed: int | None = None,
        costs: Mapping[str, int] | None = None,
        duration_s: float | None = None,
        traced: bool = False,
        coverage: bool = False,
        settings: Path | None = None,
    ) -> None:
        workload = with_recording(workload)
        if isinstance(workload, RecordedLoad) and topology is None:
            cpus = workload.nr_cpus if cpus is None else cpus
        self.shape = MachineShape.of(cpus, topology)
        self.seed, self.noise_seed = _seed(seed), _seed(seed if noise_seed is None else noise_seed)
        self.costs = complete_costs(costs or {})
        self.load, self.load_facts = read_load(
            workload,
            nr_cpus=self.shape.nr_cpus,
            costs=self.costs,
            duration_s=duration_s,
            seed=self.seed,
        )
        require_memory(self.load.nr_tasks, read_memory_bytes(Probe(), "MemAvailable"))
        native, self.scheduler_facts = chosen_scheduler(
            scheduler, self.shape, seed=self.noise_seed, coverage=coverage, settings=settings
        )
        self.swaps: tuple[tuple[int, dict[str, Any]], ...] = ()
        self._failure: BaseException | None = None
        self._is_busy = False
        with self._told():
            try:
                self._engine = NativeSimulation(
                    self.load, native, self.seed, self.noise_seed, self.shape.native(), self.costs
                )
            except MemoryError:
                raise UsageError(
                    f"there is no room for {scheduler}: a simulated scheduler has 4 GB with all its maps",
                    hint="make its maps smaller (max_entries)",
                ) from None
        self._native.set_traced(traced)

    def fork(self) -> Self:
        """Return a copy that goes on exactly as this one does; its events begin now."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        with self._told():
            other._engine = self._engine.fork()
        return other

    def run(self, until_ns: int | None = None) -> Stop:
        """Go on until everything up to and including that time has happened.

        Args:
            until_ns: Since the beginning; default, and at most: the workload's own end.

        Returns:
            Why it came back: `TIME`, `ALL_EXITED`, `DEADLOCK`, of which `waiting()` tells, or `DECISION`: see
            `stop_at_pick()`. If nobody takes that, it is the scheduler's; `external` waits for it.

        Raises:
            UsageError: Neither the workload nor `until_ns` has an end, or a task does what it can't.
            SimulationError: The scheduler broke a rule of the kernel's.
        """
        *_, stop = self.stages(until_ns)
        return stop

    def stages(self, until_ns: int | None = None) -> Iterator[Stop]:
        """Go on as `run` does, and come back now and then, at least once: to take the events meanwhile."""
        end = self._end(until_ns)
        step, nr_events = _FIRST_STEP_NS, self._native.totals()["nr_events"]
        while True:
            until = min(end, max(self.now_ns, self._native.next_event_ns or 0) + step)
            with self._told():
                stop = self._engine.run(until)
            nr_before, nr_events = nr_events, self._native.totals()["nr_events"]
            step = max(step * _EVENTS_AT_ONCE // max(nr_events - nr_before, _EVENTS_AT_ONCE // 4), 1)
            yield stop
            if stop is not Stop.TIME or until >= end:
                return

    def step(self) -> Stop:
        """Let the next event happen; `TIME`: there are more. See `run`."""
        with self._told():
            return self._engine.step()

    def explain_idle(self, until_ns: int | None = None) -> dict[str, int]:
        """Go on as `run` does; for how long did CPUs idle while a task waited on another one, and why?

        Returns:
            For each reason of `idle_reason_table()`: ns, summed over the CPUs that idled.

        Raises:
            UsageError: As `run`; or the scheduler is not `fair`.
        """
        end = self._end(until_ns)
        with self._told():
            times = self._engine.explain_idle(end)
        return {name: time for (name, _), time in zip(idle_reason_table(), times, strict=True)}

    def stop_at_pick(self, nth: int) -> None:
        """Let it come back (`Stop.DECISION`) where a CPU chooses what runs next for the nth time.

        Args:
            nth: Counted over all CPUs, from 0; `nr_picks` of them have begun.
        """
        self._native.stop_at_pick(nth)

    @property
    def nr_picks(self) -> int:
        """How often a CPU has chosen, or begun to."""
        return self._native.nr_picks

    @property
    def deciding_cpu(self) -> int | None:
        """The CPU that is to choose; None: no decision is due."""
        return self._native.deciding_cpu

    def candidates(self) -> list[int]:
        """Return the tasks (ids) among which the CPU that is to choose has the choice.

        Raises:
            UsageError: No decision is due.
        """
        if self.deciding_cpu is None:
            raise UsageError("no decision is due: stop_at_pick() lets run() come back with one")
        return self._native.candidates()

    def candidate_rows(self) -> npt.NDArray[Any]:
        """Return what `external` can know of the candidates (`CANDIDATE_DTYPE`), in order of arrival.

        ``waited_ns`` is since it was queued, ``attained_ns`` its CPU time since it woke up, ``burst_ns`` that
        between its last two sleeps (0: none yet), ``cpu`` what the kernel's task_cpu() is: the CPU it ran on
        last or, where its wakeup chose another, that one.

        Raises:
            UsageError: The scheduler is another one, or no decision is due.
        """
        if self.deciding_cpu is None or not self._is_external:
            raise UsageError("candidates are described while a decision of `external` is due")
        return np.frombuffer(self._native.candidate_rows(), CANDIDATE_DTYPE)

    def choose(self, task_id: int | None = None) -> None:
        """Let the CPU that is to choose run a task, and go on to the end of this moment.

        Args:
            task_id: One of the candidates; `IDLE`, which `external` alone can choose: nobody, until another
                task comes or `preempt()`; None: whom the scheduler would choose (`external`: who came first).

        Raises:
            UsageError: It is no candidate, or no decision is due.
        """
        found = self.candidates()
        idles = task_id == IDLE and self._is_external
        if task_id is not None and not idles and task_id not in found:
            raise UsageError(f"CPU {self.deciding_cpu} can't choose task {task_id}: it has {found}")
        with self._told():
            if task_id is None:
                self._engine.choose_own()
            else:
                self._engine.choose(None if idles else task_id)

    def preempt(self, cpu: int) -> None:
        """Let a CPU choose again, as soon as interrupts and costs allow, whatever it does now.

        Raises:
            UsageError: There is no such CPU.
        """
        if not 0 <= cpu < self.shape.nr_cpus:
            raise UsageError(f"there is no CPU {cpu}: the machine has 0 to {self.shape.nr_cpus - 1}")
        with self._told():
            self._engine.preempt(cpu)

    def place_at_wakeup(self, nth: int, cpu: int) -> None:
        """Let a task go to this CPU when it wakes up, wherever the scheduler sends it.

        Args:
            nth: Which wakeup or birth, counted over all tasks from 1, as the trace's events are.
            cpu: The run fails if the task may not run there. A task that is still queued stays where it is.
        """
        self._native.place_at_wakeup(nth, cpu)

    def next_migration(self, until_ns: int | None = None) -> NextMigration | None:
        """Return the next migration that is to come and nobody has decided about; None: there is none.

        `fair` asks for each: where it would wake a task up on another CPU, and where balancing would move one
        that waits. It is foreseen in a fork, and happens as `decide_migration()` says, or if nothing is said.

        Args:
            until_ns: How far to look; default, and at most: the workload's own end.

        Raises:
            UsageError: The scheduler is another one: where CPUs share a queue nothing migrates between them.
        """
        end = self._end(until_ns)
        if self._native.scheduler_name != "fair":
            raise UsageError("migrations are asked for by `fair` alone: elsewhere CPUs share a queue")
        with self._told():
            found = self._engine.next_migration(end)
        return None if found is None else NextMigration(*found)

    def decide_migration(self, nth: int, *, moves: bool) -> None:
        """Let a migration that is to come be, or let its task stay where it is.

        Args:
            nth: Its number; those before it are decided, too.
            moves: Whether it is to be.

        Raises:
            UsageError: It is over, or decided.
        """
        try:
            self._native.decide_migration(nth, moves)
        except BadInputError as error:
            raise UsageError(str(error)) from error

    def set_attributes(
        self,
        task_id: int,
        *,
        nice: int | None = None,
        policy: Policy | None = None,
        slice_ns: int | None = None,
    ) -> None:
        """Set attributes of a task from outside, from now on, or until it sets them itself.

        Args:
            task_id: The task, which may not have been born yet.
            nice: -20 to 19.
            policy: As above.
            slice_ns: 0: the scheduler's own.

        Raises:
            UsageError: There is no such task any more, no such value, or a decision is due.
        """
        with self._told():
            if nice is not None:
                self._engine.set_nice(task_id, nice)
            if policy is not None:
                self._engine.set_policy(task_id, policy)
            if slice_ns is not None:
                self._engine.set_slice(task_id, slice_ns)

    def set_group_weight(self, group: int, weight: int) -> None:
        """Give a group another weight from outside, from now on.

        Args:
            group: Its number, from 1 on.
            weight: 2 to 262,144, beside tasks and groups of which 1024 is the usual one.

        Raises:
            UsageError: There is no such group or weight, a decision is due, or this scheduler's groups keep
                the weights that they had at its beginning.
        """
        with self._told():
            self._engine.set_group_weight(group, weight)

    def swap(self, scheduler: SchedulerSource) -> None:
        """Let another scheduler take over; all tasks pass to it, and each CPU chooses anew.

        As in the kernel, the way from one to another leads through ``fair``, which takes over at once. It
        stays for the constant ``swap_ns``, until the other one is loaded; a later call overrules it. What
        the schedulers knew of the tasks is lost, nice values and affinities are not.

        Args:
            scheduler: As above.

        Raises:
            UsageError: There is no such scheduler, or a decision is due.
        """
        native, facts = chosen_scheduler(scheduler, self.shape, seed=self.noise_seed)
        if self.deciding_cpu is not None:
            raise UsageError("the scheduler can't be changed while a decision is due: choose() first")
        with self._told():
            self._engine.swap(native)
        self.swaps += ((self.now_ns, facts),)

    def set_parameters(self, values: Assignment) -> None:
        """Give the scheduler that is on other parameters while it runs; the rest stay as they are.

        What a task was given before, such as a slice that it has begun or waits with, holds until it is over.

        Raises:
            UsageError: There is no such parameter or value, a decision is due, or this scheduler's hold from
                its beginning on (``version`` of `fair`, schedulers in Python, sched_ext objects).
        """
        if self.deciding_cpu is not None:
            raise UsageError("parameters can't be set while a decision is due: choose() first")
        facts = self.swaps[-1][1] if self.swaps else self.scheduler_facts
        name = self._native.scheduler_name
        if facts["name"] != name or name not in native_schedulers():
            raise UsageError(f"the parameters of {name} hold from its beginning on, or until it is on")
        now = require_parameters(name, facts["parameters"] | dict(values))
        numbers = {key: int(value) for key, value in now.items() if isinstance(value, int)}
        with self._told():
            self._engine.set_parameters(numbers)
        self.swaps += ((self.now_ns, {"name": name, "parameters": now}),)

    def executed(self) -> dict[str, tuple[int, int]]:
        """Return how many instructions of each function of a sched_ext object ran, and how many it has.

        Empty unless the simulation was made with `coverage`, and while no object's scheduler is in charge.
        """
        return {name: (ran, count) for name, ran, count in covered_instructions(self._native)}

    def state(self) -> SimulationState:
        """Return how everything is now."""
        return SimulationState(
            self.now_ns,
            self._native.next_event_ns,
            tuple(self._native.currents()),
            tuple(SimulatedTask(*row) for row in self._native.tasks()),
        )

    @property
    def now_ns(self) -> int:
        """The time since its beginning."""
        return self._native.now_ns

    @property
    def running(self) -> tuple[int | None, ...]:
        """Who runs, per CPU: a task's id, or None; without the rest of `state()`."""
        return tuple(self._native.currents())

    @property
    def totals(self) -> SimulationTotals:
        """What it amounts to so far."""
        return SimulationTotals(**self._native.totals())

    @property
    def scheduler(self) -> Any:
        """The scheduler in Python that it runs, which is a copy; None: it is native."""
        return self._native.scheduler

    def waiting(self) -> str:
        """Say which tasks wait for what, and who holds it; empty: none does."""
        return self._native.waiting()

    def take_events(self) -> EventArray:
        """Return the events since the last call (`EVENT_DTYPE`), in time order, if they are kept."""
        return self._native.take_events().view(EVENT_DTYPE)

    def take_attributes(self) -> AttributeArray:
        """Return what tasks asked for when they were born, or first seen, and changes since the last call.

        In time order (`ATTRIBUTE_DTYPE`), if events are kept; `cpu_sets()` has the sets that they name.
        """
        return self._native.take_attributes().view(ATTRIBUTE_DTYPE)

    def tallies(self) -> list[tuple[int, int | None, int, int]]:
        """Return, of each task (by id), when it was born and died (None: it lives), and its switches.

        These are two numbers, of voluntary and of involuntary ones, counted while events are kept.
        """
        return self._native.tallies()

    def cpu_sets(self) -> dict[int, str]:
        """Return the sets of CPUs that tasks may ever be bound to, by the numbers that attributes have."""
        return {number: format_cpu_list(cpus) for number, cpus in enumerate(self._native.cpu_sets(), 1)}

    def _end(self, until_ns: int | None) -> int:
        if until_ns is not None:
            if not 0 <= until_ns <= NEVER:
                raise UsageError(f"{until_ns} ns is no time of a simulation")
            return min(until_ns, self.load.duration_ns or until_ns)
        if self.load.duration_ns is not None:
            return self.load.duration_ns
        if self.load.is_endless:
            raise UsageError(
                f"{self.load_facts['name']} has no end: tasks go round for ever",
                hint="say how long (--for 10s), or give the file a global duration",
            )
        return NEVER

    @property
    def _is_external(self) -> bool:
        return self._native.scheduler_name == "external"

    @property
    def _native(self) -> NativeSimulation:
        self._require_idle()
        return self._engine

    def _require_idle(self) -> None:
        if self._is_busy:
            raise SimulationError("this simulation is running: in another thread, or it called its scheduler")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the native module raises into errors of ours; after one nothing goes on."""
        if self._failure is not None:
            raise SimulationError(f"this simulation has ended: {self._failure}")
        self._require_idle()
        self._is_busy = True
        try:
            yield
        except BadInputError as error:
            self._failure = error
            hint = _UNFIT_HINT if _UNFIT in str(error) else None
            raise UsageError(str(error), hint=hint) from error
        except SchedulerError as error:
            self._failure = error
            raise SimulationError(str(error)) from error
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._is_busy = False


def memory_bytes(nr_tasks: int) -> int:
    """What a simulation of so many tasks takes at most, without the events that are kept."""
    return _BYTES_PER_TASK * nr_tasks


def require_memory(nr_tasks: int, available_bytes: int | None) -> None:
    """Raise UsageError if so many tasks don't fit; None: it is not known what is available."""
    needed = memory_bytes(nr_tasks)
    if available_bytes is not None and needed > available_bytes:
        raise UsageError(
            f"{nr_tasks:,} tasks need up to {needed / 1e6:,.0f} MB of memory, "
            f"and {available_bytes / 1e6:,.0f} MB are available",
            hint="simulate fewer tasks, or on a machine with more memory",
        )


def _seed(seed: int) -> int:
    if not 0 <= seed <= _MOST_SEED:
        raise UsageError(f"seed {seed}: expected 0 to {_MOST_SEED}")
    return seed


def complete_costs(costs: Mapping[str, int]) -> dict[str, int]:
    """Return all constants of a machine.

    Args:
        costs: Those that differ from the defaults.

    Raises:
        UsageError: There is no such constant, or it can't have that value.
    """
    complete = {name: initial for name, initial, *_ in cost_table()}
    for name, value in costs.items():
        if name not in complete:
            raise UsageError(f"the machine has no constant {name!r}: {nearest(name, complete)}")
        if not isinstance(value, int) or not 0 <= value <= _MOST_COST:
            raise UsageError(f"{name}={value}: expected a whole number from 0 to {_MOST_COST:,}")
    return complete | dict(costs)
