"""Which task is an example of what? Labels by name, cgroup and time, for supervised learning.

A label file is YAML, JSON or TOML: rules, of which the first that fits a task labels it.

    labels:
      - label: interactive
        comm: "firefox*"          # shell pattern on the task's name
      - label: batch
        cgroup: "/system.slice/*"
        from_s: 10                # tasks that were there between these seconds of the trace
        to_s: 60
      - label: other
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.configfile import first_fault, load_config
from schedtuna.errors import ConfigFileError

if TYPE_CHECKING:
    import polars as pl


class LabelRule(BaseModel):
    """Which tasks get a label; what is left out does not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, max_length=200)
    comm: str | None = None
    cgroup: str | None = None
    from_s: float | None = None
    to_s: float | None = None

    def fits(self, comm: str | None, cgroup: str | None, first_s: float, last_s: float) -> bool:
        """Return whether a task that was there from `first_s` to `last_s` gets the label."""
        if self.comm is not None and not fnmatchcase(comm or "", self.comm):
            return False
        if self.cgroup is not None and not fnmatchcase(cgroup or "", self.cgroup):
            return False
        if self.from_s is not None and last_s < self.from_s:
            return False
        return self.to_s is None or first_s <= self.to_s


class _LabelFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    labels: list[LabelRule]


def read_labels(path: Path) -> list[LabelRule]:
    """Read a label file.

    Raises:
        ConfigFileError: It is not such a file; the message says where.
    """
    try:
        return _LabelFile.model_validate(load_config(path)).labels
    except ValidationError as error:
        raise ConfigFileError(
            f"{path}: {first_fault(error)}",
            hint="labels: a list of rules with label, and any of comm, cgroup, from_s, to_s",
        ) from error


def label_tasks(
    tasks: pl.DataFrame, rules: list[LabelRule], *, start_ns: int = 0, end_ns: int | None = None
) -> pl.DataFrame:
    """Return the task table with the labels that rules give; tasks that none fits keep theirs.

    Args:
        tasks: `Trace.tasks`.
        rules: The first that fits counts.
        start_ns: When the trace began: rules' times count from here.
        end_ns: When it ended.
    """
    import polars as pl

    labels = []
    for row in tasks.iter_rows(named=True):
        first_s = max(row["start_time_ns"] - start_ns, 0) / 1e9
        last_ns = row["exit_ns"] if row["exit_ns"] is not None else end_ns
        last_s = float("inf") if last_ns is None else (last_ns - start_ns) / 1e9
        fitting = (rule.label for rule in rules if rule.fits(row["comm"], row["cgroup"], first_s, last_s))
        labels.append(next(fitting, row["label"]))
    return tasks.with_columns(pl.Series("label", labels, dtype=pl.String))
