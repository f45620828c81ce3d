"""A backend with a known optimum: the study's loop can be checked against the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from schedtuna.backend.base import Trial, Validity
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.spec import Workload

SCHEDULER = SchedulerConfig(
    name="fair",
    parameters={
        "slice_us": ParameterSpec(
            name="slice_us",
            type=ParameterType.INTEGER,
            default=3000,
            min_value=100,
            max_value=100_000,
            log=True,
        ),
        "policy": ParameterSpec(
            name="policy", type=ParameterType.CATEGORICAL, default="other", choices=("other", "batch", "idle")
        ),
    },
)


def smooth_gain(values: dict) -> float:
    """True log ratio to the default: -20% at slice_us=300, no other effect."""
    distance = math.log(values["slice_us"] / 300) / math.log(10)
    return -0.22 * math.exp(-(distance**2) / 0.5) + 0.22 * math.exp(-1 / 0.5)


def no_gain(values: dict) -> float:
    """Nothing matters."""
    return 0.0


class SurfaceBackend:
    """Answers with exp(truth + noise); remembers every run; can be told to fail or to die."""

    name = "surface"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        truth: Callable[[dict], float],
        *,
        noise: float = 0.02,
        fails: Callable[[dict], bool] = lambda values: False,
        dies_at: int | None = None,
    ) -> None:
        self.truth = truth
        self.noise = noise
        self.fails = fails
        self.dies_at = dies_at
        self.runs: list[tuple[dict, int]] = []
        self.timeouts_s: list[float] = []

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        if self.dies_at is not None and len(self.runs) == self.dies_at:
            raise KeyboardInterrupt
        self.runs.append((scheduler.values, seed))
        self.timeouts_s.append(workload.timeout_s)
        complete = scheduler.space.validate_assignment(scheduler.values)
        if self.fails(complete):
            return Trial(
                scheduler="fair",
                values=scheduler.values,
                seed=seed,
                validity=Validity.FAILED,
                reason="exit code 1",
                output_tail="boom",
                duration_s=1.0,
            )
        rng = np.random.default_rng([seed, len(self.runs)])
        value = math.exp(self.truth(complete) + rng.normal(0, self.noise))
        return Trial(
            scheduler="fair",
            values=scheduler.values,
            seed=seed,
            metrics={"wall_time_s": value},
            duration_s=1.0,
        )
