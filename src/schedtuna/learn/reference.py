"""The reference sets: datasets of simulated loads, for people who can't record, with fixed parts.

They ship with the package. `tools/reference_sets.py` makes them of this recipe, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UsageError, nearest
from schedtuna.learn.building import build_dataset
from schedtuna.learn.dataset_form import Dataset, SplitBy
from schedtuna.learn.made_rows import BuildOptions
from schedtuna.learn.sources import RunSource
from schedtuna.resources import resource_path
from schedtuna.workload.families import FAMILIES

SUITE = "suite-v1"
_LOADS = (0.6, 0.9)
_MEMBERS = (1, 2)
_TOPOLOGY, _SECONDS = "2x2x1", 1.5
_SEED = 1


@dataclass(frozen=True)
class ReferenceSet:
    """How a reference set is made.

    Attributes:
        most_rows: Of all runs together.
        split: By what it is divided.
    """

    most_rows: int
    split: SplitBy


SETS = {
    "burst": ReferenceSet(16_000, "family"),
    "class": ReferenceSet(12_000, "run"),
    "next": ReferenceSet(40_000, "family"),
    "migrate": ReferenceSet(6_000, "family"),
}


def load_names() -> list[str]:
    """Return the loads: each family's members at each load."""
    return [
        f"{family}:load={load},member={member}"
        for family in FAMILIES
        for load in _LOADS
        for member in _MEMBERS
    ]


def reference_source(number: int) -> RunSource:
    """Simulate a load, by its number in `load_names()`, under `fair`."""
    from schedtuna.sim import simulate

    name = load_names()[number]
    trace = simulate(name, topology=_TOPOLOGY, duration_s=_SECONDS, seed=number + 1)
    return RunSource.of(trace, name)


def make_reference(
    task: str, sources: list[RunSource], on_progress: Callable[[int, int], object] = lambda _run, _nr: None
) -> Dataset:
    """Make a reference set of the loads.

    Raises:
        UsageError: There is none for that task.
    """
    recipe = _recipe(task)
    options = BuildOptions(
        task, split=recipe.split, seed=_SEED, most_rows=recipe.most_rows, on_progress=on_progress
    )
    return build_dataset(sources, options)


def reference_folder(name: str, task: str) -> Path:
    """Return where a shipped set is.

    Raises:
        UsageError: There is none of that name, or none for that task.
        UnavailableError: This installation lacks it.
    """
    if name != SUITE:
        raise UsageError(f"there is no reference set {name!r}: {nearest(name, [SUITE])}")
    _recipe(task)
    return resource_path(f"learn/data/{SUITE}/{task}")


def _recipe(task: str) -> ReferenceSet:
    if task not in SETS:
        raise UsageError(f"there is no reference set for {task!r}: {nearest(task, SETS)}")
    return SETS[task]
