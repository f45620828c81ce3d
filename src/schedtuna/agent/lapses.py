"""Whose proof holds no more, or again, of what is in force? Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schedtuna.agent.contract import Intent, Standing


@dataclass(frozen=True)
class ProofChange:
    """A change in force whose proof is another one now.

    Attributes:
        intent: As it is judged now.
        why: Why it is unproven; empty: its proof holds again.
    """

    intent: Intent
    why: str


@dataclass
class ProofWatch:
    """Remembers whether what is in force was proven."""

    _why: dict[str, str] = field(default_factory=dict)  # by `Intent.key`

    def see(self, standing: Mapping[str, Standing], wanted: Mapping[str, Intent]) -> list[ProofChange]:
        """Return what has changed since the last interval.

        Args:
            standing: What is in force, as it was judged when it was made.
            wanted: What is wanted, as it is judged now; by `Intent.key`.
        """
        changes, before, self._why = [], self._why, {}
        for key, held in standing.items():
            now = wanted.get(key, held.intent)
            self._why[key] = now.why_unproven
            if self._why[key] != before.get(key, held.intent.why_unproven):
                changes.append(ProofChange(now, self._why[key]))
        return changes
