"""Actors of stable-baselines3 that judge every slot by the same weights; critics see all slots at once."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule

from schedtuna.rl.slots import SlotLayout, SlotNetwork

_FIRST_SCORES = 0.01  # of what they would be: at first all actions are about as probable


class _SlotActor:
    """What both have in common: the layer that scores actions is a network of slots.

    Args:
        layout: Of observations and actions; `net_arch` has no layers for the actor.
    """

    def __init__(self, *given: Any, layout: SlotLayout, **others: Any) -> None:
        self.layout = layout
        super().__init__(*given, **others)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc] # of the policy that this is mixed into
        policy: Any = self
        policy.action_net = scores = SlotNetwork(self.layout)
        with torch.no_grad():
            for module in (scores.task, scores.machine):
                last: Any = module[-1]
                last.weight *= _FIRST_SCORES
        policy.optimizer = policy.optimizer_class(
            policy.parameters(), lr=lr_schedule(1), **policy.optimizer_kwargs
        )


class SlotActorCritic(_SlotActor, ActorCriticPolicy):
    """Of PPO and A2C."""


class MaskableSlotActorCritic(_SlotActor, MaskableActorCriticPolicy):
    """Of maskable PPO."""
