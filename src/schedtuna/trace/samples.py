"""What do samples amount to: extremes and changes of each metric, and what tasks that exited used?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from schedtuna.errors import TraceError
from schedtuna.trace.schema import FORMER_COLUMNS
from schedtuna.trace.tasks import clean_name

if TYPE_CHECKING:
    import polars as pl

_NO_QUANTITIES = ("timestamp_ns", "pid", "ppid", "tid", "tgid", "uid", "cpu")


def extremes(frame: pl.DataFrame) -> dict[str, dict[str, float | None]]:
    """Return mean, minimum and maximum of every column that is a quantity."""
    import polars as pl

    numbers = frame.select(pl.selectors.numeric().exclude(_NO_QUANTITIES))
    return {
        name: {"mean": numbers[name].mean(), "min": numbers[name].min(), "max": numbers[name].max()}  # type: ignore[dict-item]  # of numbers
        for name in numbers.columns
    }


def exits_by_name(frame: pl.DataFrame, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Fold samples of kind ``exit`` by the tasks' names, the one with most CPU time first.

    Args:
        frame: A row per thread, over its whole life.
        columns: Which to add up; of `life_ns` it is the mean. Those that are not there are left out.

    Returns:
        Per name: `comm` (clean), `count`, and the columns.
    """
    import polars as pl

    times = frame.schema.get("cpu_time_ns")
    if frame.schema.get("comm") != pl.String or times is None or not times.is_numeric():
        raise TraceError(
            "the samples of exits lack names or CPU times", hint="the file is damaged, or not ours"
        )
    frame = frame.rename({old: new for new, old in FORMER_COLUMNS.items() if old in frame.columns})
    known = [name for name in columns if name in frame.columns and frame[name].dtype.is_numeric()]
    sums = [pl.col(name).mean() if name == "life_ns" else pl.col(name).sum() for name in known]
    groups = frame.group_by("comm").agg(pl.len().alias("count"), *sums).sort("cpu_time_ns", descending=True)
    return [row | {"comm": clean_name(row["comm"] or "")} for row in groups.iter_rows(named=True)]


def window_features(
    samples: Sequence[tuple[int, Mapping[str, float]]],
) -> dict[str, float]:
    """Return `NAME.average`, `NAME.change` and `NAME.percent_change` for every metric of the samples.

    The average is over time: each sample stands for the time since the one before (the first for as
    long as the second). The change is from the first sample to the last; of rates per second it is
    the change of the rate, not the sum. The percent change is relative to the first; NaN from zero.

    Args:
        samples: (timestamp in ns, metrics), in time order, as `SystemSampler.sample()` returns them.
    """
    if not samples:
        return {}
    times = [timestamp for timestamp, _ in samples]
    lengths = [later - earlier for earlier, later in itertools.pairwise(times)]
    weights = [lengths[0], *lengths] if lengths else [1]
    features: dict[str, float] = {}
    for name in samples[0][1]:
        if not all(name in values for _, values in samples):
            continue
        values = [metrics[name] for _, metrics in samples]
        total = sum(weights)
        average = sum(v * w for v, w in zip(values, weights, strict=True)) / total if total else values[-1]
        change = values[-1] - values[0]
        percent = 100 * change / abs(values[0]) if values[0] else (0.0 if not change else math.nan)
        features |= {f"{name}.average": average, f"{name}.change": change, f"{name}.percent_change": percent}
    return features
