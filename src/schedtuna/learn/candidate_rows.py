"""What does a trace give to learn of choices: a row per candidate, as of the moment before the choice?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.features.candidates import TaskMoments
from schedtuna.features.cycles import IntArray
from schedtuna.learn.decisions import VIRTUAL_FEATURES, TaskChoices, choices_of
from schedtuna.learn.known_of_tasks import KnownOfTasks, unknown
from schedtuna.learn.made_rows import BuildOptions, MadeRows
from schedtuna.learn.sources import RunSource
from schedtuna.learn.task_rows import RunRows
from schedtuna.learn.thinning import ThinnedRows
from schedtuna.sim.topology import MachineShape
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.reading import read_states

NEXT_FEATURES = (
    "nice",
    "waited_ns",
    "attained_ns",
    "burst_ns",
    "cpu_time_ns",
    "ran_here",
    "shares_llc",
    "is_previous",
    "nr_waiting",
    "nr_candidates",
    "busy_percent",
    "nr_cpus",
    "was_idle",
    "group_shares",
    "rss_kib",
    *VIRTUAL_FEATURES,
)
_ASKED = ("nice", "group_shares", "rss_kib")
NOT_SEEN = "choices with a candidate of which the trace does not tell what it did"
NO_CPU_TIME = "choices with a candidate whose CPU time before the trace is not known"
NO_NICE = "choices with a candidate whose nice value, or group, is not known"


def make_next_rows(sources: list[RunSource], options: BuildOptions) -> MadeRows:
    """Return a row per candidate of each choice with two and more.

    Raises:
        DatasetError: A trace has no choices.
    """
    made = MadeRows(NEXT_FEATURES, "1: this candidate was chosen to run next; 0: another one was")
    nr_seen = nr_real = 0
    for number, source in enumerate(sources):
        choices = choices_of(
            source,
            on_choices=lambda nr, number=number: options.on_progress(number, nr),  # type: ignore[misc]
        )
        nr_seen, nr_real = nr_seen + choices.nr_seen, nr_real + len(choices.time_ns)
        most = max(options.most_rows // len(sources), 1)
        made.runs.append((source, choice_rows(source, choices, most=most, seed=options.seed)))
    share = nr_real / max(nr_seen, 1)
    made.settings = {"row": "a candidate of a choice", "nr_choices": nr_seen, "share_of_real_choices": share}
    made.notes.append(
        f"of {nr_seen:,} choices {nr_real:,} ({share:.0%}) had two candidates and more: only these are here"
    )
    return made


def choice_rows(source: RunSource, choices: TaskChoices, *, most: int, seed: int) -> RunRows:
    """Return the rows of one run's choices; of more than `most`, those of some choices."""
    trace = source.trace
    states, reading = read_states(trace, lambda r: Intervals.concatenate(list(r.pieces())))
    if reading.is_partial:
        raise DatasetError(
            f"{source.name} has not all tasks, so candidates are missing",
            hint="record without a filter",
        )
    moments, known_of = TaskMoments(states), KnownOfTasks(trace)
    nr_cpus = trace.nr_cpus(int(choices.cpu.max(initial=0)) + 1)
    choice = choices.choice
    time, tid = choices.time_ns[choice], choices.tid
    features, known = moments.look(tid, time)
    asked = {name: column for name, column in known_of.features(tid, time).items() if name in _ASKED}
    before = known_of.cpu_time_before(tid, time, lambda who, when: moments.look(who, when)[0]["cpu_time_ns"])
    dropped = choices.dropped.copy()
    whole = _of_all(known, choice, dropped, NOT_SEEN)
    whole &= _of_all(~unknown({"before": before}) | ~whole, choice, dropped, NO_CPU_TIME)
    features["cpu_time_ns"] = features["cpu_time_ns"] + np.where(whole, before, 0)
    if asked:
        whole &= _of_all(~unknown(asked) | ~whole, choice, dropped, NO_NICE)
        features |= asked
    features |= _about_cpus(features.pop("last_cpu"), choices.cpu[choice], trace.manifest, nr_cpus)
    features |= _about_choices(choices, moments, nr_cpus) | dict(choices.virtual)
    columns = {name: column[whole] for name, column in features.items()}
    begin_ns = trace.window_ns[0]
    columns |= {
        "label": choices.is_chosen[whole].astype(np.int64),
        "time_ns": time[whole] - begin_ns,
        "task": tid[whole].astype(np.uint32),
        "candidate_set": choice[whole].astype(np.uint32),
    }
    rows = ThinnedRows(most, seed)
    rows.add(choice[whole].astype(np.uint64), columns)  # a choice is kept whole, or not at all
    made = RunRows(rows.columns(), rows.nr_seen, dropped, nr_events=reading.nr_events)
    made.notes = known_of.notes
    return made


def _of_all(good: npt.NDArray[np.bool_], choice: IntArray, dropped: Any, reason: str) -> Any:
    """Return which rows are of choices all of whose candidates are good, and count the others."""
    nr_choices = int(choice.max(initial=-1)) + 1
    bad = np.bincount(choice, ~good, nr_choices) > 0
    dropped[reason] += int(bad.sum())
    return ~bad[choice] if len(choice) else good


def _about_cpus(
    last_cpu: IntArray, cpu: IntArray, manifest: Mapping[str, Any], nr_cpus: int
) -> dict[str, IntArray]:
    found = {"ran_here": (last_cpu == cpu).astype(np.int64)}
    if (llc := llc_of_cpus(manifest, nr_cpus)) is not None:
        has_run = (last_cpu >= 0) & (last_cpu < nr_cpus)
        shares = llc[np.clip(last_cpu, 0, nr_cpus - 1)] == llc[np.clip(cpu, 0, nr_cpus - 1)]
        found["shares_llc"] = (has_run & shares).astype(np.int64)
    return found


def llc_of_cpus(manifest: Mapping[str, Any], nr_cpus: int) -> IntArray | None:
    """Return which last-level cache each CPU has; None: the trace does not tell."""
    simulation = manifest.get("simulation")
    if isinstance(simulation, dict):
        shape = MachineShape.of(None, str(simulation["topology"]))
        return np.arange(nr_cpus) // max(shape.nr_cpus // shape.nr_llcs, 1)
    try:
        rows = manifest["origin"]["machine"]["topology"]["cpus"]
        caches = {int(row["cpu"]): int(row["llc"]) for row in rows}
        return np.array([caches[cpu] for cpu in range(nr_cpus)], np.int64)
    except (KeyError, TypeError, ValueError):
        return None


def _about_choices(choices: TaskChoices, moments: TaskMoments, nr_cpus: int) -> dict[str, IntArray]:
    choice = choices.choice
    busy = np.minimum(moments.number("running", choices.time_ns), nr_cpus)
    per_choice = {
        "nr_waiting": moments.number("waiting", choices.time_ns),
        "nr_candidates": choices.nr_candidates,
        "busy_percent": 100 * busy // nr_cpus,
        "nr_cpus": np.full(len(choices.time_ns), nr_cpus),
        "was_idle": (choices.prev_tid == 0).astype(np.int64),
    }
    is_previous = (choices.tid == choices.prev_tid[choice]).astype(np.int64)
    return {"is_previous": is_previous} | {name: column[choice] for name, column in per_choice.items()}
