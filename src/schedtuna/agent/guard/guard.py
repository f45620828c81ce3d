"""May the changes stay? A tripwire at once, on/off windows for the rest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from schedtuna.agent.contract import AgentGuard, GuardDecision, GuardVerdict, Need, Sensed, Standing
from schedtuna.agent.guard.tripwire import IntervalClock, Tripwire
from schedtuna.agent.guard.watched import WATCHED, WatchedMetric, values_of
from schedtuna.agent.guard.windows import SLOT_INTERVALS, FinishedUnits, Windows
from schedtuna.evidence.on_off import ALPHA, OnOffEffect, OnOffEvidence, OnOffUnit

if TYPE_CHECKING:
    import numpy as np

_KEPT_UNITS = 256
_EMPTY_VOIDS = 3  # in a row: then there is nothing to experiment with


class GuardState(StrEnum):
    """How far the proof is."""

    IDLE = "idle"  # nothing is in force
    TESTING = "testing"  # half of the time without the changes
    PROVEN = "proven"  # a benefit is shown; 5% of the time without the changes
    ROLLED_BACK = "rolled_back"


class ExperimentGuard:
    """Judges the changes of an agent by what the machine does with and without them.

    Args:
        rng: Draws when the changes are in force.
        needs: What the policy needs to be given.
        watched: What is watched, beside objectives; what a machine does not have is left out.
        slot_intervals: How many intervals an arm stays; see `Windows`.
        alpha: Chance that a policy without any effect is ever rolled back by the windows, and that a
            benefit is ever claimed of it.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        needs: frozenset[Need] = frozenset(),
        watched: Sequence[WatchedMetric] = tuple(WATCHED.values()),
        slot_intervals: int = SLOT_INTERVALS,
        alpha: float = ALPHA,
    ) -> None:
        self.state = GuardState.IDLE
        self.nr_void = 0
        self._watched = {row.name: row for row in watched}
        self._alpha = alpha
        self._needs = needs
        self._tripwire = Tripwire(needs)
        self._clock = IntervalClock()
        self._windows = Windows(rng, slot_intervals)
        self._evidence: dict[str, OnOffEvidence] = {}
        self._units: deque[tuple[int, Mapping[str, OnOffUnit]]] = deque(maxlen=_KEPT_UNITS)
        self._nr_empty = 0
        self._suspended = False
        self._reason = ""

    def judge(self, sensed: Sensed, standing: Mapping[str, Standing]) -> GuardVerdict:
        """Say whether changes may be made and may stay; call it once per interval, in order.

        Args:
            sensed: The interval.
            standing: What is in force; while this guard suspends it, what was and will be again, or nothing.
        """
        regular = self._clock.is_regular(sensed)
        in_force: Mapping[str, Standing] = {} if self._suspended else standing
        if self.state is GuardState.ROLLED_BACK:
            return self._verdict(GuardDecision.ROLL_BACK, self._reason)
        if why := self._tripwire.check(sensed, in_force):
            return self._roll_back(why)
        if stale := [slo for slo in sensed.slos if slo.is_stale]:
            return self._wait(f"there is no fresh value of {', '.join(slo.name for slo in stale)}")
        if self.state is GuardState.IDLE:
            if standing:
                self._begin(sensed)
            return self._arm()
        spoilt = self._spoilt(in_force, regular=regular)
        done = self._windows.observe(self._costs(sensed), spoilt)
        return self._conclude(done, sensed) if done else self._arm()

    def effects(self) -> dict[str, OnOffEffect]:
        """What is known of the changes' effect on each watched metric."""
        return {name: self._effect(name, evidence) for name, evidence in self._evidence.items()}

    def effects_since(self, number: int) -> dict[str, OnOffEffect]:
        """What the windows say that began after an interval, such as the one in which a change was made.

        All that was in force had a part in it: a machine has one scheduler, and a task that waits less lets
        another one wait more, so no single change has an effect of its own that could be measured.
        """
        units = [found for at, found in self._units if at > number]
        names = {name for found in units for name in found}
        together = {}
        for name in sorted(names):
            evidence = OnOffEvidence()
            for found in units:
                if name in found:
                    evidence.add(found[name])
            together[name] = self._effect(name, evidence)
        return together

    def _effect(self, name: str, evidence: OnOffEvidence) -> OnOffEffect:
        effect = evidence.effect()
        return effect if self._watched[name].at_most else effect.of_more_is_better()

    def resume(self) -> None:
        """Begin anew after a roll-back: what was known is forgotten, as it was of what harmed."""
        self.state, self._reason = GuardState.IDLE, ""
        self._evidence.clear()
        self._units.clear()
        self._tripwire = Tripwire(self._needs)
        self._suspended = False

    @property
    def threshold(self) -> float:
        """The evidence that is called proof: all metrics share the chance of an error."""
        return max(len(self._evidence), 1) / self._alpha

    def _begin(self, sensed: Sensed) -> None:
        """Start the experiment, with the metrics that there are."""
        self.state = GuardState.TESTING
        values = values_of(sensed)
        rows = {name: row for name, row in self._watched.items() if name in values}
        rows |= {slo.name: WatchedMetric(slo.name, 1e-3, 1.0, slo.at_most) for slo in sensed.slos}
        self._watched |= rows
        for name, row in rows.items():
            if name not in self._evidence:
                self._evidence[name] = OnOffEvidence(tolerated=row.tolerated)
        self._nr_empty = 0
        self._windows.restart(proven=False)

    def _costs(self, sensed: Sensed) -> dict[str, float]:
        values = values_of(sensed)
        return {name: self._watched[name].cost(values[name]) for name in self._evidence if name in values}

    def _spoilt(self, in_force: Mapping[str, Standing], *, regular: bool) -> str:
        if not regular:
            return "an interval was far longer or shorter than usual"
        if self._windows.on and not in_force:
            return "nothing was in force"
        return ""

    def _conclude(self, done: FinishedUnits, sensed: Sensed) -> GuardVerdict:
        if done.void:
            self.nr_void += 1
            self._nr_empty += 1
            if self._nr_empty >= _EMPTY_VOIDS:
                self.state = GuardState.IDLE
            return self._arm({"void": done.void})
        self._nr_empty = 0
        self._units.append((sensed.number, done.units))
        for name, unit in done.units.items():
            self._evidence[name].add(unit)
            for costs in done.same[name]:
                self._evidence[name].add_same(costs)
        harmed = [name for name, evidence in self._evidence.items() if evidence.e_harm >= self.threshold]
        if harmed:
            return self._roll_back(self._tell_harm(harmed[0]))
        helped = [name for name, evidence in self._evidence.items() if evidence.e_help >= self.threshold]
        if helped and self.state is GuardState.TESTING:
            self.state = GuardState.PROVEN
            self._windows.restart(proven=True)
        return self._arm({"effects": {name: told(effect) for name, effect in self.effects().items()}})

    def _tell_harm(self, name: str) -> str:
        effect = self._effect(name, self._evidence[name])
        return (
            f"{name} is worse with the changes than without: {100 * (effect.ratio - 1):+.1f}% in "
            f"{effect.nr_units} pairs or cycles (e-value {effect.e_harm:.3g}, limit {self.threshold:.3g})"
        )

    def _roll_back(self, reason: str) -> GuardVerdict:
        self.state, self._reason = GuardState.ROLLED_BACK, reason
        effects = {name: told(effect) for name, effect in self.effects().items()}
        return self._verdict(GuardDecision.ROLL_BACK, reason, {"effects": effects})

    def _wait(self, reason: str) -> GuardVerdict:
        """Leave all as it is; the pair or cycle that was under way says nothing."""
        if self.state in {GuardState.TESTING, GuardState.PROVEN}:
            self._windows.restart(proven=self.state is GuardState.PROVEN)
        if self._suspended:
            return self._verdict(GuardDecision.SUSPEND, reason)
        return self._verdict(GuardDecision.HOLD, reason)

    def _arm(self, facts: Mapping[str, Any] | None = None) -> GuardVerdict:
        if self.state is GuardState.IDLE or self._windows.on:
            self._suspended = False
            return self._verdict(GuardDecision.ALLOW, "", facts)
        self._suspended = True
        return self._verdict(GuardDecision.SUSPEND, "a window without the changes, to compare with", facts)

    def _verdict(
        self, decision: GuardDecision, reason: str, facts: Mapping[str, Any] | None = None
    ) -> GuardVerdict:
        return GuardVerdict(decision, reason, {"state": str(self.state), **(facts or {})})


def effects_of(guard: AgentGuard | None) -> dict[str, dict[str, float | None]]:
    """What a guard knows of the effect on each metric; of another kind of guard, nothing."""
    if not isinstance(guard, ExperimentGuard):
        return {}
    return {name: told(effect) for name, effect in guard.effects().items()}


def told(effect: OnOffEffect) -> dict[str, float | None]:
    """An effect for a log or a page; None where a figure is not known."""
    rows = {
        "ratio": effect.ratio,
        "ratio_low": effect.low or math.nan,  # 0 is no bound
        "ratio_high": effect.high,
        "noise_ratio": effect.noise_ratio,
        "nr_units": float(effect.nr_units),
        "e_harm": effect.e_harm,
        "e_help": effect.e_help,
    }
    return {name: value if math.isfinite(value) else None for name, value in rows.items()}
