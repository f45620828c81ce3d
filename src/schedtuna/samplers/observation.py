"""What one run told: the data that samplers, rankings and models share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schedtuna.space import ParameterValue


@dataclass(frozen=True)
class Observation:
    """What one run of one assignment cost.

    Attributes:
        values: The complete assignment that ran: the one that is credited.
        cost: To be minimised; the log of the metric (its negative where more is better) over the
            default's, so 0 is the default and -0.05 is about 5% better. None: failed or timed out.
        duration_s: Wall time of the run.
        context: Numbers about its machine and workload, for samplers that learn across them.
    """

    values: dict[str, ParameterValue]
    cost: float | None
    duration_s: float = 0.0
    context: Mapping[str, float] = field(default_factory=dict)
