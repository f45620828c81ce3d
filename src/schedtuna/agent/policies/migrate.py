"""The policy `migrate`: has what scx_tuna asks about its tasks answered, as long as that is in charge."""

from __future__ import annotations

from collections.abc import Mapping

from schedtuna.agent.contract import ADVICE, ChangeTarget, Intent, Need, Sensed, Standing
from schedtuna.agent.decisions.rows import DecisionRow, OutcomeRow
from schedtuna.agent.policies.advice_service import AdviceService
from schedtuna.agent.policies.migration_draws import POLICY
from schedtuna.scheduler.objects import OURS


class MigratePolicy:
    """Wants to advise scx_tuna, as long as that is in charge.

    Args:
        service: What does it.
    """

    name = POLICY
    needs = frozenset({Need.SCHEDULER})

    def __init__(self, service: AdviceService) -> None:
        self.service = service

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return that it advises; nothing, where another scheduler is in charge."""
        if sensed.scheduler.name not in OURS:
            return []
        target = ChangeTarget("scheduler", scheduler=sensed.scheduler.name)
        intent = Intent(
            target,
            ADVICE,
            "none",
            f"migrate/{self.service.draws.version}",
            "it asks about tasks that fall asleep, and a model says where they go next",
            policy=f"{self.name}/{self.service.draws.version}",
        )
        held = standing.get(intent.key)
        return [held.intent if held is not None and held.intent.new == intent.new else intent]

    def take_rows(self) -> list[DecisionRow | OutcomeRow]:
        """Return draws and outcomes since the last call."""
        return self.service.draws.take_rows()
