"""The certificate's page: both sides of every load, the cells, what must fail, and what is not modelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schedtuna.evidence.verdict import Verdict
from schedtuna.fidelity import rules
from schedtuna.fidelity.campaign import Sides
from schedtuna.fidelity.certificate import Certificate
from schedtuna.fidelity.changes import CHANGES
from schedtuna.fidelity.envelope import Envelope
from schedtuna.fidelity.judge import Cell, CellOutcome
from schedtuna.fidelity.loads import LOADS
from schedtuna.fidelity.measure import CURVE, MOST_SWITCHES, RunFigures
from schedtuna.printable import number
from schedtuna.report import figures
from schedtuna.report.figures import COLORS
from schedtuna.report.page import Page, Section, Table, write
from schedtuna.sim.native import left_out_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILLS = {
    CellOutcome.PASS: "#99d5cd",
    CellOutcome.FAIL: "#f3a9a9",
    CellOutcome.TOO_NOISY: "#f6d79b",
    CellOutcome.INSENSITIVE: "#eceef1",
}
_WORST_FIRST = (CellOutcome.FAIL, CellOutcome.TOO_NOISY, CellOutcome.PASS, CellOutcome.INSENSITIVE)
_TASKS = ("#0f766e", "#b45309", "#4338ca", "#be185d", "#4d7c0f", "#0369a1", "#7c3aed", "#a16207")
_TIMELINE_US = 100_000.0
_COLUMNS = 2
_LINEAR = 0.5  # log ratios up to here are drawn in proportion
NOT_MODELLED = (
    "Memory: caches but for what a migration costs, bandwidth, NUMA, page faults.",
    "SMT siblings don't slow each other down, and clocks have one speed.",
    "Real-time and deadline tasks, and whatever in the kernel is no scheduler.",
)
_NAMES = {
    "switches_per_s": "switches",
    "slice_mean_us": "mean slice",
    "share": "shares",
    "wakeup_latency_mean_us": "wakeup latency",
    "run_delay_ms_per_s": "run delay",
}


def write_page(certificate: Certificate, sides: Sides, path: Path) -> None:
    """Write the page into a folder of ours, whole or not at all."""
    write(fidelity_page(certificate, sides), path)


def fidelity_page(certificate: Certificate, sides: Sides) -> Page:
    """Return the page of a certificate."""
    envelope = Envelope(**certificate.envelope)
    if certificate.is_certified:
        tone, verdict = Verdict.IMPROVED, "The simulated machine is certified for this one"
    elif certificate.is_quick:
        tone, verdict = Verdict.TOO_NOISY, "A quick look, which can't certify"
    else:
        tone, verdict = Verdict.WORSE, "The simulated machine is not certified for this one"
    counted = [cell for cell in certificate.cells if cell.outcome is not CellOutcome.INSENSITIVE]
    passed = sum(cell.outcome is CellOutcome.PASS for cell in counted)
    failing = sum(control.fails for control in certificate.controls)
    return Page(
        title="Fidelity of the simulator",
        tone=tone,
        verdict=f"{verdict}: {certificate.reason}.",
        facts=[
            *envelope.rows(),
            ("cells that pass", f"{passed} of {len(counted)}"),
            ("wrong models that fail", f"{failing} of {len(certificate.controls)}"),
            ("rank correlation of differences", f"{certificate.agreement.rank_correlation:.2f}"),
        ],
        sections=[
            _cells(certificate.cells),
            _curves(sides),
            _timelines(sides),
            _differences(certificate),
            _controls(certificate),
            _rules(),
            _machine(certificate, envelope),
            Section(
                "What is not modelled",
                notes=[*NOT_MODELLED, *(f"{name}: {why}" for name, why in left_out_table())],
            ),
        ],
    )


def _cells(cells: Sequence[Cell]) -> Section:
    loads = list(dict.fromkeys(cell.load for cell in cells))
    with figures.styled():
        figure = figures.new_figure(9, 0.8 + 0.42 * len(loads))
        _draw_map(figure.subplots(), cells, loads)
    rows = [
        [
            cell.load,
            cell.metric,
            number(cell.real),
            number(cell.model),
            f"{number(cell.low)} to {number(cell.high)}",
            f"±{number(cell.tolerance)}",
            f"{cell.aa:.1%}",
            cell.outcome.value + (f": {cell.reason}" if cell.reason else ""),
        ]
        for cell in cells
    ]
    return Section(
        "Cells: a metric of a load each",
        text=[
            (
                "Green cells pass: the 90% interval of model - machine lies within the tolerance. Red ones "
                "fail, yellow ones are too noisy to say, and grey ones don't count: the metric would not "
                "notice. Numbers are the model's mean in percent of the machine's; of shares, the worst."
            )
        ],
        svg=figures.to_svg(figure),
        table=Table(
            ["load", "metric", "machine", "model", "difference", "tolerance", "A/A", "cell"],
            rows,
            folded=f"all {len(rows)} cells",
        ),
    )


def _draw_map(axes: Axes, cells: Sequence[Cell], loads: Sequence[str]) -> None:
    metrics = list(rules.METRICS)
    for y, load in enumerate(loads):
        for x, metric in enumerate(metrics):
            found = [cell for cell in cells if cell.load == load and cell.metric.partition(":")[0] == metric]
            if not found:
                continue
            worst = min(found, key=lambda cell: (_WORST_FIRST.index(cell.outcome), -cell.off))
            axes.barh(y, 0.96, left=x - 0.48, height=0.9, color=_FILLS[worst.outcome])
            ratio = f"{100 * worst.model / worst.real:.0f}%" if worst.real else "-"
            axes.text(x, y, ratio, ha="center", va="center", color=COLORS["text"])
    axes.set_xlim(-0.5, len(metrics) - 0.5)
    axes.set_ylim(len(loads) - 0.5, -0.5)
    axes.set_xticks(range(len(metrics)), [_NAMES[metric] for metric in metrics])
    axes.set_yticks(range(len(loads)), [f"{load} ({LOADS[load].where})" for load in loads])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _curves(sides: Sides) -> Section:
    kinds = {"slice": "slices", "wakeup_latency": "wakeup latencies"}
    panels = [
        (load, kind)
        for load, real in sides.real.items()
        for kind in kinds
        if any(kind in run.curves for run in real)
    ]
    rows = -(-len(panels) // _COLUMNS)
    with figures.styled():
        figure = figures.new_figure(9, 2.1 * rows)
        for place, (load, kind) in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, _COLUMNS, place)
            _draw_curves(axes, sides.real[load], sides.model.get(load, []), kind)
            axes.set_title(f"{load}: {kinds[kind]}")
    return Section(
        "Distributions",
        text=["Share of values up to so many us. Each grey line is a real run, each coloured one simulated."],
        svg=figures.to_svg(figure),
    )


def _draw_curves(axes: Axes, real: Sequence[RunFigures], model: Sequence[RunFigures], kind: str) -> None:
    from matplotlib.ticker import NullFormatter

    share = np.array(CURVE) / 100
    for runs, color, label in ((real, COLORS["default"], "machine"), (model, COLORS["candidate"], "model")):
        curves = [run.curves[kind] for run in runs if kind in run.curves]
        for k, curve in enumerate(curves):
            axes.plot(
                np.maximum(curve, 0.1), share, color=color, lw=0.8, alpha=0.6, label=label if k == 0 else None
            )
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1)
    axes.set_xlabel("us")
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def _timelines(sides: Sides) -> Section:
    loads = [load for load, real in sides.real.items() if real[0].timeline and sides.model.get(load)]
    with figures.styled():
        figure = figures.new_figure(9, 1.15 * len(loads) + 0.3)
        for place, load in enumerate(loads, start=1):
            axes = figure.add_subplot(len(loads), 1, place)
            _draw_timeline(axes, sides.real[load][0], sides.model[load][0])
            axes.set_title(load)
            if place == len(loads):
                axes.set_xlabel("ms")
    return Section(
        "Who runs when",
        text=[
            (
                "The last CPU for 100 ms, a colour per task. Both begin anywhere: what counts is how often "
                "tasks change and how long they run, not where. Gaps are idle, or tasks of others."
            )
        ],
        svg=figures.to_svg(figure),
    )


def _draw_timeline(axes: Axes, real: RunFigures, model: RunFigures) -> None:
    names = sorted({name for run in (real, model) for _, name in run.timeline if name})
    colors = {name: _TASKS[k % len(_TASKS)] for k, name in enumerate(names)}
    for y, run in ((1, real), (0, model)):
        whole = len(run.timeline) < MOST_SWITCHES  # else it ends before
        ends = [when for when, _ in run.timeline[1:]] + [_TIMELINE_US if whole else run.timeline[-1][0]]
        for (begin, name), end in zip(run.timeline, ends, strict=True):
            if name and end > begin:
                axes.barh(y, (end - begin) / 1e3, left=begin / 1e3, height=0.8, color=colors[name], lw=0)
    axes.set_yticks([1, 0], ["machine", "model"])
    axes.set_xlim(0, _TIMELINE_US / 1e3)
    axes.set_ylim(-0.5, 1.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _differences(certificate: Certificate) -> Section:
    agreement = certificate.agreement
    with figures.styled():
        figure = figures.new_figure(9, 4)
        _draw_differences(figure, certificate)
    rows = [
        [
            CHANGES[one.change].help if one.change in CHANGES else one.change,
            one.metric,
            f"{one.real:+.2f} [{one.low:+.2f}, {one.high:+.2f}]",
            f"{one.model:+.2f}",
            ("right" if one.sign_is_right else "wrong") if one.has_verdict else "no verdict",
        ]
        for one in certificate.differences
    ]
    return Section(
        "Differences: what a change of a setting does",
        text=[
            (
                f"{agreement.reason}. Rank correlation {agreement.rank_correlation:.2f}, slope "
                f"{agreement.slope:.2f}; error {agreement.error:.2f}, where `no change` has "
                f"{agreement.error_of_no_change:.2f} (log ratios)."
            )
        ],
        svg=figures.to_svg(figure),
        table=Table(
            ["change", "metric", "machine, log ratio", "model", "sign"],
            rows,
            folded=f"all {len(rows)} changes",
        ),
    )


def _draw_differences(figure: Figure, certificate: Certificate) -> None:
    axes = figure.subplots()
    reach = 1.15 * max((max(abs(one.real), abs(one.model)) for one in certificate.differences), default=1.0)
    line = np.linspace(-reach, reach, 401)
    axes.fill_between(
        line, rules.SLOPES[0] * line, rules.SLOPES[1] * line, color=COLORS["muted"], alpha=0.4, lw=0
    )
    axes.axhline(0, color=COLORS["muted"], lw=1)
    axes.axvline(0, color=COLORS["muted"], lw=1)
    for one in certificate.differences:
        color = COLORS["candidate"] if one.sign_is_right else COLORS["worse"]
        low, high = max(one.low, -reach), min(one.high, reach)
        axes.plot([low, high], [one.model] * 2, color=color, lw=1, alpha=0.5)
        axes.plot([one.real], [one.model], "o", color=color, ms=5)
        axes.annotate(one.change, (one.real, one.model), (6, -3), textcoords="offset points", fontsize=8)
    axes.set_xscale("symlog", linthresh=_LINEAR)  # a few are large, and all signs count
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("machine, log ratio (bar: 95% interval; band: slopes that agree)")
    axes.set_ylabel("model, log ratio")


def _controls(certificate: Certificate) -> Section:
    rows = [
        [
            one.name,
            rules.CONTROLS[one.name].help,
            ", ".join(one.loads),
            ("fails: " if one.fails else "DOES NOT FAIL: ") + one.reason,
        ]
        for one in certificate.controls
    ]
    return Section(
        "Models that are wrong on purpose",
        text=["Each has to fail by the same rules, on the loads where it matters."],
        table=Table(["model", "what is wrong", "loads", "result"], rows),
    )


def _rules() -> Section:
    tolerances = [
        f"{_NAMES[name]}: "
        + ", ".join(_tolerance(where, one, metric.unit) for where, one in metric.tolerances.items())
        for name, metric in rules.METRICS.items()
    ]
    return Section(
        "The rules, fixed before the data",
        notes=[f"{name}: {text}" for name, text in rules.described_rules()] + tolerances,
    )


def _tolerance(where: rules.Where, one: rules.Tolerance, unit: str) -> str:
    parts = [f"{one.relative:.0%}"] if one.relative else []
    if one.floor:
        parts.append(f"{one.floor:g} {'points' if unit == '%' else unit}")
    return f"{' or '.join(parts)} on {where}"


def _machine(certificate: Certificate, envelope: Envelope) -> Section:
    rows = [
        [name, f"{value:,}", "fitted" if name in certificate.fitted else "default, not fitted"]
        for name, value in certificate.costs.items()
    ]
    runs = sorted(set(certificate.nr_runs.values()))
    return Section(
        "Where it holds",
        text=[
            (
                f"For {envelope.topology} CPUs under Linux {envelope.kernel_release} with HZ {envelope.hz} "
                f"and preemption {envelope.preemption}, under `fair`, with the constants below. Elsewhere "
                "answers say `not certified`."
            ),
            (
                f"{' to '.join(map(str, runs))} real runs of each load; how often and how long tasks of "
                "others took the CPUs is counted in them, and an input of the simulations."
            ),
        ],
        table=Table(["constant", "value", ""], rows, folded=f"all {len(rows)} constants"),
    )
