"""Environments for reinforcement learning, one per file, and what their rewards are made of.

import gymnasium, schedtuna.env

env = gymnasium.make("schedtuna/PickNext-v0", workload="poisson", cpus=4)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from schedtuna.errors import MissingExtraError

try:
    from schedtuna.env.registration import register_environments
except ModuleNotFoundError as _error:
    if _error.name != "gymnasium":
        raise
    raise MissingExtraError("an environment", "rl") from _error

register_environments()

# Public name -> the module that defines it. Loaded on first use: some need the native module.
_PUBLIC = {
    "REWARD_TERMS": "schedtuna.env.terms",
    "CPUSchedulerEnv": "schedtuna.env.pick_next",
    "CPUSchedulerVecEnv": "schedtuna.env.sb3",
    "CPUSchedulerVectorEnv": "schedtuna.env.vector",
    "LiveSwapEnv": "schedtuna.env.live",
    "MigrateEnv": "schedtuna.env.migrate",
    "ParamsEnv": "schedtuna.env.params",
    "ParamsVecEnv": "schedtuna.env.sb3",
    "ParamsVectorEnv": "schedtuna.env.course_vector",
    "SliceEnv": "schedtuna.env.slices",
    "SliceVecEnv": "schedtuna.env.sb3",
    "SliceVectorEnv": "schedtuna.env.course_vector",
    "SwapEnv": "schedtuna.env.swap",
    "MigrateVecEnv": "schedtuna.env.sb3",
    "MigrateVectorEnv": "schedtuna.env.vector",
    "SwapVecEnv": "schedtuna.env.sb3",
    "SwapVectorEnv": "schedtuna.env.course_vector",
    "check_environment": "schedtuna.env.conformance",
}

if TYPE_CHECKING:
    from schedtuna.env.conformance import check_environment as check_environment
    from schedtuna.env.course_vector import ParamsVectorEnv as ParamsVectorEnv
    from schedtuna.env.course_vector import SliceVectorEnv as SliceVectorEnv
    from schedtuna.env.course_vector import SwapVectorEnv as SwapVectorEnv
    from schedtuna.env.live import LiveSwapEnv as LiveSwapEnv
    from schedtuna.env.migrate import MigrateEnv as MigrateEnv
    from schedtuna.env.params import ParamsEnv as ParamsEnv
    from schedtuna.env.pick_next import CPUSchedulerEnv as CPUSchedulerEnv
    from schedtuna.env.sb3 import CPUSchedulerVecEnv as CPUSchedulerVecEnv
    from schedtuna.env.sb3 import MigrateVecEnv as MigrateVecEnv
    from schedtuna.env.sb3 import ParamsVecEnv as ParamsVecEnv
    from schedtuna.env.sb3 import SliceVecEnv as SliceVecEnv
    from schedtuna.env.sb3 import SwapVecEnv as SwapVecEnv
    from schedtuna.env.slices import SliceEnv as SliceEnv
    from schedtuna.env.swap import SwapEnv as SwapEnv
    from schedtuna.env.terms import REWARD_TERMS as REWARD_TERMS
    from schedtuna.env.vector import CPUSchedulerVectorEnv as CPUSchedulerVectorEnv
    from schedtuna.env.vector import MigrateVectorEnv as MigrateVectorEnv

__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - the table holds strings


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'schedtuna.env' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
