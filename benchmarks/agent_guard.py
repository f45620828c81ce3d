"""How often does the guard roll back what does nothing, and how soon what harms?

Windows of a real machine, recorded while compilers, tests and measurements ran on it
(data/agent_windows.csv: a quarter of a second each), are replayed: while the guard has the changes
in force, an effect multiplies the latency. Without an effect every roll-back is false, and every
claim of a benefit, too: at most 5% of lives of 10,000 windows, as the e-process promises.
The same windows are given to what is usual: changes on for 4 windows and off for 4, always, and a
t-test after every pair.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schedtuna.agent.contract import (
    SENSED_DTYPE,
    ChangeTarget,
    GuardDecision,
    Intent,
    RunningScheduler,
    Sensed,
    Standing,
)
from schedtuna.agent.guard.guard import ExperimentGuard, GuardState
from schedtuna.agent.guard.watched import WATCHED

WINDOWS = Path(__file__).parent / "data" / "agent_windows.csv"
METRICS = ("wakeup_latency_p99_us", "psi_cpu_some_percent")
ALPHA = 0.05
HOUR = 3600  # windows, as intervals of a second
SLOT = 5
_INTENT = Intent(ChangeTarget("thread", tid=1, tgid=1, start_time_ns=1), "nice", 0, 10, "replayed")
_IN_FORCE = {_INTENT.key: Standing(_INTENT, 0, 0)}
_TASKS = np.zeros(1, SENSED_DTYPE)
_EEVDF = RunningScheduler("eevdf")

Window = dict[str, float]
Effect = Callable[[int], float]  # of the window's number: what it multiplies the latency by


def read_windows(path: Path = WINDOWS) -> list[Window]:
    """Return the recorded windows, in order."""
    with path.open() as file:
        return [{name: float(row[name]) for name in METRICS if row[name]} for row in csv.DictReader(file)]


def sensed(number: int, kernel: Window, machine: Window) -> Sensed:
    """Return a window as an interval of a second."""
    return Sensed(number, number * 10**9, (number + 1) * 10**9, _TASKS, {}, machine, kernel, _EEVDF)


def live(
    windows: Sequence[Window], effect: Effect, seed: int, *, begin: int = 0
) -> tuple[int | None, int | None]:
    """Replay a life; return the windows at which it was rolled back, and at which a benefit was proven."""
    guard = ExperimentGuard(np.random.default_rng(seed), slot_intervals=SLOT)
    on, proven = True, None
    for number in range(len(windows)):
        window = windows[(begin + number) % len(windows)]
        kernel, machine = dict(window), {}
        if (pressure := kernel.pop(METRICS[1], None)) is not None:
            machine = {METRICS[1]: pressure}
        if on and METRICS[0] in kernel:
            kernel[METRICS[0]] *= effect(number)
        decision = guard.judge(sensed(number, kernel, machine), _IN_FORCE).decision
        on = decision in {GuardDecision.ALLOW, GuardDecision.HOLD}
        if decision is GuardDecision.ROLL_BACK:
            return number, proven
        if guard.state is GuardState.PROVEN and proven is None:
            proven = number
    return None, proven


def fixed_order(windows: Sequence[Window], *, begin: int, slot: int = 4) -> bool:
    """Whether a t-test (5%) after every pair of on and off, in a fixed order, ever finds harm or help."""
    from scipy.special import stdtrit

    logs = np.log(
        [windows[(begin + n) % len(windows)].get(METRICS[0], math.nan) + 1 for n in range(len(windows))]
    )
    pairs = logs[: len(logs) // (2 * slot) * 2 * slot].reshape(-1, 2, slot)
    gaps = np.nanmean(pairs[:, 0], axis=1) - np.nanmean(pairs[:, 1], axis=1)
    counts = np.arange(5, len(gaps) + 1)
    means = np.cumsum(gaps)[4:] / counts
    squares = np.cumsum(gaps**2)[4:] / counts - means**2
    errors = np.sqrt(np.maximum(squares, 1e-12) / (counts - 1))
    return bool((np.abs(means) > stdtrit(counts - 1, 0.975) * errors).any())


def upper_bound(count: int, total: int) -> float:
    """Return the one-sided 95% upper bound of a share (Clopper-Pearson)."""
    from scipy.stats import beta

    return 1.0 if count == total else float(beta.ppf(0.95, count + 1, total - count))


def refutes(count: int, total: int) -> bool:
    """Whether so many false ones show that there are more than 5% (one-sided, 1%)."""
    from scipy.stats import binom

    return bool(binom.sf(count - 1, total, ALPHA) < 0.01)


def in_rhythm(number: int) -> float:
    """Harm in every other slot's length: what a fixed order could miss for ever."""
    return 2.0 if number // SLOT % 2 else 1.0


CELLS: dict[str, tuple[Effect, bool]] = {  # name -> effect, whether it is harm
    "harm, +25%": (lambda _: 1.25, True),
    "harm, +50%": (lambda _: 1.5, True),
    "harm, x2": (lambda _: 2.0, True),
    "labels swapped: what would help by a half": (lambda _: 1 / 0.5, True),
    "harm of x2 that starts after an hour": (lambda number: 2.0 if number >= HOUR else 1.0, True),
    "harm of x2 in the rhythm of the slots": (in_rhythm, True),
    "help, x0.5": (lambda _: 0.5, False),
}


def with_rhythm(windows: Sequence[Window]) -> list[Window]:
    """The same, with a load whose latency swings with the period of a pair of slots of 4."""
    swing = [math.exp(0.7 * math.sin(2 * math.pi * n / 8)) for n in range(8)]
    return [
        {name: value * (swing[n % 8] if name == METRICS[0] else 1) for name, value in window.items()}
        for n, window in enumerate(windows)
    ]


def placebo(windows: Sequence[Window], lives: int, seed: int) -> dict[str, Any]:
    """Lives of changes that do nothing."""
    rng = np.random.default_rng(seed)
    begins = rng.integers(len(windows), size=lives).tolist()
    found = [live(windows, lambda _: 1.0, seed + k, begin=begin) for k, begin in enumerate(begins)]
    rolled_back = sum(one[0] is not None for one in found)
    claimed = sum(one[1] is not None for one in found)
    swinging = with_rhythm(windows)
    return {
        "lives": lives,
        "windows": len(windows),
        "false_rollbacks": rolled_back / lives,
        "false_rollbacks_upper": upper_bound(rolled_back, lives),
        "false_claims_of_benefit": claimed / lives,
        "fixed_order_t_test_false": sum(fixed_order(windows, begin=b) for b in begins) / lives,
        "fixed_order_t_test_false_in_a_rhythm": sum(fixed_order(swinging, begin=b) for b in begins) / lives,
        "false_rollbacks_in_a_rhythm": sum(
            live(swinging, lambda _: 1.0, seed + k, begin=b)[0] is not None
            for k, b in enumerate(begins[: lives // 2])
        )
        / max(lives // 2, 1),
    }


def cell(
    windows: Sequence[Window], effect: Effect, lives: int, seed: int, *, is_harm: bool
) -> dict[str, Any]:
    """Lives of changes that do something: how many were found out, and how soon."""
    rng = np.random.default_rng(seed)
    begins = rng.integers(len(windows), size=lives).tolist()
    found = [live(windows, effect, seed + k, begin=begin) for k, begin in enumerate(begins)]
    ends = [one[0] if is_harm else one[1] for one in found]
    known = sorted(end for end in ends if end is not None)
    return {
        "found": len(known) / lives,
        "median_windows": statistics.median(known) if known else None,
        "p90_windows": known[math.ceil(0.9 * len(known)) - 1] if known else None,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    lives = max(options.lives // 10, 2) if options.quick else options.lives
    windows = read_windows()
    result: dict[str, Any] = {
        "benchmark": "agent_guard",
        "alpha": ALPHA,
        "watched": list(WATCHED),
        "placebo": placebo(windows, lives, options.seed),
        "found": {
            name: cell(windows, effect, max(lives // 5, 2), options.seed, is_harm=is_harm)
            for name, (effect, is_harm) in CELLS.items()
        },
    }
    result["ok"] = not any(
        refutes(round(result["placebo"][name] * lives), lives)
        for name in ("false_rollbacks", "false_claims_of_benefit")
    )
    print(json.dumps(result))
    sys.exit(not result["ok"])


if __name__ == "__main__":
    main()
