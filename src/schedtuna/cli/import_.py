"""`schedtuna import`: what other tools recorded, as a trace."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.errors import UsageError, naming

if TYPE_CHECKING:
    from schedtuna.cli.progress import Step
    from schedtuna.trace.trace import Loss, Trace
    from schedtuna.trace.writer import TraceWriter

app = typer.Typer(add_completion=False)

_PLACES_TOLD, _LOSSES_TOLD = 3, 1000


@app.command()
def import_(  # noqa: PLR0917 - typer's options are a function's parameters
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="perf.data, trace.dat, or the text of perf script, perf sched timehist, trace-cmd report,"
            " ftrace, vmstat, pidstat, sar, mpstat, dstat, or JSON lines.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where the trace goes.", show_default=False),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Add samples to this trace instead.", show_default=False),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="Its format. Default: recognised by how it begins."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="What the trace is an example of, for learning.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a file of another tool, and write it as a trace."""
    from schedtuna.cli.progress import LateProgress
    from schedtuna.trace.folder import remove_trace
    from schedtuna.trace.formats import READERS, detect, read
    from schedtuna.trace.store import open_trace
    from schedtuna.trace.writer import TraceWriter

    if not file.is_file():
        raise UsageError(f"{file} is not a regular file" if file.exists() else f"there is no file {file}")
    if format_ is not None and format_ not in READERS:
        raise UsageError(f"there is no format {format_!r}", hint=f"--format {', '.join(READERS)}")
    if (output is None) == (into is None):
        raise UsageError("say where it goes, by either --output or --into")
    name = format_ or detect(file)
    if into is not None:
        _add_samples(file, name, into, as_json=as_json)
        return
    assert output is not None
    manifest = {"mode": "import"} | ({"label": label} if label else {})
    with naming(output):
        writer = TraceWriter(output, manifest, clock="unknown", force=force)
    try:
        raw: list[int] = []  # segments, once all is read
        with LateProgress(lambda: _how_far(file, writer, *raw)), naming(output), writer:
            read(file, writer, name)
            raw.append(writer.nr_raw_segments)
    except BaseException:
        remove_trace(output)
        raise
    _tell(open_trace(output), output, name, writer, as_json=as_json)


def _how_far(file: Path, writer: TraceWriter | None = None, nr_raw: int | None = None) -> Step:
    """Say how much of a file has been read, by where it is read now; it may be another program that does.

    Args:
        file: What is read.
        writer: Where it goes.
        nr_raw: Segments to be compacted, once all is read.
    """
    from schedtuna.cli.progress import Step

    if writer and nr_raw is not None:
        return Step("writing the trace", nr_raw - writer.nr_raw_segments, nr_raw or None)
    status = file.stat()
    note = f"{writer.nr_events:,} events" if writer and writer.nr_events else ""
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                return Step("reading", os.lseek(descriptor, 0, os.SEEK_CUR), status.st_size, note)
    return Step("reading", note=note)


def _add_samples(file: Path, name: str, into: Path, *, as_json: bool) -> None:
    from schedtuna.cli.progress import LateProgress
    from schedtuna.trace.formats import load
    from schedtuna.trace.store import add_samples

    with LateProgress(lambda: _how_far(file)):
        other = load(file, name)
    kind = name.replace("-", "_")
    nr_samples = add_samples(into, other, kind)
    if as_json:
        notes = {"notes": other.sample_notes}
        print_json({"trace": str(into), "format": name, "samples": {kind: nr_samples}} | notes)
        return
    print(f"{into}: {nr_samples:,} {kind} samples added")
    _print_notes(other)


def _tell(trace: Trace, output: Path, name: str, writer: TraceWriter, *, as_json: bool) -> None:
    """Print what was imported, and what of it is missing."""
    kinds = {kind: frame.height for kind, frame in trace.sample_frames.items()}
    if as_json:
        losses = [
            {"cpu": loss.cpu, "nr_lost": loss.nr_lost, "first_ns": loss.first_ns, "last_ns": loss.last_ns}
            | {"is_unread": loss.is_unread}
            for loss in trace.losses[:_LOSSES_TOLD]
        ]
        print_json(
            {"trace": str(output), "format": name, "nr_events": writer.nr_events, "nr_lost": writer.nr_lost}
            | {"nr_unread": trace.manifest.get("nr_unread", 0), "losses": losses}
            | {"samples": kinds, "notes": trace.sample_notes}
        )
        return
    samples = "".join(f", {count:,} {kind} samples" for kind, count in kinds.items())
    print(f"{output}: {writer.nr_events:,} events, {trace.tasks.height:,} tasks{samples} ({name})")
    _print_notes(trace)
    if trace.is_incomplete:
        _print_losses(trace)


def _print_losses(trace: Trace) -> None:
    from schedtuna.trace.trace import tell_losses

    places = ", ".join(_place(loss, trace.window_ns[0]) for loss in trace.losses[:_PLACES_TOLD])
    more = len(trace.losses) - _PLACES_TOLD
    print(f"{tell_losses(trace.losses)}: {places}{f', and {more:,} more places' if more > 0 else ''}")
    if trace.manifest.get("nr_unread", 0):
        print(f"one that can't be read: {trace.manifest.get('unread_example', 'a record of perf.data')}")
    print("windows with these are refused by `schedtuna stats`, unless --allow-lost is given")


def _place(loss: Loss, begin_ns: int) -> str:
    """Say where events are missing, in seconds of the trace."""
    start = max(loss.first_ns - begin_ns, 0) / 1e9
    end = "the end" if loss.last_ns is None else f"{max(loss.last_ns - begin_ns, 0) / 1e9:.6f}"
    return f"{'any CPU' if loss.cpu < 0 else f'CPU {loss.cpu}'} {start:.6f} to {end} s"


def _print_notes(trace: Trace) -> None:
    for note in trace.sample_notes:
        print_remark("note", note)
