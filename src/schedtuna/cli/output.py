"""How commands speak: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_json(value: Any) -> None:
    """Print one line of JSON to stdout, for programs."""
    print(json.dumps(value, allow_nan=False, default=str), flush=True)


def print_error(message: str, *, hint: str | None = None) -> None:
    """Print an error, and what to do next, to stderr."""
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
