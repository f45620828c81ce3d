"""What do samples amount to: extremes of each metric, and what tasks that exited used?"""

from __future__ import annotations

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
