"""The figures of a report, drawn with matplotlib without a display.

Every function takes plain numbers and returns a Figure; `to_svg` and `drawn` make a file of it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from schedtuna.evidence.result import is_bounded
from schedtuna.printable import percent_change
from schedtuna.space import ParameterSpec, ParameterType

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {
    "default": "#6b7280",
    "again": "#9ca3af",
    "candidate": "#0f766e",
    "worse": "#b91c1c",
    "muted": "#d1d5db",
    "text": "#1f2937",
}
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLORS["default"],
    "axes.labelcolor": COLORS["text"],
    "axes.titleweight": "bold",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": COLORS["text"],
    "ytick.color": COLORS["text"],
    "svg.hashsalt": "schedtuna",  # element ids, and so the bytes, depend on the content only
}

PIXELS_PER_INCH = 144  # of pictures; other formats have sizes of their own


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def styled() -> AbstractContextManager[None]:
    """A context in which matplotlib draws in the reports' style."""
    import matplotlib as mpl

    return mpl.rc_context(STYLE)


def drawable(name: str) -> str:
    """Return a name that others chose as matplotlib is to have it.

    Dollars don't begin mathematics, and what the font lacks is spelled out.
    """
    known = _characters()
    short = name if len(name) <= 32 else name[:31] + "…"
    spelled = "".join(c if c.isprintable() and ord(c) in known else f"\\u{ord(c):04x}" for c in short)
    return spelled.replace("$", r"\$")


@cache
def _characters() -> frozenset[int]:
    from matplotlib import font_manager

    with styled():
        font = font_manager.get_font(
            font_manager.findfont(font_manager.FontProperties(family=["sans-serif"]))
        )
    return frozenset(font.get_charmap())


def to_svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element, to put into HTML."""
    buffer = io.StringIO()
    _save(figure, buffer, "svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def drawn(figure: Figure, suffix: str) -> bytes:
    """Return the figure as a file's content, in the format that a suffix such as `.png` names."""
    buffer = io.BytesIO()
    _save(figure, buffer, suffix.lstrip(".").lower())
    return buffer.getvalue()


def _save(figure: Figure, file: IO[Any], form: str, **options: Any) -> None:
    """Lay the figure out and draw it once; for the layout alone, `savefig` would draw it whole."""
    from matplotlib.backend_bases import get_registered_canvas_class

    canvas = get_registered_canvas_class(form)(figure)
    figure.dpi = canvas.fixed_dpi or PIXELS_PER_INCH
    with styled():
        if engine := figure.get_layout_engine():
            engine.execute(figure)
        figure.set_layout_engine(None)
        figure.savefig(file, format=form, dpi=figure.dpi, **options)


def draw_effect(
    axes: Axes,
    *,
    effect: tuple[float, float, float],
    aa: tuple[float, float, float],
    delta: float,
    lower_is_better: bool,
) -> None:
    """Draw candidate/default and default/default as ratios with 95% intervals.

    Args:
        axes: Where to draw.
        effect: Ratio, lower and upper bound of candidate over default.
        aa: The same for the default against itself.
        delta: Smallest gain that matters; the band of smaller ones is shaded.
        lower_is_better: Whether ratios below 1 are gains.
    """
    percent = [[100 * (value - 1) for value in row] for row in (effect, aa)]
    reach = _effect_reach(percent[0], percent[1], 100 * delta)
    colors = (COLORS["candidate"], COLORS["default"])
    axes.axvspan(-100 * delta, 100 * delta, color=COLORS["muted"], alpha=0.35, lw=0)
    axes.axvline(0, color=COLORS["default"], lw=1)
    for y, (middle, low, high), color in zip((1, 0), percent, colors, strict=True):
        left, right = max(low, -reach), min(high, reach)
        axes.plot([left, right], [y, y], color=color, lw=3, solid_capstyle="round")
        for end, bound, marker in ((left, low, "<"), (right, high, ">")):
            if end != bound:  # it goes on beyond the axis
                axes.plot([end], [y], marker, color=color, ms=7)
        axes.plot([middle], [y], "o", color=color, ms=8)
        bounded = is_bounded(low) or is_bounded(high)
        axes.annotate(
            f"{signed(middle)}%  " + (f"[{signed(low)}, {signed(high)}]" if bounded else "(not bounded)"),
            (min(max(middle, -0.7 * reach), 0.7 * reach), y),
            (0, 9),
            textcoords="offset points",
            ha="center",
            color=color,
        )
    axes.set_xlim(-1.05 * reach, 1.05 * reach)
    axes.set_yticks([1, 0], ["candidate", "default\nagain (A/A)"])
    axes.set_ylim(-0.5, 1.6)
    better = "left" if lower_is_better else "right"
    axes.set_xlabel(f"change against the default, % (better to the {better}; band: less than {delta:.0%})")


def signed(percent: float) -> str:
    """Spell a change in percent; an infinite one has no bound: it stands for runs that failed."""
    if not is_bounded(1 + percent / 100):
        return "+∞" if percent > 0 else "-∞"
    return percent_change(1 + percent / 100).removesuffix("%")


def _effect_reach(effect: Sequence[float], aa: Sequence[float], delta: float) -> float:
    """How far the axis goes, in percent: the effect decides, a boundless A/A interval does not."""
    finite = [abs(value) for value in effect if abs(value) < 300]
    own = max([2 * delta, *finite])
    noise = max((abs(value) for value in aa if abs(value) < 300), default=0.0)
    return 1.15 * max(own, min(noise, 2 * own))


def draw_blocks(axes: Axes, values: Mapping[str, Sequence[float | None]], *, unit: str) -> None:
    """Draw the confirmation's runs in the order of their blocks, one colour per arm."""
    from matplotlib.ticker import MaxNLocator

    looks = {
        "default": (COLORS["default"], "o"),
        "default again": (COLORS["again"], "s"),
        "candidate": (COLORS["candidate"], "D"),
    }
    for offset, (arm, (color, marker)) in zip((-0.18, 0.0, 0.18), looks.items(), strict=True):
        row = [np.nan if value is None else value for value in values.get(arm, ())]
        axes.plot(np.arange(1, len(row) + 1) + offset, row, marker, color=color, ms=5, label=arm)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("block (its three runs in random order)")
    axes.set_ylabel(drawable(unit))
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)


def clip_outliers(axes: Axes, values: Sequence[float | None]) -> float:
    """Limit the y axis so that a few runs far above the rest don't flatten it; return its top.

    Runs above the top are to be drawn on it, as triangles.
    """
    shown = np.array([value for value in values if value is not None], float)
    if not len(shown):
        return float("inf")
    low, middle, high = np.quantile(shown, [0.0, 0.5, 0.75], method="lower")
    top = float(middle + 6 * max(high - middle, middle - low))
    if shown.max() <= top or top <= low:
        return float("inf")
    axes.set_ylim(low - 0.08 * (top - low), top)
    return top


def _draw_runs(axes: Axes, x: Any, y: Sequence[float | None], top: float, **style: Any) -> None:
    """Draw runs as dots; those above the top as triangles on it."""
    heights = np.array([np.nan if value is None else value for value in y], float)
    places = np.asarray(x, float)
    inside = ~(heights > top)
    axes.plot(places[inside], heights[inside], "o", **style)
    if not inside.all():
        style.pop("label", None)
        axes.plot(places[~inside], np.full((~inside).sum(), top), "^", clip_on=False, **style)


def draw_search(
    axes: Axes, values: Sequence[float | None], default: float, *, unit: str, lower: bool
) -> None:
    """Draw every search run, the best so far, and the default's level."""
    shown = np.array([np.nan if value is None else value for value in values], float)
    runs = np.arange(1, len(shown) + 1)
    best = np.fmin.accumulate(shown) if lower else np.fmax.accumulate(shown)
    axes.axhline(default, color=COLORS["default"], lw=1, ls="--", label="default (median)")
    top = clip_outliers(axes, [*values, default])
    _draw_runs(axes, runs, values, top, color=COLORS["candidate"], ms=4, alpha=0.55, label="a run")
    axes.step(runs, best, where="post", color=COLORS["candidate"], lw=1.5, label="best single run so far")
    failed = runs[np.isnan(shown)]
    if len(failed):
        bottom = axes.get_ylim()[0]
        axes.plot(failed, np.full(len(failed), bottom), "x", color=COLORS["worse"], label="failed")
    axes.set_xlabel("search run (noisy: no claim rests on it)")
    axes.set_ylabel(drawable(unit))
    axes.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)


def draw_parameter(
    axes: Axes, spec: ParameterSpec, settings: Sequence[Any], values: Sequence[float | None], best: Any
) -> None:
    """Draw what each tried setting of one parameter gave; the chosen one is marked."""
    from matplotlib.ticker import MaxNLocator

    kept = [(s, v) for s, v in zip(settings, values, strict=True) if v is not None]
    top = clip_outliers(axes, values)
    title = spec.name
    if spec.value_type in (ParameterType.INTEGER, ParameterType.FLOAT):
        title += " (mean)" if spec.type is ParameterType.LIST else ""
        places = [_place(setting) for setting, _ in kept]
        _draw_runs(axes, places, [v for _, v in kept], top, color=COLORS["candidate"], alpha=0.5)
        if spec.log:
            axes.set_xscale("log")
        elif spec.value_type is ParameterType.INTEGER:
            axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
        axes.axvline(_place(spec.default), color=COLORS["default"], lw=1, ls="--")
        if best is not None:
            axes.axvline(_place(best), color=COLORS["candidate"], lw=1.5)
    else:
        names: list[Any] = list(spec.choices) or [False, True]
        labels = [str(name).lower() if isinstance(name, bool) else drawable(str(name)) for name in names]
        for at, name in enumerate(names):
            row = [v for s, v in kept if s == name]
            spread = np.linspace(-0.12, 0.12, len(row)) if len(row) > 1 else np.zeros(len(row))
            color = COLORS["candidate"] if name == best else COLORS["default"]
            _draw_runs(axes, at + spread, row, top, color=color, alpha=0.5)
            if row:
                axes.plot([at - 0.25, at + 0.25], [min(np.median(row), top)] * 2, color=color, lw=2)
        axes.set_xticks(range(len(names)), labels, rotation=20 if len(names) > 3 else 0)
        axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_title(title)
    if np.isinf(top):
        axes.margins(y=0.12)


def _place(setting: Any) -> float:
    """Where a number, or the mean of a list of numbers, lies on the axis."""
    return float(np.mean(setting)) if setting != () else 0.0
