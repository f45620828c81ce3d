"""The picture of an analysis: what each parameter explains, what pairs add, where good settings are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from schedtuna.report import figures
from schedtuna.report.figures import COLORS
from schedtuna.space import ParameterSpace, ParameterSpec, ParameterType

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from schedtuna.history.importance import Importance, ImportanceAnalysis

NR_CURVES = 3
NR_PAIRS = 6
STEEP = 100  # percent: beyond it, the axis of costs is logarithmic, so that smaller changes are seen beside
LINEAR = 20  # percent on both sides of the default that are linear even then


def importance_figure(analysis: ImportanceAnalysis, space: ParameterSpace) -> Figure:
    """Draw bars of the shares, the pairs, and curves of the parameters with the largest totals.

    Args:
        analysis: What was found.
        space: What was searched.
    """
    shown = analysis.parameters[:NR_CURVES]
    with figures.styled():
        figure = figures.new_figure(9, 2.2 + 0.32 * len(analysis.parameters) + 2.4)
        rows = figure.add_gridspec(2, 1, height_ratios=[1.0 + 0.32 * len(analysis.parameters), 2.6])
        upper = rows[0].subgridspec(1, 2, width_ratios=[3, 2])
        _draw_shares(figure.add_subplot(upper[0]), analysis)
        _draw_pairs(figure.add_subplot(upper[1]), analysis)
        lower = rows[1].subgridspec(1, max(len(shown), 1))
        first: Axes | None = None
        for place, found in enumerate(shown):
            axes = figure.add_subplot(lower[place], sharey=first)
            _draw_curve(axes, found, space[found.name])
            first = first or axes
        if first is not None:
            reach = max(abs(end) for end in first.get_ylim())
            if reach > STEEP:
                first.set_yscale("symlog", linthresh=LINEAR)
                first.yaxis.set_major_formatter("{x:+,.0f}")
            first.set_ylabel("cost over the default's, %")
    return figure


def _draw_shares(axes: Axes, analysis: ImportanceAnalysis) -> None:
    rows = analysis.parameters[::-1]
    places = np.arange(len(rows))
    axes.barh(places, [100 * row.total for row in rows], color=COLORS["muted"], label="with others")
    axes.barh(places, [100 * row.main for row in rows], color=COLORS["candidate"], height=0.4, label="alone")
    for place, row in zip(places, rows, strict=True):
        axes.plot([100 * end for end in row.total_95], [place, place], color=COLORS["text"], lw=1)
    axes.set_yticks(places, [row.name + (" *" if row.matters else "") for row in rows])
    axes.set_xlim(0, 105)
    axes.set_xlabel("share of what settings change, %\n(line: 95% interval; *: shown to matter)")
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)


def _draw_pairs(axes: Axes, analysis: ImportanceAnalysis) -> None:
    rows = analysis.interactions[:NR_PAIRS][::-1]
    places = np.arange(len(rows))
    axes.barh(places, [100 * row.part for row in rows], color=COLORS["default"], height=0.5)
    for place, row in zip(places, rows, strict=True):
        axes.plot([100 * end for end in row.part_95], [place, place], color=COLORS["text"], lw=1)
    axes.set_yticks(places, [" x ".join(row.names) for row in rows])
    axes.set_xlim(0, max(10.0, *(100 * row.part_95[1] + 1 for row in rows)) if rows else 10.0)
    axes.set_xlabel("together, beyond each alone, %")


def _draw_curve(axes: Axes, found: Importance, spec: ParameterSpec) -> None:
    curve = found.curve
    changes, (low, high) = _percent(curve.changes), _percent(np.array(curve.changes_95).T)
    axes.axhline(0, color=COLORS["default"], lw=1)
    if spec.type in (ParameterType.INTEGER, ParameterType.FLOAT):
        places = np.array(curve.settings, float)
        axes.fill_between(places, low, high, color=COLORS["candidate"], alpha=0.2, lw=0)
        axes.plot(places, changes, color=COLORS["candidate"], marker="o", ms=3)
        assert not isinstance(spec.default, (str, tuple))  # a number's
        axes.axvline(spec.default, color=COLORS["default"], lw=1, ls="--")
        if spec.log:
            axes.set_xscale("log")
        axes.set_xlabel(figures.drawable(spec.unit))
    else:
        places = np.arange(len(curve.settings))
        axes.vlines(places, low, high, color=COLORS["text"], lw=1)
        axes.plot(places, changes, "o", color=COLORS["candidate"])
        labels = [
            str(at).lower() if isinstance(at, bool) else figures.drawable(str(at)) for at in curve.settings
        ]
        axes.set_xticks(places, labels, rotation=20 if len(labels) > 3 else 0)
        axes.margins(x=0.2)
    axes.set_title(found.name)


def _percent(changes: tuple[float, ...] | np.ndarray) -> np.ndarray:
    return np.asarray(100 * np.expm1(np.asarray(changes)))
