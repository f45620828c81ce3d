"""A network that judges the candidate in each slot by the same weights: a slot's number says nothing.

A perceptron over all slots at once has to learn the same judgement once for each of them, and from
permutations alone that they are alike. Here one small network scores what stands in a slot beside what is
observed of the machine, and another one scores the actions that concern no slot. Written out, with each
slot's copy of the weights on a block of its own, both are a perceptron like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from schedtuna.rl.gradient import perceptron

HIDDEN = [16, 16]  # of each slot's network, and of the machine's
_VERBS = 2  # run, boost


@dataclass(frozen=True)
class SlotLayout:
    """What an observation and the actions are made of.

    Attributes:
        nr_slots: Slots.
        per_slot: Numbers that are observed of each; those of the first slot come first.
        nr_machine: Numbers that are observed of the machine, behind those.
        nr_others: Actions behind two for each slot.
    """

    nr_slots: int
    per_slot: int
    nr_machine: int
    nr_others: int

    @classmethod
    def of(cls, vector: Any) -> SlotLayout | None:
        """Return that of a vector of environments; None: it has no slots."""
        setting: Any = getattr(vector, "setting", None)
        nr_slots = getattr(setting, "nr_slots", 0)
        if not nr_slots:
            return None
        names = setting.observation_names
        per_slot = sum(name.startswith("slot0.") for name in names)
        nr_others = len(setting.action_names) - _VERBS * nr_slots
        return cls(nr_slots, per_slot, len(names) - nr_slots * per_slot, nr_others)

    def tied(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return statistics of an observation in which all slots have the same."""
        split = self.nr_slots * self.per_slot
        means = mean[:split].reshape(self.nr_slots, self.per_slot)
        variances = variance[:split].reshape(self.nr_slots, self.per_slot)
        of_slot = np.tile(means.mean(axis=0), self.nr_slots)
        spread = np.tile(variances.mean(axis=0) + means.var(axis=0), self.nr_slots)
        return np.concatenate([of_slot, mean[split:]]), np.concatenate([spread, variance[split:]])


class SlotNetwork(torch.nn.Module):
    """Scores of all actions, of each slot by the same weights."""

    def __init__(self, layout: SlotLayout) -> None:
        super().__init__()
        self.layout = layout
        self.task = perceptron(layout.per_slot + layout.nr_machine, HIDDEN, _VERBS)
        self.machine = perceptron(layout.nr_machine, HIDDEN, layout.nr_others)

    def forward(self, observed: torch.Tensor) -> torch.Tensor:
        """Return scores (n, actions) of what is observed (n, observed)."""
        layout, n = self.layout, len(observed)
        split = layout.nr_slots * layout.per_slot
        slots = observed[:, :split].reshape(n, layout.nr_slots, layout.per_slot)
        machine = observed[:, split:]
        beside = machine[:, None].expand(n, layout.nr_slots, layout.nr_machine)
        scores = self.task(torch.cat([slots, beside], dim=2))
        of_slots = scores.transpose(1, 2).reshape(n, _VERBS * layout.nr_slots)
        return torch.cat([of_slots, self.machine(machine)], dim=1)

    def layers(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Return the perceptron that it is: weights (out, in) and biases (out) of each layer."""
        layout, nr = self.layout, self.layout.nr_slots
        (first, *inner, last), (first_m, *inner_m, last_m) = _linear(self.task), _linear(self.machine)
        own, beside = np.hsplit(first[0], [layout.per_slot])
        nothing = np.zeros((len(first_m[0]), nr * layout.per_slot), np.float32)
        rows = [np.hstack([np.kron(np.eye(nr), own), np.tile(beside, (nr, 1))])]
        rows.append(np.hstack([nothing, first_m[0]]))
        found = [(np.vstack(rows), np.concatenate([np.tile(first[1], nr), first_m[1]]))]
        for (weights, biases), (weights_m, biases_m) in zip(inner, inner_m, strict=True):
            blocks = _diagonal(np.kron(np.eye(nr), weights), weights_m)
            found.append((blocks, np.concatenate([np.tile(biases, nr), biases_m])))
        verbs = np.vstack([np.kron(np.eye(nr), row[None]) for row in last[0]])
        biases = np.concatenate([np.repeat(last[1], nr), last_m[1]])
        found.append((_diagonal(verbs, last_m[0]), biases))
        return tuple((weights.astype(np.float32), biases.astype(np.float32)) for weights, biases in found)


def _linear(module: torch.nn.Sequential) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in module
        if isinstance(layer, torch.nn.Linear)
    ]


def _diagonal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Both on the diagonal of a matrix, zeros beside them."""
    above = np.hstack([one, np.zeros((len(one), other.shape[1]))])
    return np.vstack([above, np.hstack([np.zeros((len(other), one.shape[1])), other])])
