"""Binary formats: perf.data, by ourselves or through perf, and trace.dat, through trace-cmd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from schedtuna.errors import TraceError, UnavailableError
from schedtuna.trace.formats import perf_data, sched_text
from schedtuna.trace.formats.event_formats import UnreadableError
from schedtuna.trace.formats.sched_line import EVENT_NAMES
from schedtuna.trace.formats.sink import Sink

_FIELDS = "comm,pid,tid,cpu,time,event,trace"
_SECTION = re.compile(r"^(?:sched:)?(\w+) stats:")
_LOST_SAMPLES = re.compile(r"^\s*LOST(?:_SAMPLES)? events:\s+(\d+)")
_CLOCKID = re.compile(r"# clockid: (?:CLOCK_)?(\w+)", re.IGNORECASE)


def parse_perf_data(path: Path, sink: Sink) -> None:
    """Read a perf.data file; through `perf script` if it has something that we can't read.

    Raises:
        UnavailableError: It needs perf, and there is none.
        TraceError: It is damaged, or has no scheduler events.
    """
    try:
        perf_data.parse(path, sink)
    except UnreadableError as reason:
        _need("perf", "linux-perf", f"perf script --ns -F {_FIELDS} -i FILE > TEXT", f"{path}: {reason}")
        perf_script(path, sink)
    except TraceError as error:
        raise TraceError(f"{path}: {error}", hint=error.hint) from error


def perf_script(path: Path, sink: Sink) -> None:
    """Read a perf.data file through `perf script`; losses through `perf report --stats`.

    Raises:
        TraceError: perf can't read it, or it has no scheduler events.
    """
    nr_lost = _pipe(
        ["perf", "script", "--force", "--ns", "--show-lost-events", "-F", _FIELDS, "-i", str(path)],
        sink,
        path,
    )
    nr_lost_samples = _nr_lost_samples(path)
    if nr_lost_samples > nr_lost:  # both count the same
        sink.note_lost(nr_lost_samples - nr_lost)
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
    _need("trace-cmd", "trace-cmd", "trace-cmd report -N -t -i FILE > TEXT", f"{path} is a trace.dat")
    _pipe(["trace-cmd", "report", "-N", "-t", "-i", str(path)], sink, path)


def _need(tool: str, package: str, elsewhere: str, reason: str) -> None:
    if shutil.which(tool) is None:
        raise UnavailableError(
            f"{reason}; only {tool} can read that, and it is not installed",
            hint=f"install the package {package}, or run this where it is, and import TEXT: {elsewhere}",
        )


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PAGER": "cat"}


def _pipe(command: list[str], sink: Sink, path: Path) -> int:
    """Read the text that a command prints; return how many events it says were lost."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment()
        ) as process,
    ):
        assert process.stdout is not None
        try:
            return sched_text.parse(process.stdout, sink)  # type: ignore[arg-type]  # a BufferedReader
        except TraceError as error:
            errors.seek(0)
            said = errors.read(2000).decode(errors="backslashreplace").strip().splitlines()
            raise TraceError(
                f"{path}: {command[0]} finds {error}" + (f"; it says: {said[-1][:200]!r}" if said else ""),
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


def _nr_lost_samples(path: Path) -> int:
    """Return how many the kernel counted as lost, of the events that we keep."""
    event, nr_lost = "", 0
    for line in _output(["perf", "report", "--force", "--stats", "-i", str(path)]).splitlines():
        section = _SECTION.match(line)
        lost = _LOST_SAMPLES.match(line)
        if section:
            event = section[1]
        elif lost and event in EVENT_NAMES:
            nr_lost += int(lost[1])
    return nr_lost
