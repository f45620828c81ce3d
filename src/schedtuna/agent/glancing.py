"""When does the agent look, between intervals, at the threads that have stepped back?

Ten times in an interval, or as seldom as keeps that below half a percent of one CPU; never while nothing is
in force, or where the policy does not ask for it. What a look costs is measured, as reading threads takes
longer the more there are.
"""

from __future__ import annotations

import time

from schedtuna.agent.loop import Agent

LOOKS_PER_INTERVAL = 10
_OWN_SHARE = 0.005  # of one CPU that looks may take


class Glances:
    """Looks between the intervals of an agent.

    Args:
        agent: Whose.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._cost_s = 0.0
        self._last_s = time.monotonic()

    def wake_s(self, deadline_s: float) -> float:
        """Return when to wake up: for the next look, or at the deadline, where that comes before it.

        Args:
            deadline_s: As of time.monotonic(), when the interval ends.
        """
        if not self._agent.glances:
            return deadline_s
        pause_s = max(self._agent.interval_s / LOOKS_PER_INTERVAL, self._cost_s / _OWN_SHARE)
        due_s = self._last_s + pause_s
        # The interval's own reading is a look, too.
        return due_s if due_s + pause_s / 2 < deadline_s else deadline_s

    def look(self) -> None:
        """Look once, and put back what the policy does not want any more."""
        began_ns = time.thread_time_ns()
        self._agent.glance()
        spent_s = (time.thread_time_ns() - began_ns) / 1e9
        # Up at once, down slowly: one cheap look says little.
        self._cost_s = max(spent_s, 0.8 * self._cost_s)
        self._last_s = time.monotonic()
