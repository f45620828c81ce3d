"""The picture of a variability study: every run of every metric that varies, and its quartiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schedtuna.backend.base import Trial, Validity
from schedtuna.experiment.runtable import Sample
from schedtuna.experiment.variability import Spread
from schedtuna.report.figures import COLORS, drawable, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12


def draw_spread(trials: Sequence[Trial], here: Sample, there: Sample | None = None) -> Figure:
    """Draw one panel per metric that varies: the runs in order, and boxes of both machines.

    A box spans the quartiles, its line is the median, its whiskers end at minimum and maximum.
    """
    shown = [spread for spread in here.spreads if spread.maximum > spread.minimum][:MAX_PANELS]
    columns = min(3, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    with styled():
        figure = new_figure(4.6 * columns, 2.9 * rows + 0.4)
        title = f"{drawable(here.host)}: {len(trials)} runs"
        if there is not None:
            title += (
                f" (here), beside {drawable(there.host)} (there); descriptive: the runs were not interleaved"
            )
        figure.suptitle(title, x=0.01, ha="left", color=COLORS["text"])
        if not shown:
            figure.text(0.5, 0.45, "no metric varied", ha="center", color=COLORS["default"])
        for place, spread in enumerate(shown, start=1):
            other = next((s for s in there.spreads if s.metric == spread.metric), None) if there else None
            _panel(figure.add_subplot(rows, columns, place), trials, (spread, other))
    return figure


def _panel(axes: Axes, trials: Sequence[Trial], spreads: tuple[Spread, Spread | None]) -> None:
    metric = spreads[0].metric
    points = [
        (number, values[metric])
        for number, trial in enumerate(trials, start=1)
        if trial.validity is Validity.OK and metric in (values := {**trial.metrics, **trial.covariates})
    ]
    axes.plot(*zip(*points, strict=True), "o", color=COLORS["candidate"], ms=3.5, alpha=0.7)
    width = max(2.0, 0.07 * len(trials))
    ticks = sorted({1.0, float(len(trials))})  # the first and the last: more would touch
    labels = [f"{tick:g}" for tick in ticks]
    at = len(trials) + 1.3 * width
    names = ("here", "there")
    for spread, color, name in zip(spreads, (COLORS["candidate"], COLORS["default"]), names, strict=True):
        if spread is not None:
            _box(axes, at, width, spread, color)
            ticks.append(at)
            labels.append(name if spreads[1] else "all")
            at += 2.2 * width
    axes.set_xlim(0, at - width)
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("run")
    cv = spreads[0].cv
    axes.set_title(metric if math.isnan(cv) else f"{metric}   CV {cv:.2%}")


def _box(axes: Axes, x: float, width: float, spread: Spread, color: str) -> None:
    stats = {
        "med": spread.median,
        "q1": spread.q1,
        "q3": spread.q3,
        "whislo": spread.minimum,
        "whishi": spread.maximum,
    }
    line = {"color": color, "lw": 1.2}
    axes.bxp(
        [stats],
        positions=[x],
        widths=[width],
        showfliers=False,
        manage_ticks=False,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops={**line, "lw": 2},
    )
