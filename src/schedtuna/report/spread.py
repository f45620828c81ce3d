"""The picture of a variability study: every run of every metric that varies, and quartiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING

from schedtuna.backend.base import Trial, Validity
from schedtuna.experiment.runtable import Sample
from schedtuna.experiment.variability import Spread
from schedtuna.report.figures import COLORS, drawable, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12
_COLORS = (
    COLORS["candidate"],
    COLORS["default"],
    COLORS["worse"],
    "#7c3aed",
    "#b45309",
)  # again from the first


@dataclass(frozen=True)
class DrawnMachine:
    """What is drawn of a machine.

    Attributes:
        sample: What its runs looked like.
        trials: They; empty: they are not at hand.
        name: What it is called at the axis.
    """

    sample: Sample
    trials: Sequence[Trial] = ()
    name: str = "all"


def draw_spread(described: Sequence[tuple[Sample, Sequence[Trial]]], there: Sample | None = None) -> Figure:
    """Draw one panel per metric that varies: the runs in order, and boxes of all machines.

    A box spans the quartiles, its line is the median, its whiskers end at minimum and maximum.

    Args:
        described: Each machine, and its runs.
        there: Another one, whose runs were not made between these.
    """
    machines = [DrawnMachine(sample, trials) for sample, trials in described]
    if len(machines) > 1:
        machines = [replace(one, name=str(number)) for number, one in enumerate(machines, start=1)]
    if there is not None:
        machines = [replace(machines[0], name="here"), DrawnMachine(there, name="there")]
    shown = [spread.metric for spread in machines[0].sample.spreads if _varies(spread.metric, machines)]
    shown = shown[:MAX_PANELS]
    columns = min(3, max(1, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    with styled():
        figure = new_figure(4.6 * columns, 2.9 * rows + 0.4)
        figure.suptitle(_title(machines), x=0.01, ha="left", color=COLORS["text"])
        if not shown:
            figure.text(0.5, 0.45, "no metric varied", ha="center", color=COLORS["default"])
        for place, metric in enumerate(shown, start=1):
            _panel(figure.add_subplot(rows, columns, place), machines, metric)
    return figure


def _spread(machine: DrawnMachine, metric: str) -> Spread | None:
    return next((spread for spread in machine.sample.spreads if spread.metric == metric), None)


def _varies(metric: str, machines: Sequence[DrawnMachine]) -> bool:
    """Whether runs that are drawn differ."""
    spreads = (_spread(machine, metric) for machine in machines if machine.trials)
    return any(spread is not None and spread.maximum > spread.minimum for spread in spreads)


def _title(machines: Sequence[DrawnMachine]) -> str:
    first, *others = machines
    told = f"{drawable(first.sample.host)}: {len(first.trials)} runs"
    if not others:
        return told
    if not others[-1].trials:
        return (
            f"{told} (here), beside {drawable(others[-1].sample.host)} (there); descriptive: the runs were "
            "not interleaved"
        )
    names = ", ".join(f"{one.name} {drawable(one.sample.host)}" for one in machines)
    return f"{names}: {len(first.trials)} runs on each, in rounds"


def _panel(axes: Axes, machines: Sequence[DrawnMachine], metric: str) -> None:
    count = max(len(machine.trials) for machine in machines)
    width = max(2.0, 0.07 * count)
    ticks = sorted({1.0, float(count)})  # the first and the last: more would touch
    labels = [f"{tick:g}" for tick in ticks]
    at = count + 1.3 * width
    for machine, color in zip(machines, cycle(_COLORS), strict=False):
        points = [
            (number, values[metric])
            for number, trial in enumerate(machine.trials, start=1)
            if trial.validity is Validity.OK and metric in (values := {**trial.metrics, **trial.covariates})
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "o", color=color, ms=3.5, alpha=0.7)
        spread = _spread(machine, metric)
        if spread is not None:
            _box(axes, at, width, spread, color)
            ticks.append(at)
            labels.append(machine.name)
            at += 2.2 * width
    axes.set_xlim(0, at - width)
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("run")
    cvs = [
        f"{spread.cv:.2%}"
        for machine in machines
        if machine.trials and (spread := _spread(machine, metric)) and not math.isnan(spread.cv)
    ]
    axes.set_title(f"{metric}   CV {' / '.join(cvs)}" if cvs else metric)


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
