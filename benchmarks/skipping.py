"""How does a benchmark end where this machine can't run it? Well, with one JSON object that says why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from schedtuna.errors import UnavailableError


@contextmanager
def skipping(benchmark: str) -> Iterator[None]:
    """Print why a benchmark is skipped, and what helps, in place of what this machine has not."""
    try:
        yield
    except UnavailableError as error:
        print(json.dumps({"benchmark": benchmark, "skipped": str(error), "hint": error.hint}))
