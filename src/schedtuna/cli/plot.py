"""`schedtuna plot`: what a trace looks like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from schedtuna.cli.output import writing
from schedtuna.cli.trace_table import cells, columns_of, duration
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.cli.progress import Step
    from schedtuna.report.page import Page
    from schedtuna.report.trace_figures import TracePicture
    from schedtuna.trace.analysis import Analysis

app = typer.Typer(add_completion=False)

SUFFIXES = (".png", ".svg", ".html")


@app.command()
def plot(  # noqa: PLR0917 - typer's options are a function's parameters
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A trace.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="A .png, .svg or .html file. Default: DIR.html.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        float, typer.Option("--from", metavar="SECONDS", min=0, help="Where to begin, in the trace's time.")
    ] = 0.0,
    end: Annotated[
        float | None, typer.Option("--to", metavar="SECONDS", help="Where to end.", show_default=False)
    ] = None,
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Accept a trace that lost events: its figures are off.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:  # fmt: skip
    """Draw latency distributions, the CPUs' timeline and the runqueues of a trace."""
    from schedtuna.cli.progress import LateProgress
    from schedtuna.trace.doubts import warnings

    path = output or folder.with_name(f"{folder.resolve().name}.html")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: unknown format", hint=f"name it {', '.join('*' + s for s in SUFFIXES)}")
    window = None if start == 0 and end is None else (start, end if end is not None else float("inf"))
    done: list[str] = []
    with LateProgress(lambda: _how_far(done)):
        analysis = _analysis(folder, window, allow_lost=allow_lost)
        with writing(path, force=force) as file:
            _draw(analysis, folder, path, file, done)
    for warning in warnings(analysis):
        print(warning, file=sys.stderr)
    print(path)


def _analysis(folder: Path, window: tuple[float, float] | None, *, allow_lost: bool) -> Analysis:
    from schedtuna.trace.analysis import Analysis
    from schedtuna.trace.store import open_trace

    trace = open_trace(folder)
    if trace.manifest.get("mode") == "aggregate" or not trace.has_events:
        raise UsageError(
            f"{folder} has no events to draw",
            hint="record without --aggregate or --procfs; `schedtuna stats` shows this one",
        )
    return Analysis(trace, window_s=window, allow_lost=allow_lost)


def _draw(analysis: Analysis, folder: Path, path: Path, file: BinaryIO, done: list[str]) -> None:
    """Draw into a file, and say in `done` what of it is done."""
    from schedtuna.report import figures, page, trace_figures

    done.append("read")
    shown = trace_figures.picture(analysis)
    done.append("computed")
    if path.suffix.lower() == ".html":
        file.write(page.render(_page(shown, folder)).encode())
    else:
        file.write(figures.drawn(trace_figures.draw_all(shown), path.suffix))


def _how_far(done: list[str]) -> Step:
    from schedtuna.cli.progress import Step

    return Step("plotting", len(done), 3, ("reading the trace", "computing", "drawing")[len(done)])


def _page(shown: TracePicture, folder: Path) -> Page:
    from schedtuna.evidence.result import Verdict
    from schedtuna.report import figures, trace_figures
    from schedtuna.report.page import Page, Section, Table
    from schedtuna.trace.doubts import warnings
    from schedtuna.trace.tasks import clean_name

    analysis = shown.analysis
    overall, grouped = analysis.overall(), analysis.by("comm")
    columns, doubts = columns_of(analysis), warnings(analysis)
    facts = [
        ("length", f"{analysis.seconds:.3f} s"),
        ("events", f"{analysis.nr_events:,}"),
        ("tasks", f"{overall['nr_tasks']:,}"),
        ("CPUs", str(analysis.nr_cpus)),
        ("CPU time", duration(overall["cpu_time_ns"])),
        ("time waiting for a CPU", duration(overall["run_delay_ns"])),
        ("lost events", f"{analysis.trace.nr_lost:,}"),
        ("unknown time of CPUs", f"{100 * analysis.unknown_share:.1f}%"),
        ("state", analysis.trace.state),
    ]
    return Page(
        title=f"Trace {clean_name(str(folder))}",
        tone=Verdict.NO_EVIDENCE,
        verdict=_sentence(overall),
        facts=facts,
        sections=[
            *([Section("What is unknown", notes=doubts)] if doubts else []),
            Section("Timeline", svg=figures.to_svg(trace_figures.timeline_figure(shown))),
            Section("Runqueues", svg=figures.to_svg(trace_figures.queue_figure(shown))),
            Section("Latencies", svg=figures.to_svg(trace_figures.latency_figure(shown))),
            Section("By name", table=Table(["name", *columns], cells(grouped, columns, 40))),
        ],
        footer=clean_name(str(folder.resolve())),
    )


def _sentence(overall: dict[str, float]) -> str:
    if not overall["wakeup_latency_count"]:
        return "No wakeups in this trace."
    p50, p99, top = (duration(overall[f"wakeup_latency_{q}_ns"]) for q in ("p50", "p99", "max"))
    return f"Half of all wakeups waited {p50} or less for a CPU, 1% more than {p99}, the longest {top}."
