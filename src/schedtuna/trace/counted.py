"""What was counted in the kernel, measured: the questions that `analysis.Analysis` answers for events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from schedtuna.errors import TraceError, UsageError
from schedtuna.trace.aggregates.groups import GroupArray, fold
from schedtuna.trace.aggregates.stored import KIND, groups_of_rows
from schedtuna.trace.aggregates.summary import columns, fairness_cv
from schedtuna.trace.analysis import Rows, plain
from schedtuna.trace.tasks import clean_name
from schedtuna.trace.trace import Trace

_LONGEST_S = 1e9
_KEYS = {"comm": ["comm"], "task": ["tid", "comm"], "cgroup": ["cgroup_id"]}


class Counted:
    """The statistics of a trace that was recorded with ``--aggregate``.

    Args:
        trace: The trace.
        allow_lost: Accept a trace in which first runs or exits of tasks are missing.

    Attributes:
        tasks: One group per task, and one per name and cgroup for old exits.

    Raises:
        IncompleteTraceError: Something is missing.
        TraceError: The statistics are not there, or damaged.
    """

    def __init__(self, trace: Trace, *, allow_lost: bool = False) -> None:
        if not allow_lost:
            trace.require_complete()
        if trace.state != "complete" and KIND not in trace.sample_frames:
            raise TraceError(
                "the recording was cut before its statistics were written: the kernel counts to the end"
                if trace.state == "cut"
                else "the statistics are not there yet: they are written when the recording ends",
                hint="its samples of the system and of processes can be read: `schedtuna plot`, "
                "`schedtuna trace export --jsonl`",
            )
        self.trace = trace
        self.tasks: GroupArray = groups_of_rows(trace.samples(KIND).iter_rows(named=True))

    @property
    def nr_tasks(self) -> int:
        """How many tasks were counted."""
        return int(self.tasks["nr_tasks"].sum())

    def by(self, grouping: str) -> Rows:
        """Return the figures per group, the one with most CPU time first.

        Args:
            grouping: ``comm``, ``task`` or ``cgroup``.

        Raises:
            UsageError: Another one: tasks were not counted so.
        """
        if grouping not in _KEYS:
            raise UsageError(
                f"this trace was counted (--aggregate), not streamed: it can't be shown by {grouping}",
                hint=f"--by {', '.join(_KEYS)}",
            )
        folded = fold(self.tasks, _KEYS[grouping])
        figures = [columns(group) for group in folded]
        order = np.argsort([-row["cpu_time_ns"] for row in figures], kind="stable")
        values = {name: np.array([row[name] for row in figures])[order] for name in next(iter(figures), ())}
        return Rows([self._name(folded[k], grouping) for k in order], values)

    def overall(self) -> dict[str, Any]:
        """Return the figures of all tasks together; none of no tasks. `fairness_cv` is None where unknown."""
        if not len(self.tasks):
            return {}
        figures = columns(fold(self.tasks, [])[0]) | {"fairness_cv": self._fairness_cv()}
        return {name: plain(value) for name, value in figures.items()}

    def _fairness_cv(self) -> float:
        seconds, nr_cpus = self.trace.manifest.get("duration_s"), self._nr_cpus_online()
        if not nr_cpus or not isinstance(seconds, int | float) or not 0 < seconds < _LONGEST_S:
            return math.nan  # older recordings do not tell
        return fairness_cv(self.tasks, nr_cpus, int(seconds * 1e9))

    def _nr_cpus_online(self) -> int:
        found: Any = self.trace.manifest
        for key in ("origin", "machine", "topology", "cpus"):
            found = found.get(key) if isinstance(found, dict) else None
        return len(found) if isinstance(found, list) else self.trace.nr_cpus(0)

    def _name(self, group: np.void, grouping: str) -> str:
        if grouping == "cgroup":
            return clean_name(self.trace.cgroups.get(int(group["cgroup_id"]), str(group["cgroup_id"])))
        comm = clean_name(bytes(group["comm"]))
        return f"{comm}:{group['tid']}" if grouping == "task" else comm
