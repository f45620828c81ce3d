"""REINFORCE (Williams 1992): its network, loss, baseline and exploration, whoever collects the decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch


def perceptron(nr_inputs: int, hidden: Sequence[int], nr_outputs: int) -> torch.nn.Sequential:
    """Return a network with tanh after each of its hidden layers."""
    widths = [nr_inputs, *hidden]
    layers: list[torch.nn.Module] = []
    for inside, outside in pairwise(widths):
        layers += [torch.nn.Linear(inside, outside), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], nr_outputs))


def policy_loss(
    log_probability: torch.Tensor, cost: torch.Tensor, baseline: torch.Tensor | float
) -> torch.Tensor:
    """Return the mean of (L - baseline) log pi(action): its gradient makes costly actions less probable."""
    return ((cost - baseline) * log_probability).mean()


def exploration(nr_decisions: int) -> float:
    """Return the probability of any action, 1/sqrt(n) at the n-th time that it is asked."""
    return 1 / math.sqrt(max(nr_decisions, 1))


class Baseline:
    """A running mean of costs.

    Args:
        weight: Of the newest one.

    Attributes:
        mean: Of the costs so far; None: there was none.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.mean: float | None = None

    def take(self, cost: float) -> float:
        """Take in a cost, and return what was the baseline for it: its own value for the first."""
        before = cost if self.mean is None else self.mean
        self.mean = before + self.weight * (cost - before)
        return before
