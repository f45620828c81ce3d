"""`schedtuna stats --windows`: sampled metrics as features per window, of a trace or of now."""

from __future__ import annotations

import contextlib
import csv
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from schedtuna.cli.common import parse_duration, parse_positive_duration, termination_interrupts
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import number, table
from schedtuna.errors import UsageError
from schedtuna.printable import exact

if TYPE_CHECKING:
    from schedtuna.features.windows import Sample, Window
    from schedtuna.trace.trace import Trace

_LIVE_INTERVAL_S, _SHORTEST_INTERVAL_S = 1.0, 0.01
COLUMNS = ("average", "change", "percent_change", "total")


class Form(Enum):
    """How windows are printed."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True)
class Asked:
    """What the options say, in seconds; `interval_s` and `for_s` of what is sampled live."""

    length_s: float
    discard_s: float
    interval_s: float | None
    for_s: float | None

    @classmethod
    def read(cls, length: str, discard: str, interval: str | None, duration: str | None) -> Asked:
        """Return the options' values.

        Raises:
            UsageError: One is no duration, or they leave nothing of a window.
        """
        asked = cls(
            parse_positive_duration(length, option="--windows"),
            parse_duration(discard),
            None if interval is None else parse_positive_duration(interval, option="--interval"),
            None if duration is None else parse_positive_duration(duration, option="--for"),
        )
        if asked.interval_s is not None and asked.interval_s < _SHORTEST_INTERVAL_S:
            raise UsageError(f"--interval {interval}: expected {_SHORTEST_INTERVAL_S:g} s or more")
        if asked.discard_s >= asked.length_s:
            raise UsageError(f"--discard {discard} leaves nothing of windows of {length}")
        if asked.for_s is not None and asked.for_s < asked.length_s:
            raise UsageError(f"--for {duration} ends before the first window of {length} does")
        return asked

    def require_samples(self, interval_s: float) -> None:
        """Refuse windows that are too short to have a sample each.

        Raises:
            UsageError: They are.
        """
        kept_s = self.length_s - self.discard_s
        if kept_s < 0.9 * interval_s:
            raise UsageError(
                f"samples are {number(interval_s, digits=3)} s apart: "
                f"the {number(kept_s, digits=3)} s left of a window may have none",
                hint="choose longer --windows, or sample more often with --interval",
            )


def show_windows(folder: Path | None, asked: Asked, form: Form) -> None:
    """Print the windows of a trace, or of this machine until `--for` is over or Ctrl-C."""
    if folder is None:
        _print(_live(asked), form)
        return
    if asked.interval_s is not None or asked.for_s is not None:
        raise UsageError("--interval and --for are for windows of now", hint="leave DIR out")
    from schedtuna.trace.store import open_trace

    trace = open_trace(folder)
    for note in trace.sample_notes:
        print_remark("note", note, file=sys.stderr)
    nr_windows = _print(_recorded(trace, asked), form)
    if not nr_windows:
        raise UsageError(
            f"the trace's samples do not fill a window of {exact(asked.length_s)} s",
            hint="choose shorter --windows",
        )


def _recorded(trace: Trace, asked: Asked) -> Iterator[Window]:
    import polars as pl

    from schedtuna.features.windows import first_beginning_ns, windows
    from schedtuna.record.procfs import SYSTEM_METRICS

    frame = trace.samples("system").sort("timestamp_ns")
    times: list[int] = frame["timestamp_ns"].to_list()
    measured = frame.select(pl.selectors.numeric().exclude("timestamp_ns"))
    samples = zip(times, measured.iter_rows(named=True), strict=True)
    began_ns = trace.window_ns[0]
    if not first_beginning_ns(times) - 10**9 < began_ns <= times[0]:
        began_ns = first_beginning_ns(times)  # of no or another clock than the samples
    known_ns = times if len(times) > 1 else [began_ns, *times]
    if known_ns[0] == known_ns[-1]:
        raise UsageError(
            "the trace has a single sample, which fills no window",
            hint="record for longer, or sample more often: record --interval 100ms",
        )
    asked.require_samples(statistics.median(after - before for before, after in pairwise(known_ns)) / 1e9)
    names = list(dict.fromkeys([*SYSTEM_METRICS, *measured.columns]))
    return windows(samples, names, length_s=asked.length_s, discard_s=asked.discard_s, begin_ns=began_ns)


def _live(asked: Asked) -> Iterator[Window]:
    from schedtuna.features.windows import windows
    from schedtuna.record.procfs import SYSTEM_METRICS, SystemSampler

    interval_s = asked.interval_s or max(_SHORTEST_INTERVAL_S, min(asked.length_s / 5, _LIVE_INTERVAL_S))
    asked.require_samples(interval_s)
    sampler = SystemSampler()
    begin_ns = sampler.since_ns

    def samples() -> Iterator[Sample]:
        at_s = interval_s
        while asked.for_s is None or at_s < asked.for_s + interval_s / 2:
            time.sleep(max(0.0, begin_ns / 1e9 + at_s - time.monotonic()))
            yield sampler.sample()
            gone_s = time.monotonic() - begin_ns / 1e9
            at_s = interval_s * (1 + max(round(at_s / interval_s), int(gone_s / interval_s)))

    return windows(
        samples(),
        list(SYSTEM_METRICS),
        length_s=asked.length_s,
        discard_s=asked.discard_s,
        begin_ns=begin_ns,
    )


def _print(found: Iterable[Window], form: Form) -> int:
    """Print windows as they come, and return how many there were."""
    nr_windows = 0
    with termination_interrupts(), contextlib.suppress(KeyboardInterrupt):
        for window in found:
            if form is Form.JSON:
                print_json(asdict(window))
            elif form is Form.CSV:
                _print_csv(window, heading=not nr_windows)
            else:
                print(_text(window), flush=True)
            nr_windows += 1
    return nr_windows


def _print_csv(window: Window, *, heading: bool) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    if heading:
        rows.writerow(["window", "start_s", "end_s", "nr_samples", "feature", *COLUMNS])
    for name, feature in window.features.items():
        values = [getattr(feature, column) for column in COLUMNS]
        where: Sequence[float] = (window.number, window.start_s, window.end_s, window.nr_samples)
        rows.writerow([*where, name, *("" if value is None else repr(value) for value in values)])
    sys.stdout.flush()


def _text(window: Window) -> str:
    start_s, end_s = (exact(round(time_s, 3)) for time_s in (window.start_s, window.end_s))
    head = f"window {window.number}: {start_s} to {end_s} s, {window.nr_samples} samples"
    lines = [
        [
            name,
            number(feature.average, name),
            number(feature.change, name),
            "-" if feature.percent_change is None else f"{feature.percent_change:+.1f}%",
            number(feature.total, name),
        ]
        for name, feature in window.features.items()
    ]
    return f"{head}\n{table(['', 'average', 'change', 'change %', 'total'], lines)}\n"
