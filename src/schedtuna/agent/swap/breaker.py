"""When are there too many accidents for schedulers to be swapped at all? A guard with a count, no statistics.

On/off windows would swap the scheduler themselves, each few seconds. Here the policy's own windows under the
default are what others are held against, and each scheduler that goes wrong is set aside by the policy; once
several did within an hour, it is not theirs: all is put back until a person says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

from schedtuna.agent.contract import GuardDecision, GuardVerdict, Need, Sensed, Standing, SwapResult
from schedtuna.agent.guard.tripwire import Tripwire

MOST_ACCIDENTS = 3
WITHIN_NS = 3600 * 10**9


class SwapGuard:
    """Counts ejections, and alarms of the tripwire.

    Args:
        needs: What the policy needs: its sensors may not fall silent.
    """

    def __init__(self, needs: frozenset[Need]) -> None:
        self._needs = needs
        self._tripwire = Tripwire(needs)
        self._accidents: list[tuple[int, str]] = []

    def judge(self, sensed: Sensed, standing: Mapping[str, Standing]) -> GuardVerdict:
        """Say whether schedulers may be swapped."""
        accidents = [event.reason for event in sensed.swaps if event.result is SwapResult.EJECTED]
        if why := self._tripwire.check(sensed, standing):
            accidents.append(why)
            self._tripwire = Tripwire(self._needs)
        self._accidents += [(sensed.end_ns, why) for why in accidents]
        recent = [why for at_ns, why in self._accidents if sensed.end_ns - at_ns <= WITHIN_NS]
        facts = {"accidents": len(recent)}
        if len(recent) >= MOST_ACCIDENTS:
            told = "; ".join(recent[-MOST_ACCIDENTS:])
            reason = f"{len(recent)} schedulers went wrong within an hour: {told}"
            return GuardVerdict(GuardDecision.ROLL_BACK, reason, facts)
        if stale := [slo.name for slo in sensed.slos if slo.is_stale]:
            reason = f"there is no fresh value of {', '.join(stale)}"
            return GuardVerdict(GuardDecision.HOLD, reason, facts)
        return GuardVerdict(GuardDecision.ALLOW, "", facts)

    def resume(self) -> None:
        """Forget what went wrong: a person wants it to go on."""
        self._tripwire = Tripwire(self._needs)
        self._accidents = []
