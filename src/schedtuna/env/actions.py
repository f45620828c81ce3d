"""Which action is meant? Gymnasium and its users give a number, or an array that holds one."""

from __future__ import annotations

import operator
from typing import Any

from schedtuna.errors import UsageError


def nth_action(action: Any, nr_actions: int) -> int:
    """Return which of the actions 0 to `nr_actions` - 1 is meant.

    Raises:
        UsageError: None of them, or something else than a whole number.
    """
    try:
        number = operator.index(action)
    except TypeError:
        number = -1
    if not 0 <= number < nr_actions:
        raise UsageError(f"action {action!s}: expected 0 to {nr_actions - 1}")
    return number
