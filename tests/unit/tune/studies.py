"""Finished studies on surfaces whose truth is known, as folders to read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.tune.surface import SCHEDULER, SurfaceBackend, smooth_gain

from schedtuna.experiment.triallog import TrialLog
from schedtuna.history.plan import StudyPlan
from schedtuna.history.results import write_results
from schedtuna.tune.study import Study
from schedtuna.workload.spec import Direction, MetricSpec, Workload

WALL = MetricSpec(name="wall_time_s", direction=Direction.MIN)


def make_study(folder: Path, truth: Any = smooth_gain, *, noise: float = 0.02, **changes: Any) -> Path:
    """Run a study on a surface and write its files."""
    content: dict[str, Any] = {
        "scheduler": SCHEDULER,
        "workload": Workload(argv=("load",)),
        "metrics": (WALL,),
        "sampler": "random",
        "episodes": 40,
        "seed": 7,
    }
    plan = StudyPlan.model_validate(content | changes)
    with TrialLog(folder, {**plan.identity(), "seed": str(plan.seed)}) as log:
        write_results(Study(plan, SurfaceBackend(truth, noise=noise), log).run())
    return folder
