"""Which single decisions made a load wait, and what if one had been another?

A decision is a pick (which task a CPU ran next) or a placement (where a task went when it woke up). The
machine is forked there, decides otherwise, and goes on under the same noise; the waits that were under way
then, or began soon after, are replaced by those of the fork, all others stay. What still waits at the end
counts as it is then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from schedtuna.errors import SimulationError, UsageError
from schedtuna.sim.native import Stop
from schedtuna.sim.origin import Origin
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.waits import WaitMetric, Waits, waits_of
from schedtuna.trace.schema import EventArray, EventType, IntArray

_WHOLE_EVENTS = 200_000  # of a simulation that is short enough to go on to its end each time
_EFFECT_NS = 50_000_000  # else: how long after the last wait that is explained by it a decision is followed
_MOST_PROBES = 2000  # picks that are looked at for one decision
_THREADS = 2
_AHEAD = 4
_PER_CPU = "fair"  # the scheduler whose CPUs have queues of their own


@dataclass(frozen=True)
class Base:
    """What happened.

    Attributes:
        origin: Of what it is.
        events: All of them.
        waits: Those that the metric counts.
        metric: The metric.
        value_ns: What it came to.
        threshold_ns: Waits as long as that are its tail.
        stays: Per CPU, when a task was switched in, and which (tid; 0: idle).
    """

    origin: Origin
    events: EventArray
    waits: Waits
    metric: WaitMetric
    value_ns: float
    threshold_ns: float
    stays: list[tuple[IntArray, IntArray]]

    @classmethod
    def of(cls, origin: Origin, events: EventArray, nr_cpus: int, metric: WaitMetric) -> Base:
        """Measure a simulation's events."""
        waits = waits_of(events, metric.kind)
        lengths = waits.lengths_ns(origin.until_ns)
        value = metric.of(lengths)
        tail = WaitMetric(metric.kind, "p90").of(lengths) if metric.statistic == "mean" else value
        switches = events[events["type"] == EventType.SWITCH]
        by_cpu = (switches[switches["cpu"] == cpu] for cpu in range(nr_cpus))
        stays = [(on["timestamp_ns"].astype(np.int64), on["other_tid"].astype(np.int64)) for on in by_cpu]
        return cls(origin, events, waits, metric, value, tail, stays)

    @cached_property
    def wakeups(self) -> EventArray:
        """All wakeups, births among them, in the order in which simulations count them."""
        return self.events[np.isin(self.events["type"], (EventType.WAKEUP, EventType.WAKEUP_NEW))]

    @property
    def tail(self) -> Waits:
        """The waits that are as long as the threshold, the longest first."""
        waits = replace(self.waits, end_ns=self.waits.begin_ns + self.waits.lengths_ns(self.origin.until_ns))
        lengths = waits.lengths_ns()
        which = np.flatnonzero(lengths >= max(self.threshold_ns, 1))
        return waits.select(which[np.argsort(-lengths[which], kind="stable")])

    def excess_ns(self, lengths_ns: IntArray) -> float:
        """Return how far waits of these lengths go beyond the threshold, added up."""
        return float(np.maximum(lengths_ns - self.threshold_ns, 0).sum())

    def meanwhile(self, cpu: int, begin_ns: int, end_ns: int) -> Iterator[tuple[int, int, int]]:
        """Yield who ran where a wait took place: tid, switched in when, for how long of it."""
        for one in [cpu] if self.origin.scheduler == _PER_CPU else range(len(self.stays)):
            since, tid = self.stays[one]
            first = max(int(np.searchsorted(since, begin_ns, "right")) - 1, 0)
            for at in range(first, int(np.searchsorted(since, end_ns, "left"))):
                until = since[at + 1] if at + 1 < len(since) else end_ns
                overlap = min(int(until), end_ns) - max(int(since[at]), begin_ns)
                if tid[at] and overlap > 0:
                    yield int(tid[at]), int(since[at]), overlap


@dataclass(frozen=True)
class Point:
    """A decision that may have made a task wait.

    Attributes:
        at_ns: When it was taken.
        until_ns: When the last wait that it may explain was over.
        task: The id of whom it is to run, or to place.
        cpu: Where it is to run, or to be placed.
        wakeup: A placement: which wakeup; None: a pick.
        weight_ns: How much waiting it may explain.
    """

    at_ns: int
    until_ns: int
    task: int
    cpu: int
    wakeup: int | None
    weight_ns: int


@dataclass(frozen=True)
class Flip:
    """A decision, taken otherwise.

    Attributes:
        point: The decision.
        instead_of: The task's id (a pick; None: nobody), or the CPU (a placement) that was chosen.
        value_ns: What the metric would have been.
        excess_ns: How far waits would have gone beyond the present tail's threshold, added up.
    """

    point: Point
    instead_of: int | None
    value_ns: float
    excess_ns: float


def points_of(base: Base, most: int) -> list[Point]:
    """Return the decisions that may explain the tail, those that may explain most of it first."""
    found: dict[tuple[int, int, int, int | None], Point] = {}

    def add(point: Point) -> None:
        key = (point.at_ns, point.task, point.cpu, point.wakeup)
        old = found.get(key, point)
        weight_ns = point.weight_ns + (old.weight_ns if old is not point else 0)
        found[key] = replace(point, until_ns=max(point.until_ns, old.until_ns), weight_ns=weight_ns)

    is_placed = base.origin.scheduler == _PER_CPU and len(base.stays) > 1
    woken, tail = base.wakeups, base.tail
    for tid, begin, end, cpu in islice(
        zip(tail.tid.tolist(), tail.begin_ns.tolist(), tail.end_ns.tolist(), tail.cpu.tolist(), strict=True),
        most,
    ):
        stays = list(base.meanwhile(cpu, begin, end))
        since = [begin, *(at for _, at, _ in sorted(stays, key=lambda stay: -stay[2])[:2] if at > begin)]
        for at_ns in since:
            add(Point(at_ns, end, tid - 1, cpu, None, end - at_ns))
        if not is_placed:
            continue
        ran: dict[int, int] = {tid: end - begin}
        for other, _, length in stays:
            ran[other] = ran.get(other, 0) + length
        for who in sorted(ran, key=lambda one: -ran[one])[:2]:
            own = np.flatnonzero((woken["tid"] == who) & (woken["timestamp_ns"] <= begin))
            if len(own):
                at_ns = int(woken["timestamp_ns"][own[-1]])
                for other_cpu in _others(base, at_ns, int(woken["target_cpu"][own[-1]])):
                    add(Point(at_ns, end, who - 1, other_cpu, int(own[-1]) + 1, ran[who]))
    return sorted(found.values(), key=lambda point: -point.weight_ns)[:most]


def _others(base: Base, at_ns: int, cpu: int) -> list[int]:
    """Return two CPUs where a task might have gone, those that idled then first."""

    def is_busy(other: int) -> bool:
        since, tid = base.stays[other]
        at = int(np.searchsorted(since, at_ns, "left")) - 1
        return at >= 0 and bool(tid[at])

    nr_cpus = len(base.stays)
    order = [(cpu + step) % nr_cpus for step in range(1, nr_cpus)]
    return sorted(order, key=is_busy)[:2]


def flips(base: Base, points: list[Point], go_on: Callable[[], bool]) -> Iterator[Flip]:
    """Take each decision otherwise, in time order, until told to stop; those that can't be are left out."""
    walker, nr_events = base.origin.simulation(), 0
    pending: list[Future[Flip | None]] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for point in sorted(points, key=lambda one: one.at_ns):
            if not go_on():
                break
            if point.at_ns - 1 > walker.now_ns:
                walker.run(point.at_ns - 1)
                nr_events += len(walker.take_events())
            found = _forked(base, walker, nr_events, point)
            if found is not None:
                pending.append(pool.submit(_outcome, base, point, *found))
            while len(pending) > _AHEAD:
                if (flip := pending.pop(0).result()) is not None:
                    yield flip
        for future in pending:
            if (flip := future.result()) is not None:
                yield flip


def _forked(
    base: Base, walker: Simulation, nr_events: int, point: Point
) -> tuple[Simulation, int, int | None] | None:
    """Return a fork that has decided otherwise, how many events came before, and what had been decided."""
    fork = walker.fork()
    if point.wakeup is not None:
        fork.place_at_wakeup(point.wakeup, point.cpu)
        return fork, nr_events, int(base.wakeups["target_cpu"][point.wakeup - 1])
    for _ in range(_MOST_PROBES):
        fork.stop_at_pick(fork.nr_picks)
        if fork.run(point.until_ns) is not Stop.DECISION:
            return None
        is_here = base.origin.scheduler != _PER_CPU or fork.deciding_cpu == point.cpu
        if is_here and fork.now_ns >= point.at_ns and point.task in fork.candidates():
            nr_before = nr_events + len(fork.take_events())
            own = _own_choice(fork)
            if own == point.task:
                return None
            fork.choose(point.task)
            return fork, nr_before, own
    return None


def _own_choice(fork: Simulation) -> int | None:
    """Return whom the CPU that is to choose would run."""
    cpu, own = fork.deciding_cpu, fork.fork()
    own.choose()
    for event in own.take_events():
        if event["type"] == EventType.SWITCH and event["cpu"] == cpu:
            return int(event["other_tid"]) - 1 if event["other_tid"] else None
    return own.state().running[cpu or 0]


def _outcome(
    base: Base, point: Point, fork: Simulation, nr_before: int, instead_of: int | None
) -> Flip | None:
    end_ns = base.origin.until_ns
    until_ns = end_ns
    if len(base.events) > _WHOLE_EVENTS:
        until_ns = min(end_ns, point.until_ns + _EFFECT_NS)
    stop_ns = min(end_ns, until_ns + _EFFECT_NS)
    try:
        fork.run(stop_ns)
    except (UsageError, SimulationError):  # the task may not run there, or has been moved away
        return None
    waits = base.waits
    ends_later = (waits.end_event >= nr_before) | (waits.end_ns < 0)
    under_way = waits.select(ends_later & (waits.begin_event < nr_before))
    new = waits_of(fork.take_events(), base.metric.kind, under_way)
    new = new.select(new.begin_ns < until_ns)
    kept = waits.select(~(ends_later & (waits.begin_ns < until_ns)))
    lengths = np.concatenate([kept.lengths_ns(end_ns), new.lengths_ns(stop_ns)])
    return Flip(point, instead_of, base.metric.of(lengths), base.excess_ns(lengths))
