"""Which models come with the package, and how is one named: by what it is called here, or by its file?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from schedtuna.errors import ModelError, nearest
from schedtuna.model import task_kind
from schedtuna.model.file import read_model
from schedtuna.model.model import DecisionModel
from schedtuna.resources import resource_path

# Name -> what it decides; benchmarks/shipped_models.py makes each.
SHIPPED: Mapping[str, str] = {
    "default": "which tasks deserve a CPU first: those whose next burst is short",
    "migration": "whether a task goes to another group of CPUs",
}
# Made by hand, not trained, and without a file: what scx_tuna decides by before there is a better one.
BY_HAND: Mapping[str, Callable[[], DecisionModel]] = {"short_tasks": task_kind.made_by_hand}


def shipped_path(name: str) -> Path:
    """Return the file of a model that comes along.

    Raises:
        UnavailableError: The installation lacks it.
    """
    return resource_path("model/shipped_models") / f"{name}.safetensors"


def find_model(name: str | Path) -> DecisionModel:
    """Return a model that comes with the package, or that of a file.

    Args:
        name: One of `SHIPPED` or `BY_HAND`, or a path; a path with a slash is never taken for a name.

    Raises:
        ModelError: There is none, or it is damaged.
        OSError: The file can't be read.
    """
    if isinstance(name, str) and name in SHIPPED:
        return _shipped(name)
    if isinstance(name, str) and name in BY_HAND:
        return BY_HAND[name]()
    path = Path(name)
    if not path.is_file():
        known = nearest(str(name), [*SHIPPED, *BY_HAND])
        hint = f"name a file that holds one, or one that comes along ({known})"
        raise ModelError(f"there is no model {str(name)!r}", hint=hint)
    return read_model(path)


@cache
def _shipped(name: str) -> DecisionModel:
    return read_model(shipped_path(name))
