"""Which tasks of a recording are a command's, a process's, or of a control group?"""

from __future__ import annotations

import numpy as np

from schedtuna.sim.lives import BoolArray
from schedtuna.sim.recorded import RecordedLoad


def of_command(load: RecordedLoad) -> BoolArray:
    """Return which tasks are the command's that was recorded; of a trace of none, all but the kernel's.

    They are the descendants of the recorder: it started the command.
    """
    manifest = load.trace.manifest
    recorder = (manifest.get("recorder") or {}).get("tgid")
    table = load.trace.tasks
    if recorder is None or not manifest.get("command"):
        return _of_rows(load, ~table["is_kthread"].to_numpy())
    tgid, parent = table["tgid"].to_list(), table["ppid"].to_list()
    own, found = {recorder, *manifest.get("helper_tgids", ())}, {recorder}
    while more := {child for child, of in zip(tgid, parent, strict=True) if of in found} - found - own:
        found |= more
    return _of_rows(load, np.isin(table["tgid"].to_numpy(), [*(found - own)]))


def of_process(load: RecordedLoad, tgid: int) -> BoolArray:
    """Return which tasks are threads of a process."""
    return _of_rows(load, load.trace.tasks["tgid"].to_numpy() == tgid)


def of_cgroup(load: RecordedLoad, path: str) -> BoolArray:
    """Return which tasks are in a control group, or below it."""
    paths = load.trace.tasks["cgroup"].to_list()
    inside = [each is not None and f"{each}/".startswith(f"{path.rstrip('/')}/") for each in paths]
    return _of_rows(load, np.array(inside, np.bool_))


def _of_rows(load: RecordedLoad, rows: BoolArray) -> BoolArray:
    """Return which tasks have one of these rows of the task table."""
    return np.append(rows, False)[load.rows]  # -1: it has none
