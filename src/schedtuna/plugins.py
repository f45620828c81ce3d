"""How are things of other packages found: by ``module:NAME``, or by a name in a group of entry points?

Samplers, parsers and whatever else may be somebody's own have a table of ours, by name; beside it
`installed()` gives what packages bring under short names, and `load()` what one of them, or a ``module:NAME``
that a user typed, stands for. Nothing of a package is imported before it is loaded.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from schedtuna.errors import SchedtunaError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin:
    """What a package brings under a name.

    Attributes:
        path: ``module:NAME``.
        package: Which package that is.
    """

    path: str
    package: str


def installed(group: str) -> dict[str, Plugin]:
    """Return what installed packages bring: the entry points of a group, such as ``schedtuna.samplers``."""
    from importlib.metadata import entry_points

    return {
        point.name: Plugin(point.value, point.dist.name if point.dist else point.module)
        for point in entry_points(group=group)
    }


def load_class(path: str, base: type, *, what: str, hint: str) -> type[Any]:
    """Return the subclass of a class of ours that ``module:Class`` names.

    Args:
        path: ``module:Class``.
        base: What it must inherit from.
        what: Of what the errors speak: ``sampler NAME``.
        hint: Where users read how to write one.

    Raises:
        UsageError: It can't be imported, is none, or has abstract methods left.
    """
    module, _, name = path.partition(":")
    found = _attribute(module, name, what)
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UsageError(f"{what}: {module} has no subclass of {base.__name__} of that name", hint=hint)
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(vars(found)["__abstractmethods__"]))
        raise UsageError(f"{what}: {name} lacks {lacking}", hint=hint)
    return found


def load(path: str, kind: type[T], *, what: str, hint: str) -> T:
    """Return the object of a class of ours that ``module:NAME`` names; see `load_class`.

    Raises:
        UsageError: It can't be imported, or is none.
    """
    module, _, name = path.partition(":")
    found = _attribute(module, name, what)
    if not isinstance(found, kind):
        named = "class" if kind is type else kind.__name__
        raise UsageError(f"{what}: {module} has no {named} of that name", hint=hint)
    return found


def make(module: str, name: str, file: str, *, what: str, hint: str) -> Any:
    """Make an object of somebody's own class, with the path of a file where one is named, else with nothing.

    Args:
        module: Where the class is.
        name: Of the class.
        file: The path; empty: none.
        what: Of what the errors speak: ``policy NAME``.
        hint: Where users read how to write one.

    Raises:
        UsageError: It can't be imported, is none, or can't be made so.
        SchedtunaError: What it raises of ours.
    """
    kind = load(f"{module}:{name}", type, what=what, hint=hint)
    try:
        return kind(Path(file)) if file else kind()
    except SchedtunaError:
        raise
    except Exception as error:  # whatever the class of somebody else raises
        given = f"the path {file}" if file else "no FILE"
        raise UsageError(
            f"{what} can't be made with {given}: {type(error).__name__}: {error}", hint=hint
        ) from error


def _attribute(module: str, name: str, what: str) -> Any:
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the module of somebody else raises
        missing = isinstance(error, ModuleNotFoundError) and module.startswith(error.name or module)
        if module.startswith("schedtuna.") and not missing:  # a fault of ours
            raise
        raise UsageError(
            f"{what}: {module} can't be imported: {type(error).__name__}: {error}",
            hint="install its package, or name the folder of the module in PYTHONPATH",
        ) from error
    return getattr(imported, name, None)
