"""Why is this scheduler in charge? The last choices of the policy `swap`, and what came of them, in words."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from schedtuna.agent.decisions.log import read_decision_rows
from schedtuna.agent.decisions.rows import (
    DECISION,
    OUTCOME,
    DecisionRow,
    OutcomeRow,
    decision_of,
    outcome_of,
)
from schedtuna.agent.swap.acting import DEFAULT_ARM
from schedtuna.agent.swap.quarantine import Quarantine, QuarantinedScheduler
from schedtuna.errors import UsageError
from schedtuna.knobs.state import state_directory

POLICY = "swap/"
_MOST = 5


@dataclass(frozen=True)
class SwapStory:
    """What is known of one choice.

    Attributes:
        at_s: When the row was written, Unix time.
        decision: The choice.
        outcome: What came of it; None: that is not known yet.
    """

    at_s: float
    decision: DecisionRow
    outcome: OutcomeRow | None

    @property
    def cost(self) -> float | None:
        """L over the default's, a swap's price included; None: unknown."""
        return None if self.outcome is None else self.outcome.loss

    @property
    def is_drawn(self) -> bool:
        """Whether more than one arm could have come of it."""
        shares = self.decision.propensities
        return shares is not None and max(shares) < 1

    def lines(self) -> list[str]:
        """It, for people."""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at_s))
        one = self.decision
        how = f"with probability {one.propensity:.2f}" if self.is_drawn else "without a draw"
        lines = [f"{at} {one.policy} (after {one.version}) chose {one.action} {how}"]
        if self.is_drawn and one.propensities is not None:
            shares = ", ".join(
                f"{arm} {share:.2f}" for arm, share in zip(one.arms, one.propensities, strict=True)
            )
            lines.append(f"    probabilities: {shares}")
        seen = [f"{name} {value:.4g}" for name, value in one.features.items() if " of " not in name]
        if seen:
            lines.append(f"    it saw: {', '.join(seen)}")
        if self.outcome is None:
            return [*lines, "    what came of it: its step is not over"]
        if self.cost is None:
            return [*lines, f"    what came of it: unknown; {self.outcome.unknown}"]
        terms = self.outcome.terms
        age = "" if "default_age_s" not in terms else f", seen {terms['default_age_s']:.0f} s before"
        paid = f", of which {terms['swap']:.3f} for the swap" if terms.get("swap") else ""
        return [*lines, f"    what came of it: {self.cost:.3f} of the default's cost{age}{paid}"]


@dataclass(frozen=True)
class SwapAnswer:
    """What is known of all choices of the last run.

    Attributes:
        stories: Oldest first.
        quarantine: Who may not be started.
    """

    stories: tuple[SwapStory, ...]
    quarantine: tuple[QuarantinedScheduler, ...]

    def arms(self) -> dict[str, list[float]]:
        """Costs of each arm's windows in which they are known, oldest first."""
        found: dict[str, list[float]] = {}
        for story in self.stories:
            if story.cost is not None:
                found.setdefault(story.decision.action, []).append(story.cost)
        return found

    def gained(self) -> tuple[float, float, int] | None:
        """Return the mean cost of all windows, half its 95% interval's width, and how many there are.

        The interval takes windows for independent, and is told from ten of them on.
        """
        costs = [cost for costs in self.arms().values() for cost in costs]
        if not costs:
            return None
        nr, mean = len(costs), statistics.fmean(costs)
        half = math.nan if nr < 10 else 1.96 * statistics.stdev(costs) / math.sqrt(nr)
        return mean, half, nr

    def lines(self, *, now_s: float | None = None) -> list[str]:
        """It, for people."""
        now_s = time.time() if now_s is None else now_s
        lines = [line for story in self.stories[-_MOST:] for line in story.lines()]
        last = {story.decision.action: story.at_s for story in self.stories if story.cost is not None}
        for arm, costs in self.arms().items():
            what = "noise of its own windows" if arm == DEFAULT_ARM else "of the default's cost"
            lines.append(
                f"{arm}: {statistics.fmean(costs):.3f} {what}, over {len(costs)} windows; the last was "
                f"chosen {now_s - last[arm]:.0f} s ago"
            )
        gained = self.gained()
        if gained is None:
            lines.append("what it gained: unknown; no window has been held against the default's yet")
        else:
            mean, half, nr = gained
            sure = "" if math.isnan(half) else f" ± {half:.3f}"
            lines.append(
                f"all {nr} windows together, swaps included: {mean:.3f}{sure} of the default's cost "
                "(below 1: a gain)"
            )
        return lines + [f"in quarantine: {row.tell()}" for row in self.quarantine]


def explain_swap(directory: Path | None = None) -> SwapAnswer:
    """Return what the log says of the last run of the policy `swap`.

    Raises:
        UsageError: Nothing.
        EvidenceError: A row is damaged.
    """
    folder = directory or state_directory()
    stories = tuple(_stories(read_decision_rows(folder)))
    quarantine = tuple(Quarantine(folder).rows())
    if not stories and not quarantine:
        raise UsageError(
            "no scheduler was ever chosen here", hint="`schedtuna agent run --policy swap` chooses them"
        )
    return SwapAnswer(stories, quarantine)


def _stories(rows: Iterable[dict[str, object]]) -> list[SwapStory]:
    """Pair choices of the last run with their outcomes."""
    decided: list[tuple[float, DecisionRow]] = []
    outcomes: dict[str, OutcomeRow] = {}
    for row in rows:
        if row.get("kind") == DECISION and str(row.get("policy", "")).startswith(POLICY):
            decided.append((float(str(row["time"])), decision_of(row)))
        elif row.get("kind") == OUTCOME:
            found = outcome_of(row)
            outcomes[found.id] = found
    run = _run_of(decided[-1][1]) if decided else ""
    return [SwapStory(at_s, one, outcomes.get(one.id)) for at_s, one in decided if _run_of(one) == run]


def _run_of(decision: DecisionRow) -> str:
    return decision.id.rpartition("-")[0]
