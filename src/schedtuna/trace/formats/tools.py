"""Formats that only their own tool can read: perf.data through perf, trace.dat through trace-cmd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from schedtuna.errors import TraceError, UnavailableError
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sched_line import EVENT_NAMES
from schedtuna.trace.formats.sink import Sink

_FIELDS = "comm,pid,tid,cpu,time,event,trace"
_SECTION = re.compile(r"^(?:sched:)?(\w+) stats:")
_LOST_SAMPLES = re.compile(r"^\s*LOST(?:_SAMPLES)? events:\s+(\d+)")
_CLOCKID = re.compile(r"# clockid: (?:CLOCK_)?(\w+)", re.IGNORECASE)


def parse_perf_data(path: Path, sink: Sink) -> None:
    """Read a perf.data file, through `perf script`; losses through `perf report --stats`.

    Raises:
        UnavailableError: There is no perf.
        TraceError: perf can't read it, or it has no scheduler events.
    """
    _need("perf", "linux-perf", f"perf script --ns -F {_FIELDS} -i FILE > TEXT")
    _pipe(
        ["perf", "script", "--force", "--ns", "--show-lost-events", "-F", _FIELDS, "-i", str(path)],
        sink,
        path,
    )
    _note_lost_samples(path, sink)
    header = _output(["perf", "script", "--force", "--header-only", "-i", str(path)])
    clock = _CLOCKID.search(header)
    if clock:
        sink.update_manifest({"clock": clock[1].lower()})


def parse_trace_dat(path: Path, sink: Sink) -> None:
    """Read a trace.dat file, through `trace-cmd report`.

    Raises:
        UnavailableError: There is no trace-cmd.
        TraceError: trace-cmd can't read it, or it has no scheduler events.
    """
    _need("trace-cmd", "trace-cmd", "trace-cmd report -N -t -i FILE > TEXT")
    _pipe(["trace-cmd", "report", "-N", "-t", "-i", str(path)], sink, path)


def _need(tool: str, package: str, elsewhere: str) -> None:
    if shutil.which(tool) is None:
        raise UnavailableError(
            f"{tool} is not installed, and only it can read this format",
            hint=f"install the package {package}, or run this where it is, and import TEXT: {elsewhere}",
        )


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PAGER": "cat"}


def _pipe(command: list[str], sink: Sink, path: Path) -> None:
    """Read the text that a command prints."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment()
        ) as process,
    ):
        assert process.stdout is not None
        try:
            sched_text.parse(process.stdout, sink)  # type: ignore[arg-type]  # a BufferedReader
        except TraceError as error:
            errors.seek(0)
            said = errors.read(2000).decode(errors="backslashreplace").strip().splitlines()
            raise TraceError(
                f"{command[0]} finds {error} in {path}" + (f"; it says: {said[-1][:200]!r}" if said else ""),
                hint=error.hint,
            ) from error
        finally:
            process.kill()  # it has ended by itself, or what it would still print is not wanted


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        check=False,
    )
    return done.stdout.decode(errors="replace")


def _note_lost_samples(path: Path, sink: Sink) -> None:
    """Note what the kernel counted as lost per event; of events that we keep."""
    event = ""
    for line in _output(["perf", "report", "--force", "--stats", "-i", str(path)]).splitlines():
        section = _SECTION.match(line)
        lost = _LOST_SAMPLES.match(line)
        if section:
            event = section[1]
        elif lost and event in EVENT_NAMES and int(lost[1]):
            sink.note_lost(int(lost[1]))
