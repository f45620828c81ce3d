"""Which runs to make, in which order, when to look at them, and how many it takes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from schedtuna.errors import EvidenceError

ALPHA_PER_SIDE = 0.025
RUNS_PER_BLOCK = 3
MAX_BLOCKS = 27
MAX_RUNS = MAX_BLOCKS * RUNS_PER_BLOCK

# Blocks for 90% power are EFFICIENCY * variance / shift^2, both on the log scale, for the whole
# procedure (looks and 2% of outliers included): fitted to benchmarks/evidence_power.py.
PLANNING_CONSTANT = 28.0


class Arm(StrEnum):
    """What a run of a block ran under."""

    A = "default"
    A2 = "default_again"
    B = "candidate"


class Design(StrEnum):
    """What a block consists of.

    On a place without noise the default again equals the default, bit for bit: it would count as a second
    control and be none. There a block is a pair, and its order does not matter.
    """

    TRIPLES = "triples"
    PAIRS = "pairs"

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms of a block."""
        return tuple(Arm) if self is Design.TRIPLES else (Arm.A, Arm.B)

    @property
    def runs_per_block(self) -> int:
        """How many runs a block has."""
        return len(self.arms)


@dataclass(frozen=True)
class BlockPlan:
    """Runs to make back to back.

    Attributes:
        order: The arms, first run first.
        seed: The workload's seed, the same for all runs of the block, different in every block.
    """

    order: tuple[Arm, ...]
    seed: int


@dataclass(frozen=True)
class Look:
    """A planned interim analysis.

    Attributes:
        blocks: How many complete blocks it takes.
        p_bound: The one-sided p-value that decides at this look.
    """

    blocks: int
    p_bound: float


# looks_for(MAX_BLOCKS); a test keeps them equal.
LOOKS = (
    Look(6, 0.008085),
    Look(9, 0.005796),
    Look(13, 0.006670),
    Look(19, 0.008320),
    Look(27, 0.009764),
)


def plan_block(rng: np.random.Generator, design: Design = Design.TRIPLES) -> BlockPlan:
    """Draw the order of one block, independent of every other block, and its workload seed."""
    order = tuple(design.arms[index] for index in rng.permutation(design.runs_per_block))
    return BlockPlan(order, int(rng.integers(1, 2**31)))


def plan_campaign(
    rng: np.random.Generator, blocks: int, design: Design = Design.TRIPLES
) -> tuple[BlockPlan, ...]:
    """Draw the orders of several blocks, with distinct workload seeds."""
    plans: list[BlockPlan] = []
    seeds: set[int] = set()
    while len(plans) < blocks:
        plan = plan_block(rng, design)
        if plan.seed not in seeds:
            plans.append(plan)
            seeds.add(plan.seed)
    return tuple(plans)


def minimum_blocks(alpha: float = ALPHA_PER_SIDE, design: Design = Design.TRIPLES) -> int:
    """The fewest blocks whose most extreme relabelling is as rare as alpha: 3^-n <= alpha, 2^-n for pairs."""
    if not 0 < alpha < 0.5:
        raise EvidenceError(f"alpha={alpha}: expected a one-sided error rate between 0 and 0.5")
    return math.ceil(-math.log(alpha) / math.log(design.runs_per_block) - 1e-9)


@functools.cache
def looks_for(
    max_blocks: int, alpha: float = ALPHA_PER_SIDE, design: Design = Design.TRIPLES
) -> tuple[Look, ...]:
    """The looks of a study of at most max_blocks blocks, and their p-value bounds.

    Looks are a factor of sqrt(2) apart. The error alpha is spent by Lan and DeMets' Pocock-type
    function a(t) = alpha log(1 + (e - 1) t) (Biometrika 70, 1983), so that the looks' chances of
    a false claim sum to alpha. Looks too early to reach their bound (3^-n, 2^-n of pairs) are left out.

    Args:
        max_blocks: The horizon, in blocks.
        alpha: One-sided error rate over all looks; divide it for several candidates or metrics.
        design: What a block is.

    Raises:
        EvidenceError: No result could be significant within so few blocks.
    """
    needed, runs = minimum_blocks(alpha, design), design.runs_per_block
    if max_blocks < needed:
        raise EvidenceError(
            f"{max_blocks} blocks ({max_blocks * runs} runs) are too few: "
            f"no outcome could be significant at {alpha:g} per side",
            hint=f"allow at least {needed * runs} runs of comparison",
        )
    blocks = {int(max_blocks / math.sqrt(2) ** k + 1e-9) for k in range(64)}
    planned = sorted(n for n in blocks if float(runs) ** -n <= _spent(n / max_blocks, alpha))
    return tuple(map(Look, planned, _bounds(tuple(planned), alpha)))


def _spent(fraction: float, alpha: float) -> float:
    return alpha * math.log1p((math.e - 1) * fraction)


def _bounds(blocks: tuple[int, ...], alpha: float) -> list[float]:
    """Spend alpha over the looks: Armitage, McPherson and Rowe's recursion for Brownian motion."""
    from scipy.special import ndtr  # 0.1 s to import

    normal = NormalDist()
    horizon = blocks[-1]
    bounds: list[float] = []
    spent, time = 0.0, 0.0
    grid, mass = np.zeros(1), np.ones(1)  # where the process can be without having crossed
    for n in blocks:
        step = math.sqrt(n / horizon - time)
        time = n / horizon
        due = _spent(time, alpha) - spent
        low, high = 0.0, 10.0
        for _ in range(60):
            level = (low + high) / 2
            crossed = float(mass @ ndtr((grid - level * math.sqrt(time)) / step))
            low, high = (level, high) if crossed > due else (low, level)
        bounds.append(1 - normal.cdf(high))
        spent += due
        edges = np.linspace(-8 * math.sqrt(time), high * math.sqrt(time), 501)
        cumulative = mass @ ndtr((edges[None, :] - grid[:, None]) / step)
        grid, mass = (edges[1:] + edges[:-1]) / 2, np.diff(cumulative)
    return bounds


def split_budget(total_runs: int) -> tuple[int, int]:
    """Split a budget of runs into (search, confirmation); confirmation is a multiple of three.

    Small budgets go mostly to the confirmation, because a winner that can't be confirmed is worth
    nothing; from 150 runs on the search gets 60%.

    Raises:
        EvidenceError: The budget can't carry a confirmation.
    """
    least = minimum_blocks() * RUNS_PER_BLOCK
    if total_runs <= least:
        raise EvidenceError(
            f"a budget of {total_runs} runs is too small: the confirmation alone takes {least}",
            hint=f"allow at least {least + 1} runs; 40 or more make sense",
        )
    share = float(np.interp(total_runs, (20, 40, 150, 200, 1000), (12, 24, 60, 81, 243)))
    if total_runs > 1000:
        share = 0.243 * total_runs
    blocks = max(round(share) // RUNS_PER_BLOCK, minimum_blocks())
    return total_runs - blocks * RUNS_PER_BLOCK, blocks * RUNS_PER_BLOCK


def least_budget(search_runs: int) -> int:
    """Return the smallest budget that leaves so many runs to the search."""
    total = max(search_runs, minimum_blocks() * RUNS_PER_BLOCK + 1)
    while (lacking := search_runs - split_budget(total)[0]) > 0:  # no budget in between has enough
        total += lacking
    return total


def plan_blocks(noise_cv: float, effect: float, power: float = 0.9) -> int:
    """Blocks that it takes to find an effect, or to exclude it, with the given power.

    Args:
        noise_cv: Coefficient of variation of single runs (0.05 for 5%).
        effect: Relative gain to find (0.05 for 5% less time).
        power: Chance of finding it.

    Raises:
        EvidenceError: An effect or power that no study could have.
    """
    if not 0 < effect < 1:
        raise EvidenceError(f"effect={effect}: expected a relative gain between 0 and 1")
    if not 0.05 < power < 1:
        raise EvidenceError(f"power={power}: expected a probability between 0.05 and 1")
    if not 0 <= noise_cv < math.inf:
        raise EvidenceError(f"noise_cv={noise_cv}: expected a finite number, 0 or more")
    normal = NormalDist()
    z_alpha = normal.inv_cdf(1 - ALPHA_PER_SIDE)
    relative = ((z_alpha + normal.inv_cdf(power)) / (z_alpha + normal.inv_cdf(0.9))) ** 2
    variance = math.log1p(noise_cv**2)
    blocks = PLANNING_CONSTANT * relative * variance / math.log1p(-effect) ** 2
    return max(math.ceil(blocks), LOOKS[0].blocks)
