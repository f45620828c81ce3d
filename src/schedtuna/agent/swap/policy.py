"""The policy `swap`: step by step, which scheduler is in charge. Pure.

A step begins with a choice and ends with what came of it:

    chosen -> in force -> settled (what the swap stirred up is over) -> measured -> outcome, and the next

What was not in force all the time has no outcome. The default is due, without a draw, where its own figures
for this class of loads are missing or old: without them nothing else can be judged. What fails, is thrown out
or trips the wire is not chosen again in this run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from schedtuna.agent.contract import Intent, Need, Sensed, Standing, SwapEvent, SwapResult
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow
from schedtuna.agent.guard.tripwire import Tripwire
from schedtuna.agent.swap.acting import DEFAULT_ARM, SCHEDULER, SWAP_KEY, SWAP_TARGET
from schedtuna.agent.swap.book import DefaultBook
from schedtuna.agent.swap.canary import Canary
from schedtuna.agent.swap.deciders import FloatArray, SwapDecider, SwapSight
from schedtuna.agent.swap.table import SwapTable
from schedtuna.agent.swap.window import SwapWindow, swap_window
from schedtuna.features.loss import LOSS_TERMS, SWITCHING, complete_weights
from schedtuna.features.observed import swap_observation, told_observation

SEEN = "seen "  # before the names of what a decider looks at, among a row's features
TIMES_ENABLE = 20  # a step is at least so many times as long as enabling a scheduler takes


@dataclass
class _Choice:
    """What was chosen, and what was seen of it so far."""

    number: int
    arm: int
    time_ns: int
    is_swap: bool
    why: str
    propensity: float = 1.0
    sight: SwapSight | None = None  # None: nothing was drawn
    averages: Mapping[str, float] = field(default_factory=dict)
    in_force_ns: int | None = None
    paid_s: float = 0.0
    spoilt: str = ""
    before: Sensed | None = None
    settled: list[Sensed] = field(default_factory=list)
    load_class: str = ""  # under which it was drawn


@dataclass
class ArmRecord:
    """What is known of an arm: its costs over the default's, of windows in which they are known.

    Attributes:
        nr_windows: How many.
        sum_cost: Their sum; what swaps took is in it.
        last_cost, last_ns: The newest.
    """

    nr_windows: int = 0
    sum_cost: float = 0.0
    last_cost: float = 0.0
    last_ns: int = 0

    def add(self, cost: float, time_ns: int) -> None:
        """Take in a window."""
        self.nr_windows += 1
        self.sum_cost += cost
        self.last_cost, self.last_ns = cost, time_ns


class SwapPolicy:
    """Chooses schedulers.

    Args:
        table: The file.
        decider: What chooses.
        nr_cpus: Of the machine.
        rng: Draws.

    Attributes:
        arms: Names of the schedulers, the default first.
        why_not: Why some may not be chosen, by name.
        state_file: Where is kept what it learns; None: nowhere.
        nr_kept: How many outcomes are in there.
    """

    name = "swap"
    needs = frozenset({Need.TASKS, Need.MACHINE, Need.KERNEL, Need.SWAPS})

    def __init__(
        self, table: SwapTable, decider: SwapDecider, *, nr_cpus: int, rng: np.random.Generator
    ) -> None:
        self.table, self.decider = table, decider
        self.arms = table.labels
        self.why_not: dict[str, str] = {}
        self.state_file: Path | None = None
        self.nr_kept = decider.nr_learned
        self.records = {arm: ArmRecord() for arm in self.arms}
        self._weights = complete_weights(table.weights or None)
        self._total = sum(self._weights[term.name] for term in LOSS_TERMS)
        self._nr_cpus, self._rng = nr_cpus, rng
        self._tripwire = Tripwire(self.needs)
        self._book = DefaultBook()
        self._canary = Canary(self.arms)
        self._enable_s = 0.0
        self._taken = ""
        self._last: Sensed | None = None
        self._rows: list[DecisionRow | OutcomeRow] = []
        self._choice: _Choice | None = None

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return the swap that is to be in force; none, where the default is to be."""
        held = standing.get(SWAP_KEY)
        arm = DEFAULT_ARM if held is None else str(held.intent.new)
        for event in sensed.swaps:
            self._hear(event)
        if why := self._tripwire.check(sensed, {} if held is None else {SWAP_KEY: held}):
            self._set_aside(arm, f"tripwire: {why}")
            self._tripwire = Tripwire(self.needs)
        if self._taken:
            self._choice = None
            return []
        self._follow(sensed, arm, held)
        self._last = sensed
        return self._wanted(arm, held)

    def take_rows(self) -> list[DecisionRow | OutcomeRow]:
        """Return choices and outcomes since the last call."""
        taken, self._rows = self._rows, []
        return taken

    # ---- what happens to a choice ----------------------------------------------------------------

    def _hear(self, event: SwapEvent) -> None:
        choice = self._choice
        match event.result:
            case SwapResult.ENABLED:
                self._enable_s = max(self._enable_s, event.enable_s)
                if choice is not None:
                    choice.paid_s = event.disable_s + event.enable_s
            case SwapResult.FAILED:
                self._set_aside(event.arm, f"it did not start: {event.reason}")
            case SwapResult.EJECTED:
                for arm in self.arms:
                    if arm.partition(":")[0] == event.scheduler:
                        self._set_aside(arm, f"{event.arm} was ejected: {event.reason}")
            case SwapResult.TAKEN:
                self._taken = event.reason
                self._spoil(event.arm, event.reason)

    def _set_aside(self, arm: str, why: str) -> None:
        if arm != DEFAULT_ARM:
            self.why_not[arm] = why
            self._spoil(arm, why)

    def _spoil(self, arm: str, why: str) -> None:
        if self._choice is not None and self.arms[self._choice.arm] == arm:
            self._choice.spoilt = self._choice.spoilt or why

    def _follow(self, sensed: Sensed, arm: str, held: Standing | None) -> None:
        """Go on with the choice; where its step is over, conclude, and make the next."""
        choice = self._choice
        if choice is None:
            self._choice = self._new(sensed, 0, "the first step is the default's", is_swap=False)
            return
        if arm == self.arms[choice.arm]:
            self._watch(choice, sensed, held)
        elif choice.in_force_ns is not None:
            choice.spoilt = choice.spoilt or f"{arm} was in charge meanwhile"
        if choice.spoilt or self._is_over(choice, sensed):
            self._choose(sensed, self._conclude(choice, sensed), arm)

    def _watch(self, choice: _Choice, sensed: Sensed, held: Standing | None) -> None:
        if choice.in_force_ns is None:
            if not choice.is_swap:
                choice.in_force_ns = sensed.start_ns
            else:
                choice.in_force_ns = sensed.end_ns if held is None else held.since_ns
        settled_ns = choice.in_force_ns + (round(self.table.discard_s * 1e9) if choice.is_swap else 0)
        if sensed.start_ns >= settled_ns and self._last is not None:
            if not choice.settled:
                choice.before = self._last
            choice.settled.append(sensed)

    def _is_over(self, choice: _Choice, sensed: Sensed) -> bool:
        since_ns = choice.time_ns if choice.in_force_ns is None else choice.in_force_ns
        return sensed.end_ns - since_ns >= self.step_s * 1e9

    @property
    def step_s(self) -> float:
        """How long a step is."""
        return max(self.table.step_s, TIMES_ENABLE * self._enable_s)

    def _conclude(self, choice: _Choice, sensed: Sensed) -> SwapWindow | None:
        """Write down what came of a choice, and learn from it; returns its window, where it has one."""
        window = None
        if choice.settled and choice.before is not None:
            window = swap_window(choice.settled, choice.before, nr_cpus=self._nr_cpus)
        unknown = choice.spoilt
        if not unknown and window is None:
            unknown = "it was not in force for long enough"
        if not unknown and window is not None and not window.figures:
            unknown = window.unknown
        if unknown or window is None:
            self._rows.append(OutcomeRow(str(choice.number), sensed.end_ns, None, {}, unknown))
            return None if choice.spoilt else window
        self._value(choice, window)
        return window

    def _value(self, choice: _Choice, window: SwapWindow) -> None:
        """Say what a window with figures was worth."""
        arm, id_ = self.arms[choice.arm], str(choice.number)
        known = self._book.look(window.load_class, window.end_ns)
        cost = self._book.loss(window.load_class, window.end_ns, window.figures, self._weights)
        if arm == DEFAULT_ARM and window.load_class:
            self._book.add(window.load_class, window.end_ns, window.figures)
        if cost is None or known is None:
            why = "the default was not seen under such a load in the last ten minutes"
            self._rows.append(OutcomeRow(id_, window.end_ns, None, dict(window.figures), why))
            return
        paid = self._weights[SWITCHING.name] * min(choice.paid_s / self.step_s, 1.0) / self._total
        self._canary.take(arm, cost, *filter(None, (choice.load_class, window.load_class)))
        self.records[arm].add(cost + paid, window.end_ns)
        terms = {**window.figures, **{f"default_{name}": one for name, one in known.figures.items()}}
        terms |= {"swap": paid, "default_age_s": known.age_ns / 1e9, "default_windows": known.nr_windows}
        self._rows.append(OutcomeRow(id_, window.end_ns, cost + paid, terms))
        if choice.sight is not None and self.table.learn == "always":
            self.decider.learn(choice.sight, choice.arm, choice.propensity, cost + paid)

    # ---- the next choice -------------------------------------------------------------------------

    def _choose(self, sensed: Sensed, window: SwapWindow | None, arm: str) -> None:
        current = self.arms.index(arm) if arm in self.arms else 0
        if window is None or not window.load_class:
            why = "the default is due: it is not known what the machine does"
            self._choice = self._new(sensed, 0, why, is_swap=current != 0)
            return
        known = self._book.look(window.load_class, sensed.end_ns)
        if known is None:
            why = f"the default is due: it was not seen for ten minutes with {window.load_class}"
            self._choice = self._new(sensed, 0, why, is_swap=current != 0, averages=window.averages)
            return
        allowed = np.array([name not in self.why_not for name in self.arms])
        allowed &= self._canary.allowed(window.load_class)
        sight = SwapSight(
            swap_observation(window.features, arm, self.arms), window.averages, current, allowed
        )
        probabilities = self.decider.propensities(sight)
        action = int(self._rng.choice(len(self.arms), p=probabilities))
        self._choice = self._new(
            sensed,
            action,
            self._tell(sight, probabilities, action, window.load_class),
            is_swap=action != current,
            averages=window.averages,
            sight=sight,
            probabilities=probabilities,
        )
        self._choice.load_class = window.load_class

    def _new(
        self,
        sensed: Sensed,
        action: int,
        why: str,
        *,
        is_swap: bool,
        averages: Mapping[str, float] | None = None,
        sight: SwapSight | None = None,
        probabilities: FloatArray | None = None,
    ) -> _Choice:
        """Begin a step, and write the choice down; what was not drawn has probability 1."""
        number = 0 if self._choice is None else self._choice.number + 1
        shares = [float(i == action) for i in range(len(self.arms))]
        if probabilities is not None:
            shares = [float(one) for one in probabilities]
        seen = dict(averages or {})
        looked_at = (
            {} if sight is None else dict(zip(told_observation(self.arms), sight.observation, strict=True))
        )
        row = DecisionRow(
            id=str(number),
            time_ns=sensed.end_ns,
            policy=f"{self.name}/{self.decider.name}",
            version=f"{self.decider.nr_learned} outcomes",
            arms=self.arms,
            propensities=tuple(shares),
            action=self.arms[action],
            features=seen
            | self._costs(sensed.end_ns)
            | {SEEN + name: round(float(value), 6) for name, value in looked_at.items()},
        )
        self._rows.append(row)
        return _Choice(number, action, sensed.end_ns, is_swap, why, shares[action], sight, seen)

    def _costs(self, now_ns: int) -> dict[str, float]:
        """What each arm has cost so far, and how long ago that was seen."""
        told = {}
        for arm, record in self.records.items():
            if record.nr_windows:
                told[f"cost of {arm}"] = record.sum_cost / record.nr_windows
                told[f"age_s of {arm}"] = (now_ns - record.last_ns) / 1e9
        return told

    def _tell(self, sight: SwapSight, probabilities: FloatArray, action: int, load_class: str) -> str:
        expected = float(self.decider.expected(sight)[action])
        cost = "" if np.isnan(expected) else f", expected to cost {expected:.2f} of the default"
        told = (
            f"{self.decider.name} chose it with probability {probabilities[action]:.2f}{cost}: {load_class}"
        )
        reasons = {arm: self._canary.why_not(arm, load_class) for arm in self.arms}
        return "; ".join([told, *(f"{arm} is left out: {why}" for arm, why in reasons.items() if why)])

    def _wanted(self, arm: str, held: Standing | None) -> list[Intent]:
        choice = self._choice
        if choice is None or choice.arm == 0:
            return []
        name = self.arms[choice.arm]
        if held is not None and held.intent.new == name:
            return [held.intent]
        return [
            Intent(
                SWAP_TARGET,
                SCHEDULER,
                arm,
                name,
                choice.why,
                choice.averages,
                f"{self.name}/{self.decider.name}",
                propensity=choice.propensity,
            )
        ]
