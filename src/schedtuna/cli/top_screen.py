"""How does a live window look on a terminal? Text in, text out; `top` puts it there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schedtuna.printable import exact, printable
from schedtuna.record.live import COLUMNS, By, Distribution, LiveRow, LiveWindow, choose_rows
from schedtuna.trace.aggregates.histogram import bucket_edges_ns

KEYS = "s sort  g group  / filter  p pause  r record  +/- interval  q quit"
_BARS = " ▁▂▃▄▅▆▇█"
_FIRST_BUCKET, _LAST_BUCKET = 8, 108  # 256 ns to 8 s, two buckets a character
_BUCKETS_PER_DOUBLING = 4
_NAME_WIDTH, _COLUMN_WIDTH = 8 + 1 + 15 + 1, 11  # of a row; the cgroup gets what is left


@dataclass
class ScreenState:
    """What the keys have chosen."""

    by: By = By.TASK
    sort: str = next(iter(COLUMNS))
    text: str = ""
    typing: bool = False
    paused: bool = False
    recording: str = ""
    interval_s: float = 1.0
    message: str = ""


def screen(window: LiveWindow, state: ScreenState, width: int, height: int) -> list[str]:
    """Return the lines of the screen, none of them wider or more than there is room for, none raw."""
    head = [_title(window, state), _system(window), _pressure(window), ""]
    head += [f"{'':15}  {'p50 us':>8} {'p99 us':>8} {'max us':>8}  {_axis()}"]
    head += [_distribution(name, one) for name, one in window.distributions.items()]
    foot = [_prompt(state)]
    room = max(height - len(head) - len(foot) - 2, 0)
    rows = choose_rows(window.rows, state.sort, state.text)
    columns = _columns_that_fit(state.sort, width)
    spare = min(max(width - _NAME_WIDTH - _COLUMN_WIDTH * len(columns), 0), 40)
    if len(columns) < len(COLUMNS):
        spare = 0
    body = ["", _headings(state, columns, spare), *(_row(row, state, columns, spare) for row in rows[:room])]
    if not rows:
        body.append(
            " " * 9 + (f"nothing with {state.text!r} in it ran or waited" if state.text else "nothing ran")
        )
    body += [""] * (height - len(head) - len(foot) - len(body))
    lines = [*head, *body][: height - len(foot)]
    return [printable(line)[:width] for line in [*lines, *foot]]


def _title(window: LiveWindow, state: ScreenState) -> str:
    marks = [f"every {exact(state.interval_s)} s", f"by {state.by}"]
    if state.paused:
        marks.append("PAUSED")
    if state.recording:
        marks.append(f"RECORDING to {state.recording}")
    if state.text:
        marks.append(f"only {state.text!r}")
    if window.nr_unseen:
        marks.append(f"{window.nr_unseen} short-lived tasks partly missed")
    return "schedtuna top: " + ", ".join(marks)


def _system(window: LiveWindow) -> str:
    same, cross_llc, cross_node = window.migrations_per_s
    busy, queued = (window.system.get(name, math.nan) for name in ("cpu_percent", "run_queue_length"))
    return (
        f"CPU {_whole(busy, '%')}  run queue {_whole(queued)}  "
        f"switches {_number(window.switches_per_s)}/s  moves {_number(same)}/s in a cache, "
        f"{_number(cross_llc + cross_node)}/s across"
    )


def _whole(value: float, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:.0f}{unit}"


def _pressure(window: LiveWindow) -> str:
    parts = [
        f"{resource} {window.system[f'psi_{resource}_some_percent']:.1f}%"
        for resource in ("cpu", "memory", "io")
        if f"psi_{resource}_some_percent" in window.system
    ]
    cv = "-" if math.isnan(window.fairness_cv) else f"{window.fairness_cv:.2f}"
    pressure = "  ".join(parts) if parts else "unknown (this kernel has no PSI)"
    return f"pressure: {pressure}  fairness cv {cv}"


def _distribution(name: str, one: Distribution) -> str:
    figures = one.figures()
    numbers = [figures[column] for column in ("p50_us", "p99_us", "max_us")]
    beyond = int(math.log2(one.scale)) * _BUCKETS_PER_DOUBLING
    counts = np.pad(one.counts, (beyond, 0))
    return (
        f"{name.replace('_', ' '):15}  " + " ".join(f"{_number(n):>8}" for n in numbers) + f"  {bars(counts)}"
    )


def bars(counts: npt.NDArray[np.integer]) -> str:
    """Draw a histogram, two buckets a character, heights on a logarithmic scale."""
    pairs = counts[_FIRST_BUCKET:_LAST_BUCKET].reshape(-1, 2).sum(axis=1).astype(np.float64)
    pairs[0] += counts[:_FIRST_BUCKET].sum()
    pairs[-1] += counts[_LAST_BUCKET:].sum()
    heights = np.log1p(pairs)
    most = heights.max()
    if not most:
        return ""
    steps = np.ceil(heights / most * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[step] for step in steps)


def _axis() -> str:
    """Marks below the buckets at powers of ten."""
    edges = bucket_edges_ns()[_FIRST_BUCKET:_LAST_BUCKET:2]
    axis = [" "] * len(edges)
    for value, text in (
        (1e3, "1us"),
        (1e4, "10us"),
        (1e5, "100us"),
        (1e6, "1ms"),
        (1e7, "10ms"),
        (1e8, "100ms"),
        (1e9, "1s"),
    ):
        at = int(np.searchsorted(edges, value))
        axis[at : at + len(text)] = text
    return "".join(axis[: len(edges)])


def _columns_that_fit(sort: str, width: int) -> list[str]:
    """The columns that a screen has room for; the one that it is sorted by is always among them."""
    room = max((width - _NAME_WIDTH) // _COLUMN_WIDTH, 1)
    shown = list(COLUMNS)[:room]
    return shown if sort in shown else [*shown[:-1], sort]


def _headings(state: ScreenState, columns: list[str], spare: int) -> str:
    if state.by is By.TASK:
        left = f"{'TID':>8} {'NAME':15} {'CGROUP'[:spare]:{spare}}"
    else:
        left = f"{'TASKS':>8} {state.by.upper():{16 + spare}}"
    cells = [f"{('>' if name == state.sort else '') + COLUMNS[name][0]:>11}" for name in columns]
    return left + "".join(cells)


def _row(row: LiveRow, state: ScreenState, columns: list[str], spare: int) -> str:
    if state.by is By.TASK:
        left = f"{row.tid:>8} {printable(row.name)[:15]:15} {_end_of(printable(row.cgroup), spare):{spare}}"
    else:
        name = printable(row.name if state.by is By.COMM else row.cgroup or "(gone)")
        left = f"{row.nr_tasks:>8} {_end_of(name, 16 + spare):{16 + spare}}"
    return left + "".join(f"{_number(row.values[name]):>11}" for name in columns)


def _end_of(path: str, width: int) -> str:
    if len(path) <= width:
        return path
    return "…" + path[len(path) - width + 1 :] if width > 0 else ""


def _prompt(state: ScreenState) -> str:
    if state.typing:
        return f"filter by name, cgroup or tid: {state.text}_  (Enter: done, Escape: none)"
    return state.message or KEYS


def _number(value: float) -> str:
    """A number in at most seven characters; a dash for what does not exist."""
    if math.isnan(value):
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}"
