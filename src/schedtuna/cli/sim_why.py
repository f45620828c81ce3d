"""`schedtuna sim why`: what makes the tasks of a simulated load wait, and what would have helped?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import parse_positive_duration, termination_interrupts
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.cli.table import described, table, wrapped
from schedtuna.errors import naming

if TYPE_CHECKING:
    from schedtuna.fidelity.envelope import Certification
    from schedtuna.sim.flips import Flip
    from schedtuna.sim.why import Explanation, Setting

_BY_HAND = "-"  # no command sets it on a machine


def why(
    trace: Annotated[
        Path,
        typer.Argument(metavar="TRACE", help="Written by `sim run -o`, or recorded.", show_default=False),
    ],
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="wakeup_latency or preempt_delay, with _p50, _p90, _p99, _p999, _mean or _max.",
        ),
    ] = "wakeup_latency_p99",
    top: Annotated[int, typer.Option("--top", min=1, max=1000, help="Rows of each table, at most.")] = 10,
    for_at_most: Annotated[
        str, typer.Option("--for-at-most", metavar="60s", help="Try no more after this time.")
    ] = "60s",
    as_json: JsonOption = False,
) -> None:
    """Rank what made tasks of a trace wait, in the model.

    Tasks, settings and single decisions are ranked by what the metric would have been without them. The load
    is simulated again, the same bit for bit but for one change at a time.
    """
    from schedtuna.cli.progress import RunProgress
    from schedtuna.fidelity.envelope import certification
    from schedtuna.sim.waits import WaitMetric
    from schedtuna.sim.why import why as explain
    from schedtuna.trace.store import open_trace

    wanted, allowed_s = WaitMetric.parse(metric), parse_positive_duration(for_at_most, option="--for-at-most")
    began_s, bar = time.monotonic(), RunProgress("why", None)
    with naming(trace), termination_interrupts(), bar:
        report = explain(
            open_trace(trace),
            wanted,
            time_left=lambda: 1 - (time.monotonic() - began_s) / allowed_s,
            progress=bar.update,
        )
    origin = report.base.origin
    scheduler = {"name": origin.scheduler, "parameters": origin.parameters}
    certified = certification(origin.machine["topology"], scheduler, origin.machine["costs"])
    if as_json:
        print_json(_document(report, certified, top))
    else:
        _show(report, certified, top)


def _helpful(report: Explanation, top: int) -> tuple[list[Setting], list[Flip]]:
    """Return what would have helped, the best first."""
    settings = [one for one in report.settings if report.helps(one.value_ns)]
    flips = [one for one in report.flips if one.value_ns < report.base.value_ns or _shortens(report, one)]
    return settings[:top], flips[:top]


def _shortens(report: Explanation, flip: Flip) -> bool:
    """Whether waits of the tail would have been shorter, though the metric is the same."""
    present = report.base.excess_ns(report.base.waits.lengths_ns(report.base.origin.until_ns))
    return flip.value_ns == report.base.value_ns and flip.excess_ns < present


def spelled_setting(setting: Setting) -> str:
    """Return it as one says it: ``base_slice_us=350``, ``nice=5 of make``."""
    if setting.parameter is not None:
        from schedtuna.space import spell_assignment

        return spell_assignment({setting.parameter: setting.value})
    return f"{_attribute(setting)} of {setting.task}"


def _attribute(setting: Setting) -> str:
    ((name, value),) = setting.attributes.items()
    if name == "slice_ns":
        return f"slice_us={value // 1000}" if value else "slice_us=default"
    return f"{name}={value.name.lower() if name == 'policy' else value}"


def proving_command(setting: Setting, scheduler: str, topology: str) -> str | None:
    """Return the command that tries it on a machine; None: no setting of a machine does that.

    Args:
        setting: The setting.
        scheduler: The simulated scheduler's name.
        topology: Of the simulated machine.
    """
    if setting.parameter is not None:
        from schedtuna.backend.places.simulated import Simulated
        from schedtuna.scheduler.spec import SchedulerConfig

        values = {setting.parameter: setting.value}
        real = Simulated(topology=topology).real_settings(SchedulerConfig(name=scheduler, values=values))
        return real and " ".join(["schedtuna", "compare", *real[0], "default", real[1], "-- COMMAND"])
    from schedtuna.scheduler.fair import NAME as FAIR

    # Tasks of another scheduler would be compared under the kernel's own.
    if scheduler != FAIR or setting.attributes.get("slice_ns") == 0:
        return None
    return f"schedtuna compare default fair:{_attribute(setting)} --pid PID -- COMMAND"


def _spelled_flip(report: Explanation, flip: Flip) -> tuple[str, str]:
    """Return what was decided, and what instead."""

    def name(task: int | None) -> str:
        return "nobody" if task is None else f"{report.names[task]} (tid {task + 1})"

    point = flip.point
    if point.wakeup is None:
        return f"run {name(flip.instead_of)}", f"run {name(point.task)}"
    return f"{name(point.task)} to CPU {flip.instead_of}", f"to CPU {point.cpu}"


def _document(report: Explanation, certified: Certification, top: int) -> dict[str, Any]:
    settings, flips = _helpful(report, top)
    origin = report.base.origin
    return {
        "metric": f"{report.base.metric.kind}_{report.base.metric.statistic}_ns",
        "value": report.base.value_ns,
        "any_change": list(report.neutral_ns),
        "is_certified": certified.is_certified,
        "certification": certified.text,
        "nr_not_tried": report.nr_left,
        "tasks": [vars(one) for one in report.tasks[:top]],
        "settings": [
            {
                "setting": spelled_setting(one),
                "value": one.value_ns,
                "command": proving_command(one, origin.scheduler, origin.machine["topology"]),
            }
            for one in settings
        ],
        "decisions": [
            {
                "at_ns": flip.point.at_ns,
                "kind": "pick" if flip.point.wakeup is None else "placement",
                "cpu": flip.point.cpu,
                "decided": _spelled_flip(report, flip)[0],
                "instead": _spelled_flip(report, flip)[1],
                "value": flip.value_ns,
                "beyond_tail_ns": flip.excess_ns,
            }
            for flip in flips
        ],
    }


def _us(time_ns: float) -> str:
    return f"{time_ns / 1000:,.1f}"


def _show(report: Explanation, certified: Certification, top: int) -> None:
    base, (low, high) = report.base, report.neutral_ns
    settings, flips = _helpful(report, top)
    what = f"{base.metric.kind} {base.metric.statistic}"
    where = ", replayed under fair" if base.origin.is_recorded else ""
    print(wrapped(f"{what}{where}: {_us(base.value_ns)} us, of {len(base.waits):,} waits"))
    if not report.tasks:
        print(wrapped("No task waited: there is nothing to explain."))
        return
    print(wrapped(f"Changes that mean nothing make it {_us(low)} to {_us(high)} us."), end="\n\n")
    rows = [
        [one.name, f"{one.nr_waits:,}", f"{one.nr_tail:,}", _us(one.tail_ns), _us(one.ran_meanwhile_ns)]
        for one in report.tasks[:top]
    ]
    headings = ["tasks", "waits", "in the tail", "us waited there", "us it ran meanwhile"]
    print(table(headings, rows), end="\n\n")
    if settings:
        rows = [
            [
                spelled_setting(one),
                _us(one.value_ns),
                proving_command(one, base.origin.scheduler, base.origin.machine["topology"]) or _BY_HAND,
            ]
            for one in settings
        ]
        print(described(["setting", "would have been, us", "to prove it"], rows))
        print(wrapped("COMMAND is what loads the machine, PID a process of those tasks."), end="\n\n")
    else:
        print(wrapped("No setting that was tried would have helped."), end="\n\n")
    if flips:
        rows = [
            [f"{flip.point.at_ns / 1e6:,.3f}", *_spelled_flip(report, flip), _us(flip.value_ns)]
            for flip in flips
        ]
        print(table(["at, ms", "it was decided", "instead", "would have been, us"], rows), end="\n\n")
    else:
        print(wrapped("No single decision that was tried would have helped."), end="\n\n")
    if report.nr_left:
        print(wrapped(f"For {report.nr_left} more there was no time: --for-at-most 5m allows more."))
    print(wrapped(f"This is a model, {certified.text}."))
