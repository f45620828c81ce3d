"""What came of migrations that a coin decided? A row per draw of `record --random-migrations`.

Of one draw only what happened is known, not what would have. But draws that moved somebody and draws that did
not differ by nothing else, so averages of the two tell what moving does, and a model that is taught each draw
by how it came out, weighted by how much, is taught what is better on average (outcome-weighted learning:
Zhao, Zeng, Rush and Kosorok, 2012; with residuals: Zhou, Mayer-Hamblett, Khan and Kosorok, 2017).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.features.cycles import BoolArray, IntArray
from schedtuna.learn.candidate_rows import llc_of_cpus
from schedtuna.learn.sources import RunSource
from schedtuna.learn.task_rows import RunRows, lost_spans, own_processes
from schedtuna.learn.thinning import Columns
from schedtuna.trace.intervals import Intervals
from schedtuna.trace.reading import read_states
from schedtuna.trace.schema import IDLE_TID
from schedtuna.trace.states import RUNNABLE, TaskState
from schedtuna.trace.trace import Trace

KIND = "random_migration"  # of samples, as the recorder writes them
HALF_LIFE_NS = 32 * 1024 * 1024  # of a CPU's use: the kernel's, of util_avg
_HALF_LIVES = 12  # what lies further back weighs nothing
_COLUMNS = ("timestamp_ns", "tid", "source", "destination", "moves", "odds")
CUT = "the trace ends before the longest horizon does"
LOST = "events may be missing before it, or until the longest horizon"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeanEffect:
    """By how much more moving costs than staying, on average over a run's draws.

    Attributes:
        ns: The difference of both kinds' mean costs; NaN: a kind has fewer than two.
        error_ns: Its standard error.
        nr_draws: Of both kinds.
    """

    ns: float
    error_ns: float
    nr_draws: int


def has_draws(source: RunSource) -> bool:
    """Whether tasks were moved at random while this was recorded."""
    return KIND in source.trace.sample_frames


def randomised_rows(
    source: RunSource, horizons_ns: tuple[int, ...], names: tuple[str, ...], labelled_by: int
) -> tuple[RunRows, list[MeanEffect]]:
    """Return a row per draw of one recording, and what moving did on average, by horizon.

    Args:
        source: The recording.
        horizons_ns: Up to when costs are added up, from the shortest to the longest.
        names: Of the horizons.
        labelled_by: Which of them labels.

    Raises:
        DatasetError: It does not have all tasks, or its draws are damaged.
    """
    trace = source.trace
    states, reading = read_states(trace, lambda r: Intervals.concatenate(list(r.pieces())))
    if reading.is_partial:
        raise DatasetError(
            f"{source.name} has not all tasks, so what competes is missing", hint="record without a filter"
        )
    states = _of_others(trace, states)
    draws, dropped = _whole(trace, _draws(trace), horizons_ns[-1])
    time_ns, moves, odds = draws["timestamp_ns"], draws["moves"] == 1, draws["odds"]
    wants = Wanting(states)
    costs = np.stack([wants.until(time_ns + horizon) - wants.until(time_ns) for horizon in horizons_ns])
    # Less what would have come if nothing had changed: busy moments would drown what the move does.
    excess = costs - wants.at(time_ns) * np.array(horizons_ns)[:, None]
    columns = _features(trace, states, draws) | labels_of_draws(excess[labelled_by], moves, odds)
    columns |= {
        "time_ns": time_ns - trace.window_ns[0],
        "task": draws["tid"].astype(np.uint32),
        "was_migrated": moves.astype(np.int64),
        "odds": odds,
    }
    columns |= {f"cost_{name}_ns": cost for name, cost in zip(names, costs, strict=True)}
    rows = RunRows(columns, len(time_ns), dropped, nr_events=reading.nr_events)
    return rows, [mean_effect(one, moves) for one in excess]


def mean_effect(cost: Floats, moves: BoolArray) -> MeanEffect:
    """Return the difference of the means, moved less stayed, and its error (Welch's)."""
    kinds = [cost[moves], cost[~moves]]
    if min(len(kind) for kind in kinds) < 2:
        return MeanEffect(float("nan"), float("nan"), len(cost))
    error = sum(float(kind.var(ddof=1)) / len(kind) for kind in kinds) ** 0.5
    return MeanEffect(float(kinds[0].mean() - kinds[1].mean()), error, len(cost))


def labels_of_draws(excess: Floats, moves: BoolArray, odds: Floats) -> Columns:
    """Return labels and weights: what was done where it came out better than the mean, else the other.

    Args:
        excess: [draws] what came of each, less what was to be expected of any.
        moves: [draws] who was moved.
        odds: [draws] of being moved.
    """
    if not len(excess):
        return {"label": np.empty(0, np.int64), "weight": np.empty(0, np.float32)}
    better = excess.mean() - excess
    weight = np.abs(better) / np.where(moves, odds, 1 - odds)
    weight = weight / weight.mean() if weight.any() else np.ones(len(weight))
    label = np.where(better >= 0, moves, ~moves)
    return {"label": label.astype(np.int64), "weight": weight.astype(np.float32)}


def _draws(trace: Trace) -> Columns:
    frame = trace.samples(KIND)
    missing = [name for name in _COLUMNS if name not in frame.columns or frame[name].null_count()]
    if missing:
        raise DatasetError(f"the trace's random migrations lack {', '.join(missing)}", hint="record it anew")
    frame = frame.sort("timestamp_ns")
    draws: Columns = {
        name: frame[name].cast(float if name == "odds" else int).to_numpy() for name in _COLUMNS
    }
    odds = draws["odds"]
    if not ((odds > 0) & (odds < 1)).all():
        raise DatasetError("the odds of a random migration are not between 0 and 1", hint="record it anew")
    return draws


def _whole(trace: Trace, draws: Columns, longest_ns: int) -> tuple[Columns, Counter[str]]:
    """Return the draws of which all is seen that is looked at, and count the others."""
    time_ns = draws["timestamp_ns"]
    cut = time_ns + longest_ns > trace.window_ns[1]
    lost = np.zeros(len(time_ns), np.bool_)
    for begin, end in lost_spans(trace.losses).tolist():
        lost |= (time_ns + longest_ns >= begin) & (time_ns - _HALF_LIVES * HALF_LIFE_NS <= end)
    dropped = Counter({CUT: int(cut.sum()), LOST: int((lost & ~cut).sum())})
    return {name: column[~cut & ~lost] for name, column in draws.items()}, dropped


def _of_others(trace: Trace, states: Intervals) -> Intervals:
    """Leave out the idle tasks, and the recorder's own."""
    rows = trace.task_rows
    own = rows["tid"][np.isin(rows["tgid"], own_processes(trace))]
    return states.select(np.flatnonzero((states.tid != IDLE_TID) & ~np.isin(states.tid, own)))


class Wanting:
    """How many tasks run or wait, and the integral of that.

    Args:
        states: The tasks' states.
    """

    def __init__(self, states: Intervals) -> None:
        which = np.isin(states.state, (TaskState.RUNNING, *RUNNABLE))
        self._origin_ns = int(states.start_ns.min(initial=0)) if len(states) else 0
        self._edges = [np.sort(edge[which]) - self._origin_ns for edge in (states.start_ns, states.end_ns)]
        self._sums = [np.concatenate([[0], np.cumsum(edge)]) for edge in self._edges]

    def at(self, time_ns: IntArray) -> IntArray:
        """Return how many there are just before moments."""
        begun, ended = (np.searchsorted(edge, time_ns - self._origin_ns, side="left") for edge in self._edges)
        found: IntArray = begun - ended
        return found

    def until(self, time_ns: IntArray) -> Floats:
        """Return the integral from the trace's beginning to moments, in task nanoseconds.

        It is how long all have lasted that began by then, less how long ago those ended that did.
        """
        at, parts = time_ns - self._origin_ns, []
        for edge, total in zip(self._edges, self._sums, strict=True):
            number = np.searchsorted(edge, at, side="left")
            parts.append(number * at - total[number])
        found: Floats = (parts[0] - parts[1]).astype(float)
        return found


def _features(trace: Trace, states: Intervals, draws: Columns) -> Columns:
    """Return what `MIGRATE_FEATURES` are of a recording: all of it before each draw."""
    runs = states.select(np.flatnonzero(states.state == TaskState.RUNNING))
    time_ns, source, destination = (draws[name] for name in ("timestamp_ns", "source", "destination"))
    seen = int(max(column.max(initial=0) for column in (runs.cpu, source, destination))) + 1
    nr_cpus = trace.nr_cpus(seen)
    edges = (np.searchsorted(np.sort(edge), time_ns, side="left") for edge in (runs.start_ns, runs.end_ns))
    begun, ended = edges
    busy = np.clip(begun - ended, 0, nr_cpus)
    features = {
        "cpu": destination,
        "nr_idle_cpus": nr_cpus - busy,
        "nr_busy_cpus": busy,
        "src_load_permille": use_permille(runs, source, time_ns),
        "dst_load_permille": use_permille(runs, destination, time_ns),
        "is_wakeup": np.zeros(len(time_ns), np.int64),
    }
    if (llc := llc_of_cpus(trace.manifest, nr_cpus)) is not None:
        features["cpus_share_llc"] = (llc[source] == llc[destination]).astype(np.int64)
    return features


def use_permille(runs: Intervals, cpu: IntArray, time_ns: IntArray) -> IntArray:
    """Return how much CPUs were used before moments: what is 32 ms older counts half, as in util_avg.

    Args:
        runs: Intervals in which tasks ran.
        cpu: [n] which CPU.
        time_ns: [n] when.
    """
    found = np.zeros(len(cpu), np.int64)
    for number in np.unique(cpu).tolist():
        here = np.flatnonzero(runs.cpu == number)
        here = here[np.argsort(runs.start_ns[here], kind="stable")]
        start, end = runs.start_ns[here], runs.end_ns[here]
        for at in np.flatnonzero(cpu == number).tolist():
            now = time_ns[at]
            first = np.searchsorted(end, now - _HALF_LIVES * HALF_LIFE_NS)
            last = np.searchsorted(start, now, side="left")
            until, since = now - np.minimum(end[first:last], now), now - start[first:last]
            share = (0.5 ** (until / HALF_LIFE_NS) - 0.5 ** (since / HALF_LIFE_NS)).sum()
            found[at] = min(int(1000 * share + 0.5), 1000)
    return found
