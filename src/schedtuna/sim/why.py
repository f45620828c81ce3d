"""Why do tasks of a simulated load wait as long as they do, and what would have made them wait less?

    report = why(open_trace("trace"), WaitMetric.parse("wakeup_latency_p99"))

Tasks are ranked by what the metric would have been with other attributes of theirs; settings and single
decisions by what it would have been with those, under the same arrivals, bursts and noise. A machine of many
tasks is chaotic: any change, however small, moves a tail a little. So some decisions that mean nothing are
changed as well, and what moves the metric no further than those do is not called a cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from schedtuna.errors import SimulationError, UsageError
from schedtuna.sim.flips import Base, Flip, flips, points_of
from schedtuna.sim.native import Policy, Stop
from schedtuna.sim.origin import Origin
from schedtuna.sim.schedulers import native_schedulers, scheduler_text
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.state import SimulatedTask
from schedtuna.sim.waits import WaitMetric, waits_of
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue
from schedtuna.trace.trace import Trace

NR_NEUTRAL = 6  # changes that mean nothing
MOST_POINTS = 200
_MOST_TASKS = (
    3  # names of tasks whose attributes are changed, of those that wait and of those that run meanwhile
)
_NICE_STEP = 5
_SHORT_SLICE_NS = 500_000
_EXAMINED = 500  # waits of the tail
_NOT_SETTINGS = {"version"}  # whose rules: no machine can be told


@dataclass(frozen=True)
class TaskShare:
    """What tasks of one name have to do with the tail.

    Attributes:
        name: Theirs.
        nr_waits: How often they waited.
        nr_tail: How often as long as the tail.
        tail_ns: For how long then.
        ran_meanwhile_ns: How long they ran while others waited so, where those did.
    """

    name: str
    nr_waits: int
    nr_tail: int
    tail_ns: int
    ran_meanwhile_ns: int


@dataclass(frozen=True)
class Setting:
    """Something that can be set, one step from what it is.

    Attributes:
        parameter: Of the scheduler; None: an attribute of tasks.
        task: Their name.
        attributes: Arguments of `Simulation.set_attributes`.
        value: The parameter's.
        value_ns: What the metric would have been.
        excess_ns: How far waits would have gone beyond the present tail's threshold, added up.
    """

    parameter: str | None = None
    task: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    value: ParameterValue = 0
    value_ns: float = 0.0
    excess_ns: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """What is to be said of a trace.

    Attributes:
        base: What happened.
        names: Each task's name, by id.
        neutral_ns: The least and the greatest that the metric came to when what was changed means nothing.
        tasks: Those that the tail is about, first those that could have changed it most.
        settings, flips: What would have been, the best first.
        nr_left: How many settings and decisions there was no time for.
    """

    base: Base
    names: list[str]
    neutral_ns: tuple[float, float]
    tasks: list[TaskShare]
    settings: list[Setting]
    flips: list[Flip]
    nr_left: int

    def helps(self, value_ns: float) -> bool:
        """Return whether the metric would have been lower than any change might make it."""
        return value_ns < min(self.base.value_ns, self.neutral_ns[0])


def why(
    trace: Trace,
    metric: WaitMetric,
    *,
    time_left: Callable[[], float] = lambda: 1.0,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Explanation:
    """Explain a metric of a simulated trace.

    Args:
        trace: Written by `simulate()`, or recorded: then what its replay does is explained.
        metric: The metric.
        time_left: The share of the time allowed that is left; at 0, what there is is returned.
        progress: Called with the steps done, and how many there are.

    Raises:
        TraceError: The trace can't be replayed.
        SimulationError: The simulation can't be repeated.
    """
    origin = Origin.of(trace)
    end = origin.repeated()
    base = Base.of(origin, end.take_events(), end.shape.nr_cpus, metric)
    state = end.state().tasks
    names = [task.name for task in state]
    tasks = _task_shares(base, names)
    if not tasks:
        return Explanation(base, names, (base.value_ns, base.value_ns), [], [], [], 0)
    todo, points = list(_settings(origin, tasks, state)), points_of(base, MOST_POINTS)
    total, done = NR_NEUTRAL + len(todo) + len(points), 0

    def step(least_left: float) -> bool:
        nonlocal done
        if time_left() <= least_left:
            return False
        progress(done, total)
        done += 1
        return True

    spread = range(0, max(end.nr_picks // 2, 1), max(end.nr_picks // 2 // NR_NEUTRAL, 1))
    neutral = [_value(base, _unimportant(origin, nth))[0] for nth in spread[:NR_NEUTRAL] if step(0.8)]
    settings: list[Setting] = []
    for setting in todo:
        if step(0.4):
            settings += _tried(base, setting)
    found = list(flips(base, points, lambda: step(0.0)))
    settings.sort(key=lambda one: (one.value_ns, one.excess_ns))
    found.sort(key=lambda flip: (flip.value_ns, flip.excess_ns))
    best = {one.task: one.value_ns for one in reversed(settings) if one.task}
    tasks.sort(key=lambda one: (best.get(one.name, base.value_ns), -one.tail_ns - one.ran_meanwhile_ns))
    noise_ns = (min(neutral, default=base.value_ns), max(neutral, default=base.value_ns))
    return Explanation(base, names, noise_ns, tasks, settings, found, total - done)


def _task_shares(base: Base, names: list[str]) -> list[TaskShare]:
    """Return each name's share of the tail; none if nobody waits."""
    nr_waits, nr_tail, waited, ran = (Counter[str]() for _ in range(4))
    nr_waits.update(names[tid - 1] for tid in base.waits.tid.tolist())
    tail = base.tail
    columns = (tail.tid, tail.begin_ns, tail.end_ns, tail.cpu)
    for nth, (tid, begin, end, cpu) in enumerate(zip(*(one.tolist() for one in columns), strict=True)):
        nr_tail[names[tid - 1]] += 1
        waited[names[tid - 1]] += end - begin
        if nth < _EXAMINED:
            for other, _, length in base.meanwhile(cpu, begin, end):
                ran[names[other - 1]] += length
    return [
        TaskShare(name, nr_waits[name], nr_tail[name], waited[name], ran[name])
        for name in dict.fromkeys([*waited, *ran])
    ]


def _settings(origin: Origin, tasks: list[TaskShare], state: tuple[SimulatedTask, ...]) -> Iterator[Setting]:
    """Yield each setting one step from what it is."""
    known = native_schedulers().get(origin.scheduler)
    for name, spec in ({} if known is None else known.parameters).items():
        if name not in _NOT_SETTINGS:
            for value in _steps(spec, origin.parameters.get(name, spec.default)):
                yield Setting(parameter=name, value=value)
    first = {task.name: task for task in reversed(state)}
    for share in sorted(tasks, key=lambda one: -one.tail_ns)[:_MOST_TASKS]:
        task = first[share.name]
        if not share.tail_ns:
            continue
        if task.policy is not Policy.OTHER:
            yield Setting(task=task.name, attributes={"policy": Policy.OTHER})
        if task.nice > -20:
            yield Setting(task=task.name, attributes={"nice": max(task.nice - _NICE_STEP, -20)})
        if task.slice_ns != _SHORT_SLICE_NS:
            yield Setting(task=task.name, attributes={"slice_ns": _SHORT_SLICE_NS})
    for share in sorted(tasks, key=lambda one: -one.ran_meanwhile_ns)[:_MOST_TASKS]:
        task = first[share.name]
        if not share.ran_meanwhile_ns:
            continue
        if task.nice < 19:
            yield Setting(task=task.name, attributes={"nice": min(task.nice + _NICE_STEP, 19)})
        for policy in (Policy.BATCH, Policy.IDLE):
            if task.policy is not policy:
                yield Setting(task=task.name, attributes={"policy": policy})
        if task.slice_ns > _SHORT_SLICE_NS:
            yield Setting(task=task.name, attributes={"slice_ns": 0})


def _steps(spec: ParameterSpec, value: ParameterValue) -> Iterator[ParameterValue]:
    """Yield a parameter's values beside the one that it has: another flag, half and twice the number."""
    if spec.type is ParameterType.BOOLEAN:
        yield not value
    elif isinstance(value, int) and isinstance(spec.default, int):
        least, most = int(spec.min_value or 0), int(spec.max_value or value)
        for other in (value // 2, value * 2 or 1):
            if other != value and least <= other <= most:
                yield other


def _value(base: Base, simulation: Simulation) -> tuple[float, float]:
    """Run a simulation; return what the metric comes to, and how far waits go beyond the threshold."""
    simulation.run(base.origin.until_ns)
    lengths = waits_of(simulation.take_events(), base.metric.kind).lengths_ns(base.origin.until_ns)
    return base.metric.of(lengths), base.excess_ns(lengths)


def _unimportant(origin: Origin, nth: int) -> Simulation:
    """Return the simulation with one of its decisions changed: the first with a choice from the nth on."""
    simulation = origin.simulation()
    simulation.stop_at_pick(nth)
    while simulation.run(origin.until_ns) is Stop.DECISION:
        if len(found := simulation.candidates()) > 1:
            simulation.choose(found[-1])
            break
        simulation.stop_at_pick(simulation.nr_picks)
    return simulation


def _tried(base: Base, setting: Setting) -> list[Setting]:
    """Return the setting with what would have been; nothing if the machine refuses it."""
    origin, scheduler = base.origin, None
    if setting.parameter is not None:
        scheduler = scheduler_text(origin.scheduler, origin.parameters | {setting.parameter: setting.value})
    try:
        simulation = origin.simulation(scheduler)
        if setting.task is not None:
            for task in simulation.state().tasks:
                if task.name == setting.task:
                    simulation.set_attributes(task.id, **setting.attributes)
        value, excess = _value(base, simulation)
    except (UsageError, SimulationError):
        return []
    return [replace(setting, value_ns=value, excess_ns=excess)]
