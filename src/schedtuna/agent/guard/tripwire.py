"""Is it so bad that statistics would be too slow? Then all is put back, within three intervals."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator, Mapping

from schedtuna.agent.contract import Need, Sensed, SloReading, Standing

IN_A_ROW = 3
TIMES_LIMIT = 2.0
FULL_PERCENT = 50.0
_FULL = ("psi_cpu_full_percent", "psi_memory_full_percent", "psi_io_full_percent")
_BASELINE = 60  # intervals without changes that are remembered


class Tripwire:
    """Counts alarms in a row, of intervals in which changes were in force.

    What was as bad without them is not theirs: pressure counts where it is twice what it ever was
    lately without changes. An objective is held to what its owner said, whoever is to blame.

    Args:
        needs: What the policy needs: its sensors may not fall silent.
    """

    def __init__(self, needs: frozenset[Need]) -> None:
        self._needs = needs
        self._counts: dict[str, int] = {}
        self._full: dict[str, deque[float]] = {name: deque(maxlen=_BASELINE) for name in _FULL}
        self._ext = ""  # the sched_ext scheduler under which the changes were made

    def check(self, sensed: Sensed, standing: Mapping[str, Standing]) -> str:
        """Return why all has to be put back; empty where nothing is wrong.

        Args:
            sensed: An interval.
            standing: What was in force in it.
        """
        if not standing:
            self._remember(sensed)
            return ""
        alarms = dict(self._alarms(sensed))
        self._counts = {name: self._counts.get(name, 0) + 1 for name in alarms}
        if gone := self._ejected(sensed):
            return gone
        for name, why in alarms.items():
            if self._counts[name] >= IN_A_ROW:
                return f"{why}, {IN_A_ROW} intervals in a row"
        return ""

    def _remember(self, sensed: Sensed) -> None:
        self._ext = sensed.scheduler.name if sensed.scheduler.is_ext else ""
        for name, values in self._full.items():
            if name in sensed.machine:
                values.append(sensed.machine[name])

    def _ejected(self, sensed: Sensed) -> str:
        if self._ext and sensed.scheduler.name != self._ext:
            return f"the scheduler {self._ext} is gone: {sensed.scheduler.name} is in charge"
        return ""

    def _alarms(self, sensed: Sensed) -> Iterator[tuple[str, str]]:
        for slo in sensed.slos:
            if _is_far_off(slo):
                yield f"slo:{slo.name}", _tell(slo)
        for name, before in self._full.items():
            value = sensed.machine.get(name, 0.0)
            if value > max(FULL_PERCENT, TIMES_LIMIT * max(before, default=0.0)):
                yield name, f"{name} is {value:.0f}% (more than {FULL_PERCENT:.0f}%)"
        for need in sorted(self._needs):
            if _is_silent(need, sensed):
                yield f"silent:{need}", f"nothing was sensed of what the policy needs ({need})"


def _is_far_off(slo: SloReading) -> bool:
    if slo.value is None or slo.is_stale:
        return False
    if slo.at_most:
        return slo.value > TIMES_LIMIT * slo.limit
    return slo.value < slo.limit / TIMES_LIMIT


def _tell(slo: SloReading) -> str:
    side = "above twice" if slo.at_most else "below half"
    return f"{slo.name} is {slo.value:g}, {side} its limit of {slo.limit:g}"


def _is_silent(need: Need, sensed: Sensed) -> bool:
    match need:
        case Need.TASKS:
            return not len(sensed.tasks)
        case Need.MACHINE:
            return not sensed.machine
        case Need.KERNEL:
            return not sensed.kernel
    return not sensed.scheduler.name


class IntervalClock:
    """Notices intervals that are no measure: the machine was suspended, or the agent stopped."""

    def __init__(self) -> None:
        self._lengths: deque[float] = deque(maxlen=30)

    def is_regular(self, sensed: Sensed) -> bool:
        """Whether an interval is at most three times, and at least a third, as long as usual."""
        seconds = sensed.seconds
        usual = statistics.median(self._lengths) if self._lengths else seconds
        self._lengths.append(seconds)
        return seconds > 0 and usual / 3 <= seconds <= 3 * usual
