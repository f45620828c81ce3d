"""`schedtuna import`: what other tools recorded, as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json
from schedtuna.errors import UsageError, naming

if TYPE_CHECKING:
    from schedtuna.trace.trace import Trace

app = typer.Typer(add_completion=False)


@app.command()
def import_(  # noqa: PLR0917 - typer's options are a function's parameters
    file: Annotated[
        Path,
        typer.Argument(
            help="perf.data, trace.dat, or the text of perf script, trace-cmd report, ftrace, vmstat,"
            " pidstat, dstat, or JSON lines.",
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
        typer.Option("--format", metavar="NAME", help="What it is. Default: seen from how it begins."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="NAME", help="What this is an example of.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a trace that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a file of another tool, and write it as a trace."""
    from schedtuna.trace.formats import READERS, detect, load, read
    from schedtuna.trace.store import TraceWriter, add_samples, open_trace, remove_trace

    if not file.is_file():
        raise UsageError(f"{file} is no regular file" if file.exists() else f"there is no file {file}")
    if format_ is not None and format_ not in READERS:
        raise UsageError(f"there is no format {format_!r}", hint=f"--format {', '.join(READERS)}")
    if (output is None) == (into is None):
        raise UsageError("say where it goes, by either --output or --into")
    name = format_ or detect(file)
    if into is not None:
        other = load(file, name)
        kind = name.replace("-", "_")
        nr_samples = add_samples(into, other, kind)
        if as_json:
            notes = {"notes": other.sample_notes}
            print_json({"trace": str(into), "format": name, "samples": {kind: nr_samples}} | notes)
        else:
            print(f"{into}: {nr_samples:,} {kind} samples added")
            _print_notes(other)
        return
    assert output is not None
    manifest = {"mode": "import"} | ({"label": label} if label else {})
    with naming(output):
        writer = TraceWriter(output, manifest, clock="unknown", force=force)
    try:
        with naming(output), writer:
            read(file, writer, name)
    except BaseException:
        remove_trace(output)
        raise
    trace = open_trace(output)
    nr_unread = trace.manifest.get("nr_unread", 0)
    kinds = {kind: frame.height for kind, frame in trace.sample_frames.items()}
    if as_json:
        print_json(
            {"trace": str(output), "format": name, "nr_events": writer.nr_events, "nr_lost": writer.nr_lost}
            | {"nr_unread": nr_unread, "samples": kinds, "notes": trace.sample_notes}
        )
        return
    samples = "".join(f", {count:,} {kind} samples" for kind, count in kinds.items())
    print(f"{output}: {writer.nr_events:,} events, {trace.tasks.height:,} tasks{samples} ({name})")
    _print_notes(trace)
    if writer.nr_lost:
        print(f"{writer.nr_lost:,} events were lost before: `schedtuna stats` needs --allow-lost")
    if nr_unread:
        print(f"{nr_unread:,} more look like events, and can't be read")


def _print_notes(trace: Trace) -> None:
    for note in trace.sample_notes:
        print(f"note: {note}")
