"""What the machine did during a run that was not the run's doing, and whether it spoils the run."""

from __future__ import annotations

import os
from collections.abc import Mapping

from schedtuna.machine.procstat import ProcStat

# Covariate -> what it means, and the limit above which a run's numbers say more about the machine.
COVARIATES: dict[str, tuple[str, float]] = {
    "steal_fraction": ("of the CPUs' time went to other guests of this host", 0.10),
    "irq_fraction": ("of the CPUs' time went to interrupts", 0.50),
    "other_fraction": ("of the CPUs' time went to programs other than the workload", 0.50),
}
DEFAULT_LIMITS: dict[str, float] = {name: limit for name, (_, limit) in COVARIATES.items()}


def covariates(spent: ProcStat, cpu_time_s: float) -> dict[str, float]:
    """Return the covariates of a run.

    Args:
        spent: The CPUs' time during the run.
        cpu_time_s: The part of it that the workload used.
    """
    total = spent.total
    if total.total == 0:  # shorter than a clock tick
        return {}
    busy = total.user + total.nice + total.system
    ours = cpu_time_s * os.sysconf("SC_CLK_TCK")
    return {
        "steal_fraction": total.steal_fraction,
        "irq_fraction": total.irq_fraction,
        "other_fraction": total.fraction(round(max(0.0, busy - ours))),
    }


def invalid_reason(values: Mapping[str, float], limits: Mapping[str, float] = DEFAULT_LIMITS) -> str:
    """Say why a run should not count, or return an empty string."""
    for name, limit in limits.items():
        value = values.get(name, 0.0)
        if value > limit:
            return f"{name}: {value:.0%} {COVARIATES[name][0]} during the run (limit {limit:.0%})"
    return ""
