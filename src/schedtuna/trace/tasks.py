"""Who is who: the rows of the task table, folded to one row per task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from schedtuna.printable import printable
from schedtuna.trace.schema import PF_KTHREAD, POLICIES, STATIC_PRIO_NICE_0, TaskArray, TaskReason

if TYPE_CHECKING:
    import polars as pl


def clean_name(name: bytes | str) -> str:
    r"""Return a name that a task, cgroup or file chose for itself, fit to be shown on one line.

    It is spelled as everywhere (see `printable`), and a backslash is doubled, so that no spelling can be
    forged. What a format treats specially beyond that (HTML, CSV, rich's markup) is quoted by whoever
    writes it.

    >>> clean_name(b"a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return printable(text.replace("\\", "\\\\"))


def task_table(rows: TaskArray, cgroups: Mapping[int, str], label: object = None) -> pl.DataFrame:
    """Fold the rows of the task table to one per task (tid, start_time_ns): the last that is known.

    Returns:
        A polars frame: tid, tgid, ppid, start_time_ns (0: before the recording, unknown), exit_ns
        (null: did not exit), comm (clean), cgroup, policy, nice, prio, weight, slice_ns, is_kthread,
        label, and first and last value of the kernel's own counters cpu_time_ns,
        schedstat_run_delay_ns (waiting, and what a quota held it back),
        nr_voluntary_switches, nr_involuntary_switches.
    """
    import polars as pl

    order = np.lexsort((rows["timestamp_ns"], rows["start_time_ns"], rows["tid"]))
    rows = rows[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows["tid"][1:] != rows["tid"][:-1]) | (
        rows["start_time_ns"][1:] != rows["start_time_ns"][:-1]
    )
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(rows)) - 1 if len(first) else first
    final = rows[last]
    exited = final["reason"] == TaskReason.EXIT
    names = {id_: clean_name(path) for id_, path in cgroups.items()}
    policy = final["policy"]
    columns: dict[str, Any] = {
        "tid": final["tid"],
        "tgid": final["tgid"],
        "ppid": final["ppid"],
        "start_time_ns": final["start_time_ns"].astype(np.int64),
        "exit_ns": pl.Series(final["timestamp_ns"].astype(np.int64)).set(pl.Series(~exited), None),
        "comm": pl.Series([clean_name(comm) for comm in final["comm"].tolist()], dtype=pl.String),
        "cgroup": pl.Series([names.get(int(id_)) for id_ in final["cgroup_id"]], dtype=pl.String),
        "policy": pl.Series(
            [POLICIES[p] if p < len(POLICIES) else str(p) for p in policy.tolist()], dtype=pl.String
        ),
        "nice": final["static_prio"].astype(np.int32) - STATIC_PRIO_NICE_0,
        "prio": final["prio"],
        "weight": final["weight"],
        "slice_ns": final["slice_ns"],
        "is_kthread": (final["flags"] & PF_KTHREAD) != 0,
        "label": pl.Series([None if label is None else str(label)] * len(final), dtype=pl.String),
    }
    for counter in (
        "cpu_time_ns",
        "schedstat_run_delay_ns",
        "nr_voluntary_switches",
        "nr_involuntary_switches",
    ):
        columns[f"first_{counter}"] = rows[counter][first]
        columns[counter] = final[counter]
    return pl.DataFrame({name: _contiguous(column) for name, column in columns.items()})


def _contiguous(column: Any) -> Any:
    return np.ascontiguousarray(column) if isinstance(column, np.ndarray) else column
