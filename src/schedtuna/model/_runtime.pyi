# What native/python/model/module.cpp binds.
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Row: TypeAlias = tuple[int, int, int, int, int, int, bool]
_Array: TypeAlias = npt.NDArray[Any]

class BadModelError(Exception): ...

class Runtime:
    nr_inputs: int
    nr_logits: int
    nr_accumulators: int

    def quantise(self, values: npt.NDArray[np.int64], bins: npt.NDArray[np.uint16]) -> None: ...
    def accumulate(self, bins: npt.NDArray[np.uint16], accumulators: npt.NDArray[np.int32]) -> None: ...
    def logits(self, bins: npt.NDArray[np.uint16], logits: npt.NDArray[np.int32]) -> None: ...

class Decider:
    nr_clamped: int
    nr_hits: int
    nr_misses: int

    def decide_rows(self, rows: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> None: ...
    def decide_one(self, cpu: float, idle: float, busy: float, src: float, dst: float, /) -> int: ...
    def measure(self, nr_rounds: int, /) -> tuple[float, float]: ...

def vectors() -> list[str]: ...
def trees(
    rows: Sequence[_Row],
    vectors: str,
    base: int,
    nr_leaves: _Array,
    feature: _Array,
    threshold: _Array,
    left: _Array,
    right: _Array,
    leaves: _Array,
    /,
) -> Runtime: ...
def oblivious(
    rows: Sequence[_Row],
    vectors: str,
    base: int,
    nr_levels: int,
    feature: _Array,
    threshold: _Array,
    leaves: _Array,
    /,
) -> Runtime: ...
def linear(rows: Sequence[_Row], weights: _Array, biases: _Array, /) -> Runtime: ...
def mlp(
    rows: Sequence[_Row],
    vectors: str,
    weights: Sequence[_Array],
    biases: Sequence[_Array],
    shifts: Sequence[int],
    /,
) -> Runtime: ...
def step(
    rows: Sequence[_Row], vectors: str, weights: Sequence[_Array], biases: Sequence[_Array], shift: int, /
) -> Runtime: ...
def decider(runtime: Runtime, columns: Sequence[tuple[int, bool]], cache_rows: int) -> Decider: ...
