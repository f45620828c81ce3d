"""By which metrics, tolerances and controls is the model judged? All was fixed before there were data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

CONFIDENCE = 0.90  # of the interval that has to lie within the tolerance: two one-sided tests at 5%
FEWEST_RUNS = 10  # real ones of each load
FEWEST_PHASES = 16  # of the tick, at which simulated runs begin
MOST_AA = 0.10  # how far real runs may differ from real runs
MOST_STEAL = 0.005  # of the CPUs' time: runs with more are repeated
MOST_INTERRUPTED = 0.05  # of the CPUs' time that tasks of others took
LEAST_PASSED = 0.80  # of the cells
MOST_OFF = 2.0  # times: no cell may be off by so much
LEAST_REACTION = 2.0  # tolerances: how far a metric must move with what it should react to
LEAST_SWITCH_COST = 0.15  # of the CPU time, where costs of zero are to be noticed
LEAST_RANK_CORRELATION = 0.8
SLOPES = (0.7, 1.4)  # of the model's log ratios over the machine's
FEWEST_CHANGES = 12

CALIBRATION_SEED = 1
FIRST_SEED = 1000  # of the loads that judge, which calibration has not seen


class Where(StrEnum):
    """Which CPUs a load uses."""

    QUIET = "one CPU"
    MIXED = "all CPUs"


@dataclass(frozen=True)
class Tolerance:
    """How far the model may be from the machine.

    Attributes:
        relative: Part of the machine's value.
        floor: Or so much, in the metric's unit, where that is more.
    """

    relative: float = 0.0
    floor: float = 0.0

    def of(self, value: float) -> float:
        """The tolerance about a value, in the metric's unit."""
        return max(self.relative * abs(value), self.floor)


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Attributes:
        help: What it is.
        unit: Of its values.
        tolerances: By which CPUs the load uses.
        reacts_to: Controls, of which one at least must move it in the model, or it says nothing.
    """

    help: str
    unit: str
    tolerances: dict[Where, Tolerance]
    reacts_to: tuple[str, ...]


# Which controls must move a metric.
_OF_SWITCHES = ("tick_1ms", "slice_x4", "fifo", "zero_costs")
_OF_LATENCY = ("no_wakeup_preemption", "fifo", "zero_costs")
# The number of switches and the mean slice come first: what is summed over switches depends on them.
METRICS: dict[str, Metric] = {
    "switches_per_s": Metric(
        "switches to the load's tasks", "1/s",
        {Where.QUIET: Tolerance(0.05), Where.MIXED: Tolerance(0.15)}, _OF_SWITCHES,
    ),
    "slice_mean_us": Metric(
        "mean time from switch-in to switch-out", "us",
        {Where.QUIET: Tolerance(0.05), Where.MIXED: Tolerance(0.15, 20)}, _OF_SWITCHES,
    ),
    "share": Metric(
        "a task's part of the CPU time that the load got", "%",
        {Where.QUIET: Tolerance(0, 0.5), Where.MIXED: Tolerance(0.15)}, ("shuffled_weights", "no_groups"),
    ),
    "wakeup_latency_mean_us": Metric(
        "mean time from wakeup to switch-in", "us",
        {Where.QUIET: Tolerance(0.10), Where.MIXED: Tolerance(0.15, 20)}, _OF_LATENCY,
    ),
    "run_delay_ms_per_s": Metric(
        "time that tasks waited for a CPU", "ms/s",
        {Where.QUIET: Tolerance(0.10), Where.MIXED: Tolerance(0.15)}, ("fifo", "no_wakeup_preemption"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """A model that is wrong on purpose: it has to fail, or the certificate is worth nothing.

    Attributes:
        help: What is wrong.
        needs: What a load must have for it to matter; "contended": tasks that wait for each other's CPU.
        scheduler: Instead of `fair`; empty: none.
        parameters: Of `fair`: factor by which the value is multiplied; 0 switches off.
        costs: Constants of the machine; None: all but the tick are zero.
        shuffles_weights: Nice values and groups' weights go to the next task and group.
        drops_groups: All tasks are in one group.
    """

    help: str
    needs: str = "contended"
    scheduler: str = ""
    parameters: tuple[tuple[str, int], ...] = ()
    costs: dict[str, int] | None = None
    zero_costs: bool = False
    shuffles_weights: bool = False
    drops_groups: bool = False


CONTROLS: dict[str, Control] = {
    "fifo": Control("first come, first served", scheduler="fifo"),
    "slice_x4": Control("slices are four times as long", parameters=(("base_slice_us", 4),)),
    "tick_1ms": Control("the tick comes every millisecond", costs={"tick_ns": 1_000_000}),
    "no_wakeup_preemption": Control(
        "who wakes up preempts nobody", needs="wakeups", parameters=(("wakeup_preemption", 0),)
    ),
    "shuffled_weights": Control("weights belong to other tasks", needs="weights", shuffles_weights=True),
    "no_groups": Control("all tasks are in one group", needs="groups", drops_groups=True),
    "zero_costs": Control("switches and wakeups cost nothing", needs="switching", zero_costs=True),
}


def tolerance_of(metric: str, where: Where) -> Tolerance:
    """Return a cell's tolerance; `share:TASK` is a metric of one task."""
    return METRICS[metric.partition(":")[0]].tolerances[where]


def described_rules() -> list[tuple[str, str]]:
    """What a page says about the rules: names and texts."""
    rows: list[tuple[str, Any]] = [
        ("interval of the difference of means", f"{CONFIDENCE:.0%}, which has to lie within the tolerance"),
        ("real runs of each load", f"at least {FEWEST_RUNS}, with seeds that calibration has not seen"),
        ("simulated runs", f"with the same seeds, begun at {FEWEST_PHASES} or more phases of the tick"),
        ("real runs against real runs", f"above {MOST_AA:.0%} the cell is too noisy"),
        ("steal", f"runs with more than {MOST_STEAL:.1%} are repeated"),
        ("tasks of others", f"above {MOST_INTERRUPTED:.0%} of the CPUs' time the cell is too noisy"),
        ("cells that pass", f"at least {LEAST_PASSED:.0%}, and none is off by {MOST_OFF:g} times"),
        ("metrics that count", f"those that move by {LEAST_REACTION:g} tolerances when they should"),
        ("models that are wrong on purpose", "each fails on the loads where it matters"),
        (
            "differences",
            (
                f"{FEWEST_CHANGES} or more: their signs are right where the machine has a verdict, the rank"
                f" correlation is {LEAST_RANK_CORRELATION:g} or more, the slope is {SLOPES[0]:g} to"
                f" {SLOPES[1]:g}, and the error is less than that of `no change`"
            ),
        ),
    ]
    return rows
