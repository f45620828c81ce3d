"""A small space and a noisy surface, shared by the samplers' tests."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from schedtuna.samplers.base import Sampler
from schedtuna.samplers.observation import Observation
from schedtuna.space import Assignment, ParameterSpace, ParameterSpec, ParameterType, ParameterValue

SPACE = ParameterSpace(
    specs=(
        ParameterSpec(
            name="slice_us",
            type=ParameterType.INTEGER,
            default=500,
            min_value=100,
            max_value=100_000,
            log=True,
        ),
        ParameterSpec(name="share", type=ParameterType.FLOAT, default=0.1, min_value=0, max_value=1),
        ParameterSpec(name="switch", type=ParameterType.BOOLEAN, default=False),
        ParameterSpec(name="mode", type=ParameterType.CATEGORICAL, default="a", choices=("a", "b", "c")),
    )
)
AnySampler = TypeVar("AnySampler", bound=Sampler)
BEST: dict[str, ParameterValue] = {"slice_us": 10_000, "share": 0.7, "switch": True, "mode": "b"}


def true_cost(values: Assignment) -> float:
    """A bowl with its bottom at slice_us=10000, share=0.7, switch on, mode b; the default costs 0."""
    return _bowl(values) - _bowl(SPACE.default())


def _bowl(values: Assignment) -> float:
    slice_us, share = values["slice_us"], values["share"]
    assert isinstance(slice_us, int) and isinstance(share, float)
    words = 0.1 * (not values["switch"]) + 0.1 * (values["mode"] != "b")
    return float(0.1 * np.log10(slice_us / 10_000) ** 2 + 0.5 * (share - 0.7) ** 2 + words)


def drive(sampler: AnySampler, runs: int, *, noise_sd: float = 0.0, seed: int = 0) -> AnySampler:
    """Run a search on the bowl."""
    rng = np.random.default_rng([seed, 99])
    for _ in range(runs):
        values = sampler.ask()
        sampler.tell(Observation(values, true_cost(values) + noise_sd * float(rng.standard_normal())))
    return sampler
