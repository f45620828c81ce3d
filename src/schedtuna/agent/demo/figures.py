"""What did the arms bring? Ratios to doing nothing, with intervals over blocks; pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedtuna.agent.demo.arms import NONE, ORACLE

LEVEL = 0.95
GOOD_SHARE = 0.8
SMALL_COST = 0.01
_LEAST_FACTOR, _MOST_FACTOR = 0.01, 100  # bounds that lie further off say the same


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval over blocks.

    Attributes:
        value, low, high: NaN and infinite bounds where there are too few blocks.
    """

    value: float
    low: float
    high: float

    def tell(self, *, percent: bool = False) -> str:
        """It, for people: as a factor, or as a change or share in percent."""
        if math.isnan(self.value):
            return "unknown"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{100 * self.value:.0f}% [unknown]" if percent else f"x{self.value:.2f} [unknown]"
        if percent:
            return f"{round(100 * self.value)}% [{round(100 * self.low)}, {round(100 * self.high)}]"
        low = f"{self.low:.2f}" if self.low >= _LEAST_FACTOR else f"<{_LEAST_FACTOR}"
        high = f"{self.high:.2f}" if self.high <= _MOST_FACTOR else f">{_MOST_FACTOR}"
        return f"x{self.value:.2f} [{low}, {high}]"


UNKNOWN = Interval(math.nan, -math.inf, math.inf)


@dataclass(frozen=True)
class DemoRun:
    """One run of one arm.

    Attributes:
        arm: Which.
        block: Runs of one block have the same seed.
        figures: The program's.
        nr_acted_on: Threads that were changed.
        nr_threads: Threads of the load.
        own_cpu_percent: Of one CPU, what the agent's loop took; None: unknown, where no agent ran.
    """

    arm: str
    block: int
    figures: Mapping[str, float]
    nr_acted_on: int
    nr_threads: int
    own_cpu_percent: float | None


@dataclass(frozen=True)
class ArmResult:
    """What an arm did on a load.

    Attributes:
        arm: Which.
        latency: Ratio of the metric to that of doing nothing; below 1 is better.
        work: Ratio of the batch part's work.
        share: Of the oracle's gain in the metric; 1 is all of it.
        acted_on: Share of the load's threads that were changed.
        own_cpu_percent: Of one CPU, what the agent took; None: unknown.
    """

    arm: str
    latency: Interval
    work: Interval
    share: Interval
    acted_on: float
    own_cpu_percent: float | None


def results_of(runs: Sequence[DemoRun], metric: str, work: str) -> list[ArmResult]:
    """Compare all arms with doing nothing, block by block.

    Args:
        runs: All blocks whole.
        metric: The figure that is to fall; empty: none.
        work: The figure of what gets done.
    """
    arms = list(dict.fromkeys(run.arm for run in runs))
    gains = {arm: _log_ratios(runs, arm, metric) for arm in arms}
    return [
        ArmResult(
            arm,
            _geometric(gains[arm]),
            _geometric(_log_ratios(runs, arm, work)),
            UNKNOWN if arm == NONE else _share(gains[arm], gains.get(ORACLE, [])),
            sum(run.nr_acted_on for run in runs if run.arm == arm)
            / max(sum(run.nr_threads for run in runs if run.arm == arm), 1),
            _mean_known([run.own_cpu_percent for run in runs if run.arm == arm]),
        )
        for arm in arms
    ]


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def between(runs: Sequence[DemoRun], arm: str, other: str, figure: str) -> Interval:
    """Ratio of an arm's figure to another arm's, of the same blocks."""
    return _geometric(_log_ratios(runs, arm, figure, other))


def _log_ratios(runs: Sequence[DemoRun], arm: str, figure: str, to: str = NONE) -> list[float]:
    """Log ratios by block, of those blocks in which both have the figure."""
    found = {(run.arm, run.block): run.figures.get(figure, math.nan) for run in runs}
    ratios = []
    for block in sorted({run.block for run in runs}):
        mine, base = found.get((arm, block), math.nan), found.get((to, block), math.nan)
        if mine > 0 and base > 0:
            ratios.append(math.log(mine / base))
    return ratios


def _t(nr_blocks: int) -> float:
    from scipy.special import stdtrit  # 0.1 s to import

    return float(stdtrit(nr_blocks - 1, 0.5 + LEVEL / 2))


def _geometric(logs: Sequence[float]) -> Interval:
    """Mean of logarithms, with Student's interval over blocks."""
    if not logs:
        return UNKNOWN
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return Interval(math.exp(mean), 0.0, math.inf)
    half = _t(len(logs)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def _share(mine: Sequence[float], oracle: Sequence[float]) -> Interval:
    """Ratio of two means by Fieller's theorem; unknown where the oracle's gain is not sure itself.

    E. C. Fieller, "Some problems in interval estimation", JRSS B 16 (1954).
    """
    nr_blocks = len(mine)
    if nr_blocks < 2 or nr_blocks != len(oracle):
        return UNKNOWN
    mean_mine, mean_oracle = statistics.fmean(mine), statistics.fmean(oracle)
    factor = _t(nr_blocks) ** 2 / nr_blocks
    g_oracle = factor * statistics.variance(oracle)
    a = mean_oracle**2 - g_oracle
    if mean_oracle >= 0 or a <= 0:
        return UNKNOWN
    b = mean_mine * mean_oracle - factor * statistics.covariance(mine, oracle)
    c = mean_mine**2 - factor * statistics.variance(mine)
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(mean_mine / mean_oracle, (b - root) / a, (b + root) / a)


def verdicts(runs: Sequence[DemoRun], metric: str, work: str, tested: Sequence[str]) -> list[str]:
    """Say plainly what the runs show of the tested arms, and what they do not.

    Args:
        runs: All blocks whole.
        metric: The figure that is to fall; empty: there is nothing to gain.
        work: The figure of what gets done.
        tested: The arms that are no reference.
    """
    results = {result.arm: result for result in results_of(runs, metric, work)}
    lines = []
    for arm in tested:
        result = results[arm]
        if metric:
            lines += [_tell_share(result, results[ORACLE]), _tell_others(runs, arm, metric, work)]
        else:
            lines.append(_tell_cost(result))
    return lines


def _tell_share(result: ArmResult, oracle: ArmResult) -> str:
    share = result.share
    if not oracle.acted_on:
        return f"{result.arm}: even the oracle finds nothing that it could change"
    if oracle.latency.low > 1:
        return f"{result.arm}: even the oracle does harm, so that there is no gain to have a share of"
    if math.isnan(share.value):
        return f"{result.arm}: nothing can be said, as even the oracle's gain is not sure; give more --blocks"
    told = f"{result.arm}: {share.tell(percent=True)} of the oracle's gain"
    if share.low >= GOOD_SHARE:
        return f"{told}: at least {100 * GOOD_SHARE:.0f}% is shown"
    if share.high < GOOD_SHARE:
        return f"{told}: less than {100 * GOOD_SHARE:.0f}% is shown"
    return f"{told}: whether it is {100 * GOOD_SHARE:.0f}% is not shown"


def _tell_others(runs: Sequence[DemoRun], arm: str, metric: str, work: str) -> str:
    parts = []
    for figure, better_is_less in ((metric, True), (work, False)):
        ratio = between(runs, arm, "one-liner", figure)
        if math.isnan(ratio.value):
            continue
        parts.append(f"{figure} {ratio.tell()} ({_word(ratio, better_is_less=better_is_less)})")
    return f"{arm} beside the one-liner: {', '.join(parts)}"


def _word(ratio: Interval, *, better_is_less: bool) -> str:
    if ratio.low >= 1 - SMALL_COST and ratio.high <= 1 + SMALL_COST:
        return f"the same within {100 * SMALL_COST:.0f}%"
    if ratio.low <= 1 <= ratio.high:
        return "not shown to differ"
    return "better" if (ratio.value < 1) == better_is_less else "worse"


def _tell_cost(result: ArmResult) -> str:
    acted, work = result.acted_on, result.work
    kept = f"changes {100 * acted:.1f}% of the threads" if acted else "changes nothing"
    if work.low > 1 - SMALL_COST:
        cost = f"costs less than {100 * SMALL_COST:.0f}% of the work"
    elif work.high < 1 - SMALL_COST:
        cost = f"costs more than {100 * SMALL_COST:.0f}% of the work"
    else:
        cost = f"that it costs less than {100 * SMALL_COST:.0f}% of the work is not shown"
    return f"{result.arm}: {kept}; {cost}: {work.tell()}"
