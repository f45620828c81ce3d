"""What an agent has done since it started, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class AgentCounts:
    """What an agent has done since it started."""

    intervals: int = 0
    made: int = 0
    undone: int = 0
    refused: int = 0
    advised: int = 0
    failed: int = 0
    yielded: int = 0
    rollbacks: int = 0
    cpu_s: float = 0.0
