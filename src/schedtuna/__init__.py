"""Schedtuna makes a Linux machine schedule its owner's work better, and proves it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that defines it. Loaded on first use: `import schedtuna` stays fast.
_PUBLIC = {
    "ParameterSpace": "schedtuna.space",
    "ParameterSpec": "schedtuna.space",
    "ParameterType": "schedtuna.space",
    "SchedtunaError": "schedtuna.errors",
}

if TYPE_CHECKING:
    from schedtuna.errors import SchedtunaError as SchedtunaError
    from schedtuna.space import ParameterSpace as ParameterSpace
    from schedtuna.space import ParameterSpec as ParameterSpec
    from schedtuna.space import ParameterType as ParameterType

__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604 - the table holds strings


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'schedtuna' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
