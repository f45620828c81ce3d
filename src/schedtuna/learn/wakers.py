"""Who woke tasks up, as far as a trace tells: an interrupt, a thread of the same process, one of the kernel?

Wakings (sched_waking) come before the bursts that they begin are over; until then they are remembered.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schedtuna.features.as_of import AsOf
from schedtuna.features.cycles import Cycles, IntArray
from schedtuna.learn.known_of_tasks import UNKNOWN, KnownOfTasks
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, Waker
from schedtuna.trace.trace import Trace, imported_format

WAKER_FEATURES = ("woken_by_interrupt", "woken_by_sibling", "woken_by_kthread")
MOST_REMEMBERED = 1 << 20  # wakings; where a trace has more at once, the older half is forgotten
_FIELDS = ("tid", "timestamp_ns", "other_tid", "aux")


def tells_wakers(trace: Trace) -> bool:
    """Whether a trace has who woke tasks: a simulated one, or a recorded one with ``--waking``."""
    if imported_format(trace.manifest) is not None:
        return False  # what other tools write does not tell tasks from interrupts
    return isinstance(trace.manifest.get("simulation"), dict) or trace.manifest.get("waking") is True


class WakersOfTasks:
    """The wakings of a trace whose bursts are not over.

    Args:
        known: What is known of its tasks.
        most: Wakings that are remembered at once.

    Attributes:
        nr_forgotten: Wakings that were too many.
    """

    def __init__(self, known: KnownOfTasks, most: int = MOST_REMEMBERED) -> None:
        self._known, self._most = known, most
        self._parts: list[npt.NDArray[np.int64]] = [np.empty((len(_FIELDS), 0), np.int64)]
        self.nr_forgotten = 0

    def watch(self, events: EventArray) -> None:
        """Take the next events of the trace, in time order."""
        wakings = events[events["type"] == EventType.WAKING]
        self._parts.append(np.stack([wakings[name].astype(np.int64) for name in _FIELDS]))

    def features(self, cycles: Cycles) -> dict[str, IntArray]:
        """Return `WAKER_FEATURES` of cycles, by task and in time order; `unknown()` tells where nothing is.

        A burst was begun by the last waking of its task by then; one of the burst before is none of it.
        """
        tid, time_ns, waker, context = wakings = self._remembered()
        row = AsOf(tid, time_ns).at(cycles.tid, cycles.wake_ns)
        found = np.maximum(row, 0)
        is_known = np.zeros(len(cycles), np.bool_)
        if len(tid):
            is_known = (
                (row >= 0) & (time_ns[found] > _wake_before(cycles)) & (context[found] != Waker.UNKNOWN)
            )
            self._forget(wakings, cycles)
        columns = self._of_wakings(cycles, waker[found], context[found]) if len(tid) else {}
        blank = np.full(len(cycles), UNKNOWN)
        return {
            name: np.where(cycles.is_birth, 0, np.where(is_known, columns.get(name, blank), UNKNOWN))
            for name in WAKER_FEATURES
        }

    def _of_wakings(self, cycles: Cycles, waker: IntArray, context: IntArray) -> dict[str, IntArray]:
        # The idle task does nothing of its own accord: it is where interrupts are when nobody runs.
        by_interrupt = (context == Waker.INTERRUPT) | (waker == IDLE_TID)
        kthread = self._known.kthreads(waker, cycles.wake_ns)
        process, own = (self._known.processes(who, cycles.wake_ns) for who in (waker, cycles.tid))
        sibling = np.where((process < 0) | (own < 0), UNKNOWN, process == own)
        return {
            "woken_by_interrupt": by_interrupt.astype(np.int64),
            # Threads of the kernel are of no process that they share.
            "woken_by_sibling": np.where(by_interrupt | (kthread == 1), 0, sibling),
            "woken_by_kthread": np.where(by_interrupt, 0, np.where(kthread < 0, UNKNOWN, kthread)),
        }

    def _remembered(self) -> npt.NDArray[np.int64]:
        together = np.concatenate(self._parts, axis=1)
        if together.shape[1] > self._most:
            self.nr_forgotten += together.shape[1] - self._most // 2
            together = together[:, -(self._most // 2) :]
        self._parts = [together]
        return together

    def _forget(self, wakings: npt.NDArray[np.int64], cycles: Cycles) -> None:
        """Forget those that began bursts which are over, and what was before them."""
        row = AsOf(cycles.tid, cycles.wake_ns).at(wakings[0], np.full(wakings.shape[1], _FAR))
        wake_ns = cycles.wake_ns[np.maximum(row, 0)] if len(cycles) else np.zeros(len(row), np.int64)
        self._parts = [wakings[:, (row < 0) | (wakings[1] > wake_ns)]]


_FAR = np.iinfo(np.int64).max


def _wake_before(cycles: Cycles) -> IntArray:
    """Return when each task's burst before began, where it is among these; else -1."""
    before = np.full(len(cycles), -1)
    same = cycles.task[1:] == cycles.task[:-1]
    before[1:][same] = cycles.wake_ns[:-1][same]
    return before
