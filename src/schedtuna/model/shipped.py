"""Which models come with the package, and how is one named: by what it is called here, or by its file?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from schedtuna.errors import ModelError, nearest
from schedtuna.model.file import read_model
from schedtuna.model.migration import made_by_hand
from schedtuna.model.model import DecisionModel

SHIPPED: dict[str, Callable[[], DecisionModel]] = {"migration": made_by_hand}


def find_model(name: str | Path) -> DecisionModel:
    """Return a model that comes with the package, or that of a file.

    Args:
        name: One of `SHIPPED`, or a path; a path with a slash is never taken for a name.

    Raises:
        ModelError: There is none, or it is damaged.
        OSError: The file can't be read.
    """
    if isinstance(name, str) and name in SHIPPED:
        return SHIPPED[name]()
    path = Path(name)
    if not path.is_file():
        hint = f"name a file that holds one, or one that comes along ({nearest(str(name), SHIPPED)})"
        raise ModelError(f"there is no model {str(name)!r}", hint=hint)
    return read_model(path)
