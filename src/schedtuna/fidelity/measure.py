"""What does a run of a load amount to? The same figures of recorded and of simulated traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from schedtuna.errors import TraceError
from schedtuna.fidelity.loads import PREFIX
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.metrics import TaskMeasures
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType
from schedtuna.trace.trace import Trace

SETTLED_S = 0.2  # after the beginning, before which nothing counts
CURVE = tuple(float(percent) for percent in range(101))
_TIMELINE_NS = 100_000_000
MOST_SWITCHES = 400


class Interruptions(BaseModel):
    """What tasks of others took of the CPUs that a load uses.

    Attributes:
        per_s: Times a second and CPU, of the time in which the load wanted a CPU.
        mean_ns: How long each.
        share: Part of that time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_s: float = 0.0
    mean_ns: float = 0.0
    share: float = 0.0


class RunFigures(BaseModel):
    """What a run amounts to.

    Attributes:
        seed: What the load drew.
        seconds: How long it was looked at.
        figures: By metric; ``METRIC:TASK`` is that of a task.
        curves: Percentiles 0 to 100 of slices and wakeup latencies, in us.
        timeline: The first switches on a CPU: us from the first, and who runs from then on; empty: not ours.
        interruptions: By tasks of others.
        steal: Part of the CPUs' time that the hypervisor took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    seconds: float
    figures: dict[str, float]
    curves: dict[str, list[float]]
    timeline: list[tuple[float, str]]
    interruptions: Interruptions = Interruptions()
    steal: float = 0.0


def measured(
    trace: Trace, seed: int, window_s: tuple[float, float], cpus: Sequence[int], *, steal: float = 0.0
) -> RunFigures:
    """Return the figures of a load's tasks, which are told by their names.

    Args:
        trace: Recorded or simulated.
        seed: What the load drew.
        window_s: From when to when it counts, in seconds since the trace's beginning.
        cpus: Which the load uses.
        steal: Part of the CPUs' time that the hypervisor took.

    Raises:
        TraceError: The trace has none of its tasks.
    """
    source = Analysis(trace, window_s=window_s)
    comms, exists = source.comms, source.measured.exists
    tasks = [number for number in np.flatnonzero(exists).tolist() if comms[number].startswith(PREFIX)]
    if not tasks:
        raise TraceError("the trace has none of the load's tasks")
    names = [comms[number].removeprefix(PREFIX) for number in tasks]
    rows = source.by("comm")
    of_row = {name.removeprefix(PREFIX): k for k, name in enumerate(rows.names) if name.startswith(PREFIX)}
    seconds = source.seconds
    figures: dict[str, float] = {}
    columns = {
        name: [float(rows.columns[name][k]) for k in of_row.values()]
        for name in ("cpu_time_ns", "run_delay_ns", "nr_switches")
    }
    total_ns = max(sum(columns["cpu_time_ns"]), 1.0)
    figures["switches_per_s"] = sum(columns["nr_switches"]) / seconds
    figures["run_delay_ms_per_s"] = sum(columns["run_delay_ns"]) / 1e6 / seconds
    curves: dict[str, list[float]] = {}
    for metric, kind in (("slice_mean_us", "slice"), ("wakeup_latency_mean_us", "wakeup_latency")):
        values = source.measured.values[kind]
        ours = np.isin(values.task, tasks)
        if ours.any():
            figures[metric] = float(values.value_ns[ours].mean()) / 1e3
            curves[kind] = (np.percentile(values.value_ns[ours], CURVE) / 1e3).round(2).tolist()
        for name in of_row:
            its = np.isin(
                values.task, [number for number, other in zip(tasks, names, strict=True) if other == name]
            )
            if its.any():
                figures[f"{metric}:{name}"] = float(values.value_ns[its].mean()) / 1e3
    for name, used, switches in zip(of_row, columns["cpu_time_ns"], columns["nr_switches"], strict=True):
        figures[f"share:{name}"] = 100 * used / total_ns
        figures[f"cpu_percent:{name}"] = used / 1e7 / seconds
        figures[f"switches_per_s:{name}"] = switches / seconds
    tids = {int(source.measured.tid[number]): comms[number].removeprefix(PREFIX) for number in tasks}
    switches_seen = _switches(trace.events, source.start_ns, source.end_ns)
    return RunFigures(
        seed=seed,
        seconds=seconds,
        figures=figures,
        curves=curves,
        timeline=_timeline(switches_seen, tids, cpus[-1]),
        interruptions=_interruptions(switches_seen, tids, cpus, _wanted(source.measured, tasks)),
        steal=steal,
    )


def _switches(events: EventArray, start_ns: int, end_ns: int) -> EventArray:
    times = events["timestamp_ns"]
    inside: EventArray = events[
        (events["type"] == EventType.SWITCH) & (times >= start_ns) & (times <= end_ns)
    ]
    return inside


def _interruptions(
    switches: EventArray, tids: dict[int, str], cpus: Sequence[int], wanted: npt.NDArray[np.int64]
) -> Interruptions:
    """Count tasks of others that ran while one of the load's wanted a CPU.

    Args:
        switches: Of all CPUs.
        tids: The load's tasks.
        cpus: The load's.
        wanted: When a task of the load ran or waited: begins and ends that don't overlap.
    """
    begins, ends = wanted
    if not len(begins):
        return Interruptions()
    moments = wanted.T.ravel().astype(np.float64)  # begin, end, begin, ...: until each, so much was wanted
    so_far = np.cumsum(np.array([np.zeros(len(begins)), ends - begins]).T.ravel())
    lengths: list[npt.NDArray[np.float64]] = []
    known = [IDLE_TID, *tids]
    for cpu in cpus:
        own = switches[switches["cpu"] == cpu]
        times = own["timestamp_ns"].astype(np.int64)
        others = ~np.isin(own["other_tid"][:-1], known)
        until = np.interp(times, moments, so_far)
        # Tasks of others that follow each other are one interruption of the load.
        which = np.cumsum(others & ~np.append(False, others)[: len(others)])
        overlap = np.bincount(which[others], np.diff(until)[others]).astype(np.float64)
        lengths.append(overlap[overlap > 0])
    taken = np.concatenate(lengths)
    cpu_ns = max(int((ends - begins).sum()), 1) * len(cpus)
    return Interruptions(
        per_s=len(taken) / cpu_ns * 1e9,
        mean_ns=float(taken.mean()) if len(taken) else 0.0,
        share=float(taken.sum()) / cpu_ns,
    )


def _wanted(measured: TaskMeasures, tasks: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return when a task of the load ran or waited: an array of begins, and one of ends."""
    spans = measured.spans
    if spans is None:
        return np.zeros((2, 0), np.int64)
    ours = np.isin(spans.task, tasks)
    order = np.argsort(spans.start_ns[ours], kind="stable")
    begins, ends = spans.start_ns[ours][order], np.maximum.accumulate(spans.end_ns[ours][order])
    if not len(begins):
        return np.zeros((2, 0), np.int64)
    is_first = np.append(True, begins[1:] > ends[:-1])
    return np.array([begins[is_first], ends[np.append(is_first[1:], True)]])


def _timeline(switches: EventArray, tids: dict[int, str], cpu: int) -> list[tuple[float, str]]:
    own = switches[switches["cpu"] == cpu]
    if not len(own):
        return []
    first = int(own["timestamp_ns"][0])
    own = own[own["timestamp_ns"] <= first + _TIMELINE_NS][:MOST_SWITCHES]
    return [
        (round((int(when) - first) / 1e3, 1), tids.get(int(tid), ""))
        for when, tid in zip(own["timestamp_ns"], own["other_tid"], strict=True)
    ]
