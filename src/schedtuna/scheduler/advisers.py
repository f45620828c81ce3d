"""Who answers what scx_tuna asks: a model of migrations, or one of kinds of tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schedtuna.errors import ModelError
from schedtuna.model.migration import INPUTS as MIGRATION_INPUTS
from schedtuna.model.migration import LABELS as MIGRATION_LABELS
from schedtuna.scheduler.tuna_advice import (
    PERIOD_NS,
    AdviceAnswer,
    AdviceChannel,
    AdviceRequest,
    Adviser,
    answer_to,
    features_of,
)
from schedtuna.scheduler.tuna_deploy import LABELS as KIND_LABELS
from schedtuna.scheduler.tuna_model import FEATURES

if TYPE_CHECKING:
    from schedtuna.model.decider import MigrationDecider
    from schedtuna.model.model import DecisionModel

VALID_NS = 100_000_000


def adviser_of(model: DecisionModel, *, valid_ns: int = VALID_NS) -> Adviser:
    """Return what answers by a model, of whichever of the two sorts it is.

    Raises:
        ModelError: It is neither.
        UnavailableError: The native runtime is missing.
    """
    if model.labels == MIGRATION_LABELS:
        from schedtuna.model.decider import MigrationDecider

        return migration_adviser(MigrationDecider(model), valid_ns=valid_ns)
    if all(label in KIND_LABELS for label in model.labels):
        return kind_adviser(model, valid_ns=valid_ns)
    raise ModelError(
        f"{model.name} says {', '.join(model.labels)}, and scx_tuna asks where a task goes, or its kind",
        hint=f"labels are {', '.join(MIGRATION_LABELS)}; or of {', '.join(KIND_LABELS)}",
    )


def migration_adviser(decider: MigrationDecider, *, valid_ns: int = VALID_NS) -> Adviser:
    """Answers with the CPU that was offered where a task should migrate, else with the one that it ran on."""
    import numpy as np

    def advise(requests: Sequence[AdviceRequest]) -> list[AdviceAnswer]:
        rows = np.zeros((len(requests), 10), np.float32)
        for row, one in zip(rows, requests, strict=True):
            loads = one.src_load_permille / 1000, one.dst_load_permille / 1000
            row[:5] = one.cpu, one.nr_idle_cpus, one.nr_busy_cpus, *loads
        goes = decider.decide_batch(rows)
        return [
            answer_to(one, valid_ns=valid_ns, cpu=one.offered_cpu if go and one.offered_cpu >= 0 else one.cpu)
            for one, go in zip(requests, goes, strict=True)
        ]

    return advise


def kind_adviser(model: DecisionModel, *, valid_ns: int = VALID_NS) -> Adviser:
    """Answers with the kind that a model says the task's next burst is of.

    Raises:
        ModelError: It looks at something that requests do not tell.
        UnavailableError: The native runtime is missing.
    """
    from schedtuna.model.runtime import ModelRuntime

    known = {*FEATURES, *MIGRATION_INPUTS}
    if unknown := [one.name for one in model.inputs if one.name not in known]:
        raise ModelError(f"{model.name} looks at {', '.join(unknown)}, which scx_tuna does not tell")
    runtime = ModelRuntime(model)
    names = [one.name for one in model.inputs]

    def advise(requests: Sequence[AdviceRequest]) -> list[AdviceAnswer]:
        values = [[features_of(one)[name] for name in names] for one in requests]
        labels = runtime.decide(model.quantise(values))
        return [
            answer_to(one, valid_ns=valid_ns, kind=model.labels[int(label)])
            for one, label in zip(requests, labels, strict=True)
        ]

    return advise


def advise_scheduler(
    model: DecisionModel, *, for_s: float, period_ns: int = PERIOD_NS, valid_ns: int = VALID_NS
) -> dict[str, int]:
    """Answer the scx_tuna of this machine by a model; returns what became of requests and answers meanwhile.

    Args:
        model: See `adviser_of`.
        for_s: For how long, in seconds.
        period_ns: About one task, no request follows another earlier.
        valid_ns: How long an answer holds.

    Raises:
        ModelError, UnavailableError: As `adviser_of` and `AdviceChannel`.
    """
    advise = adviser_of(model, valid_ns=valid_ns)
    end = time.monotonic() + for_s
    with AdviceChannel(model_version=int(model.version, 16), period_ns=period_ns) as channel:
        before = channel.stats()
        channel.serve(advise, goes_on=lambda: time.monotonic() < end)
        return {name: number - before[name] for name, number in channel.stats().items()}
