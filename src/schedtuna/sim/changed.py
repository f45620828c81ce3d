"""A recorded load of which some tasks ask the scheduler for something else: what would that have changed?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from schedtuna.errors import UsageError, nearest
from schedtuna.sim.native import Policy, Workload
from schedtuna.sim.recorded import RecordedLoad

TaskKey = tuple[int, int]  # tid, start_time_ns, as the task table has them
_POLICIES = {"other": Policy.OTHER, "batch": Policy.BATCH, "idle": Policy.IDLE}
# A setting, as knobs are called -> the simulator's attribute, and its value.
_ATTRIBUTES: dict[str, tuple[str, Callable[[Any], int]]] = {
    "nice": ("nice", int),
    "slice_us": ("slice_ns", lambda value: 1000 * int(value)),
    "policy": ("policy", lambda value: _POLICIES[str(value)].value),
}
SIMULATED_SETTINGS = tuple(_ATTRIBUTES)
CHANGED, KEPT = "changed", "kept"


class ChangedLoad(RecordedLoad):
    """A recording whose tasks ask for something else from the beginning, and for ever.

    Args:
        load: The recording.
        changes: (tid, start_time_ns) -> setting -> value, of `SIMULATED_SETTINGS`.
        is_applied: False: all stays as it was, to compare with.

    Attributes:
        nr_changed: How many tasks of the recording that concerns.

    All tasks are called `CHANGED` or `KEPT`, by which a simulated trace tells them apart.

    Raises:
        UsageError: A setting can't be simulated.
    """

    def __init__(
        self, load: RecordedLoad, changes: Mapping[TaskKey, Mapping[str, Any]], *, is_applied: bool = True
    ) -> None:
        self.__dict__.update(load.__dict__)
        self._built = None
        for name in {name for settings in changes.values() for name in settings}:
            if name not in _ATTRIBUTES:
                raise UsageError(f"{name} can't be simulated: {nearest(name, _ATTRIBUTES)}")
        table = self.trace.tasks.select("tid", "start_time_ns").rows()
        wanted = [changes.get(table[row]) if row >= 0 else None for row in self.rows.tolist()]
        self.nr_changed = sum(settings is not None for settings in wanted)
        self._marks = [KEPT if settings is None else CHANGED for settings in wanted]
        if not is_applied:
            wanted = [None] * len(wanted)
        self._values = {
            attribute: {
                task: int(convert(settings[name]))
                for task, settings in enumerate(wanted)
                if settings and name in settings
            }
            for name, (attribute, convert) in _ATTRIBUTES.items()
        }

    def workload(self, nr_cpus: int, costs: Mapping[str, int]) -> tuple[Workload, dict[str, Any]]:
        """Return it as `RecordedLoad.workload` does."""
        kept = {}
        for attribute, values in self._values.items():
            kept[attribute] = np.isin(np.arange(self.lives.nr_tasks), list(values))
        flat = self.flat(nr_cpus, costs, kept=kept)
        tasks = flat.tasks.copy()
        for attribute, values in self._values.items():
            for task, value in values.items():
                tasks[attribute][task] = value
        flat = replace(flat, tasks=tasks, names=self._marks)
        told = {
            "name": f"{self.name}, changed",
            "sha256": flat.sha256(),
            "loop": self.loop,
            "notes": self.notes,
        }
        return flat.workload(), told
