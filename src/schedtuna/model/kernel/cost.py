"""What does a decision cost inside the running kernel? Measured there, hot and after other data was read.

A scheduler decides cold: between two decisions a task runs, and its data takes the caches. So the figure to
choose and to refuse by is the cold one. Only data is made cold: the program's own code stays in the first
cache, as it does where decisions follow each other closely.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.kernel.programs import ProgramCost
from schedtuna.model.core import IntArray
from schedtuna.model.kernel.classes import class_of, row_words
from schedtuna.model.kernel.loaded import KernelPrograms, require_parity
from schedtuna.model.kernel.tables import pack
from schedtuna.model.model import DecisionModel

OTHER_MB = (2, 16)  # that are read between two decisions
_MEASURED = ("base", "decide", "explain", "time_cold", "time_nothing")
_NR_ROWS = 4096
_REPEATS = 25
_COLD_RUNS = {0: 2048, 2: 512, 16: 128}


@dataclass(frozen=True)
class CostSheet:
    """What a model costs in this kernel.

    Attributes:
        class_name: Of the program that runs it.
        program: What the kernel says of it, from values to logits.
        table_bytes: That it occupies in the kernel, whatever the model's size.
        used_bytes: Of them that this model's rows and leaves, or weights, are in.
        hot_ns: From values to logits, one decision after the other on different rows, without `base_ns`.
        base_ns: What the same program takes without deciding.
        cold_ns: Megabytes of other data that were read before -> median nanoseconds from looking the table up
            to the logits, without `clock_ns`. At 0 MB: as hot_ns, measured one by one.
        clock_ns: What measuring one decision by itself adds.
        kernel: The release that all of it was measured on.
    """

    class_name: str
    program: ProgramCost
    table_bytes: int
    used_bytes: int
    hot_ns: float
    base_ns: float
    cold_ns: dict[int, float]
    clock_ns: float
    kernel: str


def used_bytes(model: DecisionModel, table: bytes) -> int:
    """How much of a table the model is in: what a decision can touch, less what is never different."""
    words = row_words(model)
    if words:  # leaves begin with an offset, so that bytes that are not 0 would count too many
        leaves = model.core.arrays()["leaves"].nbytes
        return (sum(model.nr_bins) + 1) * 8 * words + leaves
    return int(np.count_nonzero(np.frombuffer(table, np.uint64)) * 8)


def rows_to_measure(model: DecisionModel, count: int = _NR_ROWS, seed: int = 1) -> IntArray:
    """Rows of values whose bins are spread evenly: int64 [count, inputs]."""
    random = np.random.default_rng(seed)
    columns = []
    for one in model.inputs:
        edges = one.bins.edges()
        columns.append(edges[random.integers(0, len(edges), count)])
    return np.stack(columns, axis=1)


def measure(
    model: DecisionModel, *, budget_ns: float | None = None, rows: IntArray | None = None
) -> CostSheet:
    """Load a model, check it and measure it.

    Args:
        model: What fits a class.
        budget_ns: Refuse a model whose decision takes longer after the most other data.
        rows: Of values that are decided on, at most 4,096; default: spread evenly over the bins.

    Raises:
        ModelError: It is too large, computed wrongly here, or above the budget.
        UnavailableError: No privilege, no BTF, or the kernel refuses.
    """
    geometry = class_of(model)
    table = pack(model, geometry)
    with KernelPrograms(geometry, _MEASURED, nr_rows=_NR_ROWS, other_bytes=max(OTHER_MB) << 20) as programs:
        programs.put(table)
        require_parity(programs, model)
        programs.give(rows_to_measure(model) if rows is None else np.resize(rows, (_NR_ROWS, rows.shape[1])))
        hot = {name: hot_ns(programs, name) for name in ("base", "decide")}
        times = {mb: cold_ns(programs, mb) for mb in (0, *OTHER_MB)}
        sheet = CostSheet(
            geometry.name,
            programs.cost(),
            len(table),
            used_bytes(model, table),
            max(hot["decide"] - hot["base"], 0),
            hot["base"],
            {mb: max(decided - nothing, 0) for mb, (decided, nothing) in times.items()},
            times[0][1],
            os.uname().release,
        )
    if budget_ns is not None and (cold := sheet.cold_ns[max(OTHER_MB)]) > budget_ns:
        raise ModelError(
            f"{model.name} takes {cold:.0f} ns for a decision after {max(OTHER_MB)} MB of other data "
            f"({sheet.hot_ns:.0f} ns hot), and {budget_ns:.0f} ns are allowed",
            hint="fewer trees or units, or 64 bins an input, cost less",
        )
    return sheet


def hot_ns(programs: KernelPrograms, program: str) -> float:
    """The median of some runs over all rows: nanoseconds per row, everything included."""
    return float(np.median([programs.run(program, programs.nr_rows) for _ in range(_REPEATS)]))


def cold_ns(programs: KernelPrograms, other_mb: int) -> tuple[float, float]:
    """Median nanoseconds of one decision and of nothing at all, each after so much other data was read."""
    count = _COLD_RUNS[other_mb]
    programs.set_number("nr_other_pages", (other_mb << 20) // 4096)
    medians = []
    for program in ("time_cold", "time_nothing"):
        programs.run(program, count)
        medians.append(float(np.median(programs.times_ns()[:count])))
    return medians[0], medians[1]
