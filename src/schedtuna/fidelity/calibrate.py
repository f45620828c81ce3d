"""Which of the simulated machine's constants do recordings move, and to what?

Only what a trace of scheduling events shows can be fitted: what a switch and a wakeup take, where two
tasks do nothing but wake each other; how long an idle CPU needs; how often kernel threads run. A constant
that moves nothing in the traces that there are stays as it is, which is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna.fidelity.envelope import Envelope
from schedtuna.fidelity.machine_file import Constant, SimulatedMachine
from schedtuna.sim.native import cost_table
from schedtuna.trace.schema import IDLE_TID, PF_KTHREAD, EventArray, EventType
from schedtuna.trace.trace import Trace

FEWEST_HANDOVERS = 500  # of one pair of tasks
FEWEST_WAKEUPS = 200  # of idle CPUs
FEWEST_KTHREAD_RUNS = 30
LONGEST_HANDOVER_NS = 20_000  # what takes longer is work, not a switch
NOT_SEEN = "a trace of scheduling events doesn't show it: default"


@dataclass(frozen=True)
class Sighting:
    """What traces show of something: how often, and the value."""

    number: int
    value: float


@dataclass(frozen=True)
class Pair:
    """Slices of two tasks that alternate: those in which one wakes the other, and the others.

    Attributes:
        waking: What they take.
        wait: From the wakeup to the switch in them.
        other: What the others take.
    """

    waking: Sighting
    wait: Sighting
    other: Sighting


def calibrated(traces: Sequence[Trace], envelope: Envelope | None = None) -> SimulatedMachine:
    """Fit what the traces move.

    Args:
        traces: Recorded, unfiltered.
        envelope: The machine that they are of; None: not known.
    """
    constants = {
        name: Constant(value=initial, is_fitted=False, source=NOT_SEEN) for name, initial, *_ in cost_table()
    }
    if envelope and envelope.hz:
        constants["tick_ns"] = Constant(
            value=round(1e9 / envelope.hz), is_fitted=True, source=f"CONFIG_HZ={envelope.hz}"
        )
    _fit_switches(traces, constants)
    _fit_idle_exit(traces, constants)
    _fit_kthreads(traces, constants)
    return SimulatedMachine(
        kernel_release=envelope.kernel_release if envelope else None,
        hz=envelope.hz if envelope else None,
        preemption=envelope.preemption if envelope else None,
        topology=envelope.topology if envelope else None,
        constants=constants,
    )


def _fit_switches(traces: Sequence[Trace], constants: dict[str, Constant]) -> None:
    """Fit the two from two tasks that do nothing but wake each other.

    A task that wakes the other one, which runs next, took a switch and a wakeup; one that was preempted by
    whom it woke, and then sleeps, a switch alone. What passes from the wakeup to the switch is the wakeup's,
    as it is in the model, also where it is the way out of the system call; switches take what is left.
    """
    found = min(
        (pair for trace in traces for pair in _pairs(trace.events)),
        key=lambda pair: pair.waking.value,
        default=None,
    )
    names = ("context_switch_ns", "wakeup_ns")
    if found is None:
        why = f"no two tasks wake each other {FEWEST_HANDOVERS} times on one CPU: default"
        for name in names:
            constants[name] = constants[name].model_copy(update={"source": why})
        return
    seen = [found.waking, found.other] if found.other.number >= FEWEST_HANDOVERS else [found.waking]
    nr_slices = sum(one.number for one in seen)
    nr_wakeups = found.waking.number
    mean_ns = sum(one.number * one.value for one in seen) / nr_slices
    values = [max(0.0, mean_ns - found.wait.value * nr_wakeups / nr_slices), found.wait.value]
    for name, value in zip(names, values, strict=True):
        source = (
            f"two tasks that wake each other: {mean_ns:,.0f} ns a slice (medians of {nr_slices:,}),"
            f" {found.wait.value:,.0f} ns from wakeup to switch (median of {nr_wakeups:,})"
        )
        constants[name] = Constant(value=round(value), is_fitted=True, source=source)


def _per_cpu(events: EventArray) -> Iterator[EventArray]:
    kinds = np.isin(events["type"], (EventType.SWITCH, EventType.WAKEUP))
    kept = events[kinds]
    for cpu in np.unique(kept["cpu"]):
        yield kept[kept["cpu"] == cpu]


def _pairs(events: EventArray) -> Iterator[Pair]:
    """Yield what slices of two tasks that alternate on a CPU take, with and without a wakeup of the other."""
    for own in _per_cpu(events):
        switches = np.flatnonzero(own["type"] == EventType.SWITCH)
        first, last = own[switches[:-1]], own[switches[1:]]
        woken = own[np.minimum(switches[:-1] + 1, len(own) - 1)]
        between = np.diff(switches) - 1
        runs_next = (last["tid"] == first["other_tid"]) & (first["tid"] == last["other_tid"])
        runs_next &= (first["tid"] != IDLE_TID) & (first["other_tid"] != IDLE_TID)
        wakes = (between == 1) & (woken["tid"] == last["other_tid"]) & (woken["target_cpu"] == woken["cpu"])
        took = last["timestamp_ns"].astype(np.int64) - first["timestamp_ns"].astype(np.int64)
        waited = last["timestamp_ns"].astype(np.int64) - woken["timestamp_ns"].astype(np.int64)
        one = np.minimum(last["tid"], last["other_tid"]).astype(np.uint64)
        other = np.maximum(last["tid"], last["other_tid"]).astype(np.uint64)
        keys = one << np.uint64(32) | other
        unique, number = np.unique(keys[runs_next & wakes], return_counts=True)
        for key in unique[number >= FEWEST_HANDOVERS]:
            its = runs_next & (keys == key)
            pair = Pair(
                _median(took[its & wakes]), _median(waited[its & wakes]), _median(took[its & (between == 0)])
            )
            if pair.waking.value <= LONGEST_HANDOVER_NS:
                yield pair


def _median(took: npt.NDArray[np.int64]) -> Sighting:
    return Sighting(len(took), float(np.median(took)) if len(took) else 0.0)


def _fit_idle_exit(traces: Sequence[Trace], constants: dict[str, Constant]) -> None:
    """From a wakeup on an idle CPU, by its own timer, to the switch, but for the rest of the interrupt."""
    waits = np.concatenate(
        [np.empty(0), *(_idle_waits(own) for trace in traces for own in _per_cpu(trace.events))]
    )
    if len(waits) < FEWEST_WAKEUPS:
        why = f"fewer than {FEWEST_WAKEUPS} wakeups of idle CPUs: default"
        constants["idle_exit_ns"] = constants["idle_exit_ns"].model_copy(update={"source": why})
        return
    median = float(np.median(waits))
    interrupt = constants["wakeup_ns"].value + constants["timer_irq_ns"].value
    constants["idle_exit_ns"] = Constant(
        value=max(0, round(median) - interrupt),
        is_fitted=True,
        source=f"{median:,.0f} ns from wakeup to switch on idle CPUs, median of {len(waits):,}, without"
        f" {interrupt:,} ns of wakeup_ns and timer_irq_ns",
    )


def _idle_waits(own: EventArray) -> npt.NDArray[np.float64]:
    before, woken, last = own[:-2], own[1:-1], own[2:]
    which = (
        (before["type"] == EventType.SWITCH)
        & (before["other_tid"] == IDLE_TID)
        & (woken["type"] == EventType.WAKEUP)
        & (woken["target_cpu"] == woken["cpu"])
        & (last["type"] == EventType.SWITCH)
        & (last["other_tid"] == woken["tid"])
    )
    waits: npt.NDArray[np.float64] = last[which]["timestamp_ns"].astype(np.float64) - woken[which][
        "timestamp_ns"
    ].astype(np.float64)
    return waits


def _fit_kthreads(traces: Sequence[Trace], constants: dict[str, Constant]) -> None:
    """How often kernel threads run, per CPU, and how long each time."""
    lengths: list[npt.NDArray[np.float64]] = [np.empty(0)]
    cpu_s = 0.0
    for trace in traces:
        rows = trace.task_rows
        kthreads = np.unique(rows["tid"][(rows["flags"] & PF_KTHREAD) != 0])
        start, end = trace.window_ns
        cpu_s += (end - start) / 1e9 * trace.nr_cpus(1)
        for own in _per_cpu(trace.events):
            switches = own[own["type"] == EventType.SWITCH]
            spans = np.diff(switches["timestamp_ns"].astype(np.float64))
            lengths.append(spans[np.isin(switches["other_tid"][:-1], kthreads)])
    taken = np.concatenate(lengths)
    names = ("kthread_per_s", "kthread_ns")
    if len(taken) < FEWEST_KTHREAD_RUNS:
        for name in names:
            why = f"kernel threads ran fewer than {FEWEST_KTHREAD_RUNS} times: default"
            constants[name] = constants[name].model_copy(update={"source": why})
        return
    source = f"{len(taken):,} runs of kernel threads in {cpu_s:,.0f} s of CPUs' time"
    for name, value in zip(names, (len(taken) / cpu_s, float(taken.mean())), strict=True):
        constants[name] = Constant(value=max(1, round(value)), is_fitted=True, source=source)
