"""Schedtuna makes a Linux machine schedule its owner's work better, and proves it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that defines it. Loaded on first use: `import schedtuna` stays fast.
_PUBLIC = {
    "Comparison": "schedtuna.experiment.comparison",
    "HostBackend": "schedtuna.backend.host",
    "MetricSpec": "schedtuna.workload.spec",
    "MigrationDecider": "schedtuna.model.decider",
    "MigrationFeatures": "schedtuna.model.decider",
    "OptimizerConfig": "schedtuna.tune.options",
    "ParameterSpace": "schedtuna.space",
    "ParameterSpec": "schedtuna.space",
    "ParameterType": "schedtuna.space",
    "RLSchedulerOptimizer": "schedtuna.api",
    "RecordOptions": "schedtuna.record.recorder",
    "Recorder": "schedtuna.record.recorder",
    "RunSpec": "schedtuna.workload.spec",
    "SchedtunaError": "schedtuna.errors",
    "SchedulerConfig": "schedtuna.scheduler.spec",
    "Side": "schedtuna.backend.base",
    "Trace": "schedtuna.trace.trace",
    "Trial": "schedtuna.backend.base",
    "TrialLog": "schedtuna.experiment.triallog",
    "Workload": "schedtuna.workload.spec",
    "compare": "schedtuna.experiment.compare",
    "fair": "schedtuna.scheduler.fair",
    "open_trace": "schedtuna.trace.store",
    "optimize_scheduler": "schedtuna.api",
    "record_tree": "schedtuna.record.tree",
    "register_scheduler": "schedtuna.api",
    "suite_workload": "schedtuna.workload.suite",
}

if TYPE_CHECKING:
    from schedtuna.api import RLSchedulerOptimizer as RLSchedulerOptimizer
    from schedtuna.api import optimize_scheduler as optimize_scheduler
    from schedtuna.api import register_scheduler as register_scheduler
    from schedtuna.backend.base import Side as Side
    from schedtuna.backend.base import Trial as Trial
    from schedtuna.backend.host import HostBackend as HostBackend
    from schedtuna.errors import SchedtunaError as SchedtunaError
    from schedtuna.experiment.compare import compare as compare
    from schedtuna.experiment.comparison import Comparison as Comparison
    from schedtuna.experiment.triallog import TrialLog as TrialLog
    from schedtuna.model.decider import MigrationDecider as MigrationDecider
    from schedtuna.model.decider import MigrationFeatures as MigrationFeatures
    from schedtuna.record.recorder import Recorder as Recorder
    from schedtuna.record.recorder import RecordOptions as RecordOptions
    from schedtuna.record.tree import record_tree as record_tree
    from schedtuna.scheduler.fair import fair as fair
    from schedtuna.scheduler.spec import SchedulerConfig as SchedulerConfig
    from schedtuna.space import ParameterSpace as ParameterSpace
    from schedtuna.space import ParameterSpec as ParameterSpec
    from schedtuna.space import ParameterType as ParameterType
    from schedtuna.trace.store import open_trace as open_trace
    from schedtuna.trace.trace import Trace as Trace
    from schedtuna.tune.options import OptimizerConfig as OptimizerConfig
    from schedtuna.workload.spec import MetricSpec as MetricSpec
    from schedtuna.workload.spec import RunSpec as RunSpec
    from schedtuna.workload.spec import Workload as Workload
    from schedtuna.workload.suite import suite_workload as suite_workload

__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604 - the table holds strings


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'schedtuna' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
