"""What do samples amount to per window: each metric's average, change, percent change and total?

Pure. A sample stands for the time since the one before, as rates do. What is not known of all of a window
is unknown, never 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from schedtuna.features.table import RATE_SUFFIX

Sample = tuple[int, Mapping[str, float | None]]

_ENOUGH = 0.9  # of its length: then a last window counts that the samples end before


@dataclass(frozen=True)
class WindowValues:
    """What a metric did in a window; None is unknown.

    Attributes:
        average: Over time.
        change: From the sample nearest to the window's beginning to the one nearest to its end; of a rate,
            the rate's.
        percent_change: That, of the value at the beginning; None from 0 to anything else.
        total: Of a rate per second: what it adds up to in the window. Of others None.
    """

    average: float | None = None
    change: float | None = None
    percent_change: float | None = None
    total: float | None = None


@dataclass(frozen=True)
class Window:
    """The features of a window.

    Attributes:
        number: From 0.
        start_s: When it begins, behind what is discarded; in seconds since the first one's beginning.
        end_s: When it ends.
        nr_samples: How many samples lie in it, or half of what they stand for; of a window without any,
            nothing is known.
        features: By metric.
    """

    number: int
    start_s: float
    end_s: float
    nr_samples: int
    features: dict[str, WindowValues]


def windows(
    samples: Iterable[Sample],
    names: Sequence[str],
    *,
    length_s: float,
    discard_s: float = 0.0,
    begin_ns: int,
) -> Iterator[Window]:
    """Yield each window once a sample at or behind its end is there.

    Args:
        samples: (timestamp in ns, metrics), in time order, as `SystemSampler.sample()` returns them.
        names: Metrics to tell of.
        length_s: From one window's beginning to the next one's.
        discard_s: How much of each window's beginning to leave out.
        begin_ns: When the first window begins; the first sample stands for the time from then on.
    """
    length_ns, discard_ns = round(length_s * 1e9), round(discard_s * 1e9)
    kept: list[Sample] = []
    previous_ns, number = begin_ns, 0

    def window(end_ns: int) -> Window:
        start_ns = begin_ns + number * length_ns + discard_ns
        nr_samples, features = _features(kept, names, previous_ns, start_ns, end_ns)
        return Window(number, (start_ns - begin_ns) / 1e9, (end_ns - begin_ns) / 1e9, nr_samples, features)

    for sample in samples:
        kept.append(sample)
        while sample[0] >= (end_ns := begin_ns + (number + 1) * length_ns):
            yield window(end_ns)
            number += 1
            while len(kept) > 2 and kept[1][0] < end_ns:
                previous_ns = kept.pop(0)[0]
    last_ns = kept[-1][0] if kept else begin_ns
    if last_ns - begin_ns - number * length_ns - discard_ns >= _ENOUGH * (length_ns - discard_ns):
        yield window(last_ns)


def first_beginning_ns(times_ns: Sequence[int]) -> int:
    """Return when the first of some samples began, where nobody knows: it lasted as long as the second."""
    return 2 * times_ns[0] - times_ns[min(1, len(times_ns) - 1)]


def _features(
    kept: Sequence[Sample], names: Sequence[str], previous_ns: int, start_ns: int, end_ns: int
) -> tuple[int, dict[str, WindowValues]]:
    """Return how many samples lie between two times, and the features; the first began at `previous_ns`."""
    times = list(itertools.pairwise([previous_ns, *(time_ns for time_ns, _ in kept)]))
    overlaps = [max(0, min(end_ns, end) - max(start_ns, begin)) for begin, end in times]
    nr_samples = sum(0 < end - begin <= 2 * ns for (begin, end), ns in zip(times, overlaps, strict=True))
    if not nr_samples:
        return 0, dict.fromkeys(names, WindowValues())
    parts = [(values, ns) for (_, values), ns in zip(kept, overlaps, strict=True) if ns]
    first, last = (min(kept, key=lambda sample: abs(sample[0] - end)) for end in (start_ns, end_ns))
    return nr_samples, {name: _feature(name, parts, first, last) for name in names}


def _feature(
    name: str, parts: Sequence[tuple[Mapping[str, float | None], int]], first: Sample, last: Sample
) -> WindowValues:
    values = [_known(metrics.get(name)) for metrics, _ in parts]
    if not parts or None in values:
        return WindowValues()
    seconds = sum(ns for _, ns in parts) / 1e9
    total = math.fsum((value or 0.0) * ns / 1e9 for value, (_, ns) in zip(values, parts, strict=True))
    before, after = _known(first[1].get(name)), _known(last[1].get(name))
    change = None if first is last or before is None or after is None else after - before
    percent = None
    if change is not None and before is not None:
        percent = 100 * change / abs(before) if before else (None if change else 0.0)
    return WindowValues(total / seconds, change, percent, total if name.endswith(RATE_SUFFIX) else None)


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
