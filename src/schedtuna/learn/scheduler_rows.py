"""Which scheduler is best, and when? A row per window under each, labelled where evidence separates them.

Each load runs under every scheduler with the same seeds. A scheduler is best in a window if its loss there
(`features.loss`) is lower than each other's over seeds, by Holm's correction; else they tie. Seeds are what
evidence is made of, never windows: those of one run hang together. What is best for the load as a whole
stands beside it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError
from schedtuna.features.loss import complete_weights, loss, window_figures
from schedtuna.features.table import SWAPPED, Kind, feature
from schedtuna.features.told import TOLD, told_samples
from schedtuna.features.windows import windows
from schedtuna.learn.dataset_form import TIE
from schedtuna.learn.made_rows import BuildOptions, MadeRows
from schedtuna.learn.sources import RunSource
from schedtuna.learn.task_rows import RunRows
from schedtuna.sim import simulate
from schedtuna.sim.origin import Origin
from schedtuna.trace.intervals import Intervals, intervals
from schedtuna.trace.trace import Trace

NR_SEEDS = 8
LEVEL = 0.05
WINDOW_NS = 500_000_000
SAMPLE_NS = 50_000_000
BEST_OF_LOAD = "best_of_load"
NO_VALUE = "windows of which a feature is unknown"


def _window_features() -> tuple[str, ...]:
    """Averages, changes, and totals of counters; percent changes from 0 do not exist."""
    names = []
    for name in TOLD:
        names += [name, f"{name}.change"]
        if feature(name).kind is Kind.COUNTER:
            names.append(f"{name}.total")
    return ("scheduler_now", *names)


SCHEDULER_FEATURES = _window_features()
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LoadUnderEach:
    """A load under each scheduler.

    Attributes:
        losses: [seeds, schedulers], over `fair` with the same seed.
        best: Index into SWAPPED; None: they tie.
        window_losses: [windows, seeds, schedulers], over `fair` in the same window with the same seed.
        traces: (scheduler, seed, its trace).
    """

    losses: Floats
    best: int | None
    window_losses: Floats
    traces: list[tuple[int, int, Trace]]


def make_scheduler_rows(sources: list[RunSource], options: BuildOptions) -> MadeRows:
    """Return a row per window of each load under each scheduler.

    Raises:
        DatasetError: A run is no simulation: a recording can't be had again under other seeds.
    """
    made = MadeRows(
        SCHEDULER_FEATURES,
        f"whose loss L in the window over {NR_SEEDS} seeds of the load, each from its beginning under that "
        f"scheduler, is lower than each other's, certain by {1 - LEVEL:.0%} with Holm's correction; "
        f"else {TIE}",
        classes=[*SWAPPED, TIE],
        extras={BEST_OF_LOAD: "the same of the load as a whole: index into classes"},
        settings={"row": f"a window of {WINDOW_NS // 1_000_000} ms", "nr_seeds": NR_SEEDS},
    )
    most = max(options.most_rows // len(sources), 1)
    best, by_window = Counter[str](), Counter[str]()
    for number, source in enumerate(sources):
        found = under_each(source, lambda nr, number=number: options.on_progress(number, nr))
        labels = [_label(separated(losses)) for losses in found.window_losses]
        best[made.classes[_label(found.best)]] += 1
        by_window.update(made.classes[label] for label in labels)
        rows = _rows(found, labels)
        if len(rows.columns.get("label", ())) > most:
            kept = np.random.default_rng(options.seed).permutation(len(rows.columns["label"]))[:most]
            rows.columns = {name: column[np.sort(kept)] for name, column in rows.columns.items()}
        made.runs.append((source, rows))
    made.settings |= {"loads_by_best": dict(best), "windows_by_best": dict(by_window)}
    made.notes.append(
        f"of {len(sources)} loads {_told(best)}; of {by_window.total()} windows {_told(by_window)}"
    )
    return made


def _label(best: int | None) -> int:
    return len(SWAPPED) if best is None else best


def _told(best: Counter[str]) -> str:
    return ", ".join(
        f"{name} is best for {count}" if name != TIE else f"{count} tie" for name, count in best.items()
    )


def under_each(source: RunSource, on_run: Any = lambda _: None) -> LoadUnderEach:
    """Run a load under each scheduler, with the same seeds.

    Raises:
        DatasetError: It is a recording.
    """
    origin = Origin.of(source.trace)
    if origin.is_recorded:
        raise DatasetError(
            f"{source.name} was recorded: its load can't be had again with other seeds, and one run under "
            "each scheduler is no evidence",
            hint="simulate a family, or a workload file",
        )
    nr_windows = -(-origin.until_ns // WINDOW_NS)
    losses, traces = np.zeros((nr_windows + 1, NR_SEEDS, len(SWAPPED))), []
    machine = {name: value for name, value in origin.machine.items() if name not in ("seed", "noise_seed")}
    first = int(origin.machine["seed"])
    for k in range(NR_SEEDS):
        default: list[dict[str, float]] = []
        for number, name in enumerate(SWAPPED):
            trace = simulate(
                origin.load, name, seed=first + 1000 * k, duration_s=origin.until_ns / 1e9, **machine
            )
            figures = _figures(trace, origin.until_ns)
            default = default or figures
            terms = zip(figures, default, strict=True)
            losses[:, k, number] = [loss(own, fair, complete_weights(None)) for own, fair in terms]
            traces.append((number, k, trace))
            on_run(len(traces))
    return LoadUnderEach(losses[-1], separated(losses[-1]), losses[:-1], traces)


def separated(losses: Floats) -> int | None:
    """Return the scheduler whose losses are certainly lower than each other's; None: they tie.

    Args:
        losses: [seeds, schedulers]: those of a seed are a pair.
    """
    from scipy.stats import t

    nr_seeds, nr_schedulers = losses.shape
    if nr_seeds < 2:
        return None
    best = int(losses.mean(axis=0).argmin())
    p_values = []
    for other in range(nr_schedulers):
        if other == best:
            continue
        difference = np.log(losses[:, other]) - np.log(losses[:, best])
        error = difference.std(ddof=1) / np.sqrt(nr_seeds)
        if error == 0:
            p_values.append(0.0 if difference[0] > 0 else 1.0)
        else:
            # The best was chosen by these very numbers: two-sided.
            p_values.append(float(2 * t.sf(difference.mean() / error, nr_seeds - 1)))
    ordered = sorted(p_values)
    is_clear = all(p * (len(ordered) - rank) <= LEVEL for rank, p in enumerate(ordered))
    return best if is_clear else None


def _figures(trace: Trace, until_ns: int) -> list[dict[str, float]]:
    """Return the terms of L of each window of a trace, the last one perhaps shorter, and of the whole.

    One in which all tasks have exited is worth the same under every scheduler.
    """
    table = trace.tasks
    weights = dict(zip(table["tid"].to_list(), table["weight"].to_list(), strict=True))
    states = _states(trace)
    parts = [(at, min(at + WINDOW_NS, until_ns)) for at in range(0, until_ns, WINDOW_NS)]
    return [
        window_figures(states, first, last, nr_cpus=trace.nr_cpus(1), weights=weights)
        for first, last in (*parts, trace.window_ns)
    ]


def _states(trace: Trace) -> Intervals:
    begin, end = trace.window_ns
    return intervals(trace.events, start_ns=begin, end_ns=end).sorted()


def _rows(found: LoadUnderEach, labels: list[int]) -> RunRows:
    names = (*SCHEDULER_FEATURES, "label", "time_ns", "task", BEST_OF_LOAD)
    columns: dict[str, list[int]] = {name: [] for name in names}
    dropped = Counter[str]()
    nr_events = 0
    for scheduler, _, trace in found.traces:
        nr_events += len(trace.events)
        for time_ns, values in _window_values(trace):
            if any(value is None for value in values.values()):
                dropped[NO_VALUE] += 1
                continue
            columns["scheduler_now"].append(scheduler)
            for name, value in values.items():
                columns[name].append(int(np.floor(value)))  # type: ignore[arg-type]
            columns["label"].append(labels[(time_ns - 1) // WINDOW_NS])
            columns[BEST_OF_LOAD].append(_label(found.best))
            columns["time_ns"].append(time_ns)
            columns["task"].append(0)
    arrays = {name: np.array(column, np.int64) for name, column in columns.items()}
    arrays["task"] = arrays["task"].astype(np.uint32)
    return RunRows(arrays, len(arrays["label"]), dropped, nr_events=nr_events)


def _window_values(trace: Trace) -> list[tuple[int, dict[str, float | None]]]:
    """Return when each window of a trace ended, and its features."""
    begin, end = trace.window_ns
    times = list(range(begin + SAMPLE_NS, end + 1, SAMPLE_NS))
    if not times:
        return []
    samples = told_samples(_states(trace), trace.events, times, begin_ns=begin, nr_cpus=trace.nr_cpus(1))
    found = []
    for window in windows(samples, TOLD, length_s=WINDOW_NS / 1e9, begin_ns=begin):
        values: dict[str, float | None] = {}
        for name in TOLD:
            told = window.features[name]
            values[name], values[f"{name}.change"] = told.average, told.change
            if f"{name}.total" in SCHEDULER_FEATURES:
                values[f"{name}.total"] = told.total
        found.append((round(window.end_s * 1e9), values))
    return found
