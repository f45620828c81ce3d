"""Who seeds the global generators that torch and SB3 draw from, and how many threads does torch use?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: these networks are tiny, and threads that spin disturb a loaded machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Lend the global generators of Python, numpy and torch, seeded; afterwards they are as before."""
    others = _read()
    _seed(seed)
    try:
        yield
    finally:
        _write(others)


class Randomness:
    """The states of Python's, numpy's and torch's global generators, kept for one sampler."""

    def __init__(self, seed: int) -> None:
        self._own: tuple[Any, Any, Any] | None = None
        self._seed = seed

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Put this one's states in place of the others', and back."""
        others = _read()
        if self._own is None:
            _seed(self._seed)
        else:
            _write(self._own)
        try:
            yield
        finally:
            self._own = _read()
            _write(others)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _read() -> tuple[Any, Any, Any]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _write(states: tuple[Any, Any, Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
