"""What a trace looks like: latency distributions, the CPUs' timeline, runqueues."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from schedtuna.report.figures import COLORS, drawable, new_figure, styled
from schedtuna.trace.analysis import MOST_UNKNOWN, Analysis
from schedtuna.trace.gaps import Gaps, Why
from schedtuna.trace.metrics import clip
from schedtuna.trace.queues import Profile, ProfileBuilder, coverage
from schedtuna.trace.schema import EventArray, EventType
from schedtuna.trace.states import RUNNABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NR_BINS = 1200
NR_NAMES = 8  # that get a colour of their own on the timeline
MAX_CPUS_DRAWN = 128
WIDTH_IN = 10.0
# Okabe and Ito's colours, which colour-blind readers can tell apart, and a soft violet.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8c7ae6")
_OTHERS = "#9ca3af"
_UNKNOWN = ("#f3f4f6", "#c9c4ba")  # stripes
_NO_QUEUE = "#d1d5db"
_DELAYS = {
    "wakeup_latency": ("wakeup to running", "#0f766e"),
    "preempt_delay": ("preempted to running again", "#d97706"),
    "first_run_delay": ("fork to running", "#7c3aed"),
}
_MAX_POINTS = 1500  # of a curve
_SMALL = 9.5  # points: legible where a page shows the figure at 800 pixels


@dataclass(frozen=True)
class TracePicture:
    """What the figures show.

    Attributes:
        analysis: The trace, measured.
        profile: Runqueues and business over time.
        names: The names that get a colour, most CPU time first.
        shares: Share of each bin in which each CPU ran each of `names`, then all others, shape
            (CPUs, names + 1, bins).
        unknown: Share of each bin of which nobody knows what the CPU did, shape (CPUs, bins).
        unqueued: Share of each bin of which nobody knows the recorded tasks on the CPU's queue.
    """

    analysis: Analysis
    profile: Profile
    names: list[str]
    shares: npt.NDArray[np.float64]
    unknown: npt.NDArray[np.float64]
    unqueued: npt.NDArray[np.float64]

    @property
    def seconds(self) -> tuple[float, float]:
        """The window, in seconds since the trace began."""
        begin = self.analysis.trace.window_ns[0]
        edges = self.profile.edges_ns
        return (int(edges[0]) - begin) / 1e9, (int(edges[-1]) - begin) / 1e9


def picture(analysis: Analysis, *, nr_bins: int = NR_BINS) -> TracePicture:
    """Compute what the figures show, in one pass over the trace."""
    grouped = analysis.by("comm")
    times = zip(grouped.names, grouped.columns["cpu_time_ns"].tolist(), strict=True)
    names = [name for name, time in times if time > 0][:NR_NAMES]
    number = {name: k for k, name in enumerate(names)}
    builder = ProfileBuilder(
        min(analysis.nr_cpus, MAX_CPUS_DRAWN),
        (analysis.start_ns, max(analysis.end_ns, analysis.start_ns + nr_bins)),
        nr_bins=nr_bins,
        group_of_task=np.array([number.get(name, len(names)) for name in analysis.comms], np.intp),
        nr_groups=len(names) + 1,
    )
    end = analysis.trace.window_ns[1]
    moves: deque[EventArray] = deque()

    def watch(part: EventArray) -> None:
        moves.append(part[part["type"] == EventType.MIGRATE])

    # The tasks have the numbers that they have in the analysis: both come from the same events.
    for whole in analysis.reading.again().pieces(watch):
        piece = clip(whole, analysis.start_ns, analysis.end_ns)
        waits = piece.start_ns[np.isin(piece.state, RUNNABLE)]
        first_ns = waits.min(initial=end)
        while len(moves) > 1 and not (moves[0]["timestamp_ns"] >= first_ns).any():
            moves.popleft()  # before all waits of this piece, and of later ones but for a few
        builder.add(piece, np.concatenate(moves) if moves else None)
    shown = builder.finish()
    gaps = analysis.gaps
    unknown = unqueued = _covered(gaps, shown)
    if not analysis.reading.is_of_single_tasks:  # of which even the recorded tasks' queues are guesses
        unqueued = _covered(gaps.select(gaps.why != Why.NOT_RECORDED), shown)
    return TracePicture(analysis, shown, names, shown.busy, unknown, unqueued)


def _covered(gaps: Gaps, profile: Profile) -> npt.NDArray[np.float64]:
    """Return the share of each bin that is in gaps of the CPU, shape (CPUs, bins)."""
    nr_cpus = len(profile.queued)
    gaps = gaps.united()
    gaps = gaps.select(gaps.cpu < nr_cpus)
    return coverage(profile.edges_ns, gaps.cpu.astype(np.intp), gaps.start_ns, gaps.end_ns, nr_cpus)


def draw_all(shown: TracePicture) -> Figure:
    """Return all figures in one, for PNG and SVG."""
    rows_in = [_timeline_height(shown), _queue_height(shown), 3.2]
    with styled():
        figure = new_figure(WIDTH_IN, sum(rows_in) + 0.6)
        grid = figure.add_gridspec(3, 2, height_ratios=rows_in, width_ratios=[1.05, 1.0])
        draw_timeline(figure.add_subplot(grid[0, :]), shown)
        draw_queues(figure.add_subplot(grid[1, :]), shown)
        draw_latencies(figure.add_subplot(grid[2, 0]), shown.analysis)
        draw_names(figure.add_subplot(grid[2, 1]), shown.analysis)
    return figure


def timeline_figure(shown: TracePicture) -> Figure:
    """Return the CPUs' timeline."""
    with styled():
        figure = new_figure(WIDTH_IN, _timeline_height(shown))
        draw_timeline(figure.add_subplot(), shown)
    return figure


def queue_figure(shown: TracePicture) -> Figure:
    """Return the runqueues' heat map."""
    with styled():
        figure = new_figure(WIDTH_IN, _queue_height(shown))
        draw_queues(figure.add_subplot(), shown)
    return figure


def latency_figure(shown: TracePicture) -> Figure:
    """Return the distributions of delays, and wakeup latencies by name."""
    with styled():
        figure = new_figure(WIDTH_IN, 3.4)
        left, right = figure.subplots(1, 2, width_ratios=[1.05, 1.0])
        draw_latencies(left, shown.analysis)
        draw_names(right, shown.analysis)
    return figure


def _timeline_height(shown: TracePicture) -> float:
    return 1.3 + min(0.42 * len(shown.shares), 5.5)


def _queue_height(shown: TracePicture) -> float:
    return 1.0 + min(0.34 * len(shown.shares), 4.5)


def draw_timeline(axes: Axes, shown: TracePicture) -> None:
    """Draw what ran on each CPU over time: bins filled in proportion, by name."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    colors = [*PALETTE[: len(shown.names)], _OTHERS]
    nr_cpus, _, nr_bins = shown.shares.shape
    height = 30 if nr_cpus <= 16 else 12
    palette = np.array([to_rgb(color) for color in [*colors, *_UNKNOWN, "#ffffff"]])
    image = np.ones((nr_cpus * (height + 2), nr_bins, 3))
    levels = (np.arange(height) + 0.5) / height
    stripes = (np.arange(height)[:, None] + np.arange(nr_bins)) // 4 % 2
    for cpu in range(nr_cpus):
        # Who is said to have run while nobody knows (`--allow-lost`) makes room for that.
        busy = np.maximum(shown.shares[cpu].sum(axis=0), 1e-12)
        tops = np.cumsum(shown.shares[cpu] * np.minimum((1 - shown.unknown[cpu]) / busy, 1), axis=0)
        # Above who ran is what nobody knows, in stripes of two colours; above that the CPU was idle.
        tops = np.vstack([tops, tops[-1:] + shown.unknown[cpu]])
        which = (levels[:, None, None] >= tops[None]).sum(axis=1)
        which += (which > len(colors)) | ((which == len(colors)) & (stripes == 1))
        top = cpu * (height + 2)
        image[top : top + height] = palette[which][::-1]
    start, end = shown.seconds
    axes.imshow(
        image, aspect="auto", interpolation="nearest", extent=(start, end, nr_cpus, 0), rasterized=True
    )
    _label_cpus(axes, nr_cpus)
    is_some_unknown = bool(shown.unknown.any())
    unknown = "; striped: unknown" if is_some_unknown else ""
    _place_title(axes, f"what ran on each CPU (white: idle{unknown})")
    labels = [*shown.names, *(["others"] if shown.shares[:, -1].any() else [])]
    patches = [Patch(color=color) for color in colors[: len(labels)]]
    if is_some_unknown:
        patches.append(Patch(facecolor=_UNKNOWN[0], edgecolor=_UNKNOWN[1], hatch="//////", lw=0))
        labels.append("unknown")
    legend = axes.legend(
        patches,
        [f"name {k}" for k in range(len(labels))],
        frameon=False,
        ncols=min(len(labels), 10),
        loc="upper left",
        bbox_to_anchor=(-0.005, -0.04 - 0.55 / _timeline_height(shown)),
        borderaxespad=0,
        handlelength=0.9,
        handletextpad=0.4,
        columnspacing=1.0,
        fontsize=_SMALL,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(drawable(label))  # afterwards: the legend leaves out names that begin with _
    axes.set_xlabel("seconds", loc="right", labelpad=1, fontsize=_SMALL)


def draw_queues(axes: Axes, shown: TracePicture) -> None:
    """Draw how many tasks ran or waited on each CPU over time, as a heat map."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    queued = np.maximum(_binned(shown.profile.queued, 400), 0)
    unknown = _binned(shown.unqueued, 400) > MOST_UNKNOWN
    top = max(float(queued[~unknown].max(initial=0)), 1.0)
    start, end = shown.seconds
    norm = PowerNorm(0.6, vmin=0, vmax=top)
    cells = np.ma.masked_array(queued, unknown)
    image = axes.imshow(
        cells,
        aspect="auto",
        interpolation="nearest",
        extent=(start, end, len(queued), 0),
        cmap=colormaps["YlOrRd"].with_extremes(bad=_NO_QUEUE),
        norm=norm,
        rasterized=True,
    )
    _label_cpus(axes, len(queued))
    grey = " (grey: unknown)" if unknown.any() else ""
    tasks = "recorded tasks" if shown.analysis.reading.is_partial else "tasks"
    _place_title(axes, f"runqueue length: {tasks} that run or wait on each CPU{grey}")
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, aspect=max(6, 5 * _queue_height(shown)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=_SMALL)
    axes.set_xlabel("seconds", loc="right", labelpad=1, fontsize=_SMALL)


def draw_latencies(axes: Axes, analysis: Analysis) -> None:
    """Draw which share of waits took longer than a time: log-log, so that tails show."""
    drawn = False
    for name, (label, color) in _DELAYS.items():
        values = np.sort(analysis.measured.values[name].value_ns)
        if len(values):
            x, y = tail(values)
            axes.plot(x / 1e3, 100 * y, color=color, lw=1.6, label=f"{label} ({len(values):,})")
            drawn = True
    _place_title(axes, "waits for a CPU: share that took at least so long")
    if not drawn:
        _say_nothing(axes, "no waits in this trace")
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=130)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    axes.tick_params(axis="y", labelsize=_SMALL)
    _label_times(axes)
    axes.grid(color=COLORS["muted"], lw=0.5, alpha=0.6)
    axes.legend(frameon=False, fontsize=_SMALL, loc="lower left")


def tail(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return points of the curve "share of values that are at least x", of sorted values.

    Few points are kept of many, evenly on the logarithm of the share: the largest ones all.
    """
    count = len(values)
    ranks = np.unique(np.geomspace(1, count, min(count, _MAX_POINTS)).astype(np.int64))
    return np.maximum(values[count - ranks], 1).astype(np.float64), ranks / count


def draw_names(axes: Axes, analysis: Analysis, nr_names: int = 10) -> None:
    """Draw the wakeup latency of each name: median, 99th percentile and maximum."""
    grouped = analysis.by("comm")
    columns = grouped.columns
    rows = [k for k in range(len(grouped.names)) if columns["wakeup_latency_count"][k] > 0][:nr_names]
    _place_title(axes, "wakeup latency: median, 99%, longest")
    if not rows:
        _say_nothing(axes, "no wakeups in this trace")
        return
    for y, k in enumerate(rows):
        p50, p99, top = (
            max(float(columns[f"wakeup_latency_{q}_ns"][k]), 1.0) / 1e3 for q in ("p50", "p99", "max")
        )
        axes.plot([p50, top], [y, y], color=COLORS["muted"], lw=2, solid_capstyle="round", zorder=1)
        axes.plot(
            [p50, p99], [y, y], color=_DELAYS["wakeup_latency"][1], lw=3, solid_capstyle="round", zorder=2
        )
        axes.plot([p50], [y], "o", color=_DELAYS["wakeup_latency"][1], ms=6, zorder=3)
        axes.plot([top], [y], "|", color=COLORS["default"], ms=8, zorder=3)
    axes.set_xscale("log")
    _label_times(axes)
    axes.set_yticks(range(len(rows)), [drawable(grouped.names[k]) for k in rows], fontsize=_SMALL)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=COLORS["muted"], lw=0.5, alpha=0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _binned(values: npt.NDArray[np.float64], nr_bins: int) -> npt.NDArray[np.float64]:
    """Average neighbouring bins, so that each is a visible cell."""
    factor = max(values.shape[1] // nr_bins, 1)
    whole = values[:, : values.shape[1] // factor * factor]
    return np.asarray(whole.reshape(len(values), -1, factor).mean(axis=2))


def _label_cpus(axes: Axes, nr_cpus: int) -> None:
    step = max(1, -(-nr_cpus // 16))
    shown: Sequence[int] = range(0, nr_cpus, step)
    axes.set_yticks([cpu + 0.5 for cpu in shown], [f"CPU {cpu}" for cpu in shown], fontsize=_SMALL)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=_SMALL)
    axes.spines["left"].set_visible(False)


def _label_times(axes: Axes) -> None:
    """Label an axis of microseconds: 10 us, 1 ms, 1 s."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    low, high = axes.get_xlim()
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = 10.0 ** (decades[::2] if len(decades) > 8 else decades)
    if np.log10(high / low) < 2:
        ticks = np.concatenate([ticks, 2 * ticks, 5 * ticks])
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.xaxis.set_major_formatter(lambda value, _: _time(value))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(low, high)
    axes.tick_params(axis="x", labelsize=_SMALL)


def _time(microseconds: float) -> str:
    if microseconds < 0.999:
        return f"{microseconds * 1e3:.0f} ns"
    if microseconds < 999:
        return f"{microseconds:.0f} µs"
    return f"{microseconds / 1e3:.0f} ms" if microseconds < 999e3 else f"{microseconds / 1e6:.0f} s"


def _place_title(axes: Axes, title: str) -> None:
    axes.set_title(title, pad=6)


def _say_nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=COLORS["default"])
    axes.set_xticks([])
    axes.set_yticks([])
