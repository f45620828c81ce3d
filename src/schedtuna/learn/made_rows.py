"""What makers of rows take and give: how a dataset is built, and the rows that were made of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schedtuna.learn.dataset_form import SplitBy
from schedtuna.learn.sources import RunSource
from schedtuna.learn.task_rows import RunRows
from schedtuna.trace.labels import LabelRule

MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class BuildOptions:
    """How a dataset is built.

    Attributes:
        task: A name of LEARNING_TASKS.
        split: By what rows are divided; None: by family where there are three, else by run, else by time.
        seed: Of all that is drawn.
        most_rows: Rows that are kept at most.
        labels: Rules that label tasks, for `class`.
        on_progress: Told the run's number and how many events of it were read.
    """

    task: str
    split: SplitBy | None = None
    seed: int = 1
    most_rows: int = MOST_ROWS
    labels: Sequence[LabelRule] = ()
    on_progress: Callable[[int, int], object] = lambda _run, _events: None


@dataclass
class MadeRows:
    """What a maker gave of all runs.

    Attributes:
        features: Names, in order; a run that lacks one has it left out of all.
        label: What a label is.
        runs: Rows of each run, and whose they are.
        classes: Names of labels.
        extras: Columns besides: name to meaning.
        settings: What they were made with.
        notes: What whoever uses them must know.
    """

    features: Sequence[str]
    label: str
    runs: list[tuple[RunSource, RunRows]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    extras: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
