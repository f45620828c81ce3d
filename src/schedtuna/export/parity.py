"""Does everything that can run a model here compute what the reference does? One row for each executor."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from schedtuna.errors import ModelError, UnavailableError
from schedtuna.export.compiled import check_compiled, find_compiler
from schedtuna.model.model import DecisionModel

Outcome = Literal["same", "differs", "not here"]


@dataclass(frozen=True)
class Parity:
    """How an executor compared with the rows of a model's file.

    Attributes:
        executor: Which.
        outcome: "not here" where it could not run.
        told: More of it: what ran, which row differs, what is missing.
        hint: What would help where it could not run.
    """

    executor: str
    outcome: Outcome
    told: str
    hint: str | None = None


def _reference(model: DecisionModel) -> tuple[bool, str]:
    rows = model.rows
    assert rows is not None
    same = np.array_equal(model.quantise(rows.values), rows.bins)
    return same and np.array_equal(model.accumulate(rows.bins), rows.accumulators), "numpy"


def _runtime(model: DecisionModel) -> tuple[bool, str]:
    from schedtuna.model.runtime import ModelRuntime

    try:
        ModelRuntime(model)
    except ModelError as error:
        return False, str(error)
    return True, "C++"


def _compiled(model: DecisionModel) -> tuple[bool, str]:
    row = check_compiled(model)
    return row == 0, find_compiler() if row == 0 else f"row {row - 1}"


def _kernel(model: DecisionModel) -> tuple[bool, str]:
    from schedtuna.model.kernel.classes import class_of
    from schedtuna.model.kernel.loaded import KernelPrograms, difference
    from schedtuna.model.kernel.tables import pack

    try:
        geometry = class_of(model)
    except ModelError as error:
        raise UnavailableError(str(error), hint=error.hint) from error
    with KernelPrograms(geometry) as programs:
        programs.put(pack(model, geometry))
        wrong = difference(programs, model)
    return wrong is None, wrong or f"Linux {os.uname().release}, class {geometry.name}"


EXECUTORS: dict[str, Callable[[DecisionModel], tuple[bool, str]]] = {
    "reference": _reference,
    "native runtime": _runtime,
    "generated C": _compiled,
    "kernel": _kernel,
}


def check_executors(model: DecisionModel) -> list[Parity]:
    """Run a model's own rows through every executor: bins, every accumulator, logits, decisions."""
    found = []
    for name, run in EXECUTORS.items():
        try:
            is_same, told = run(model)
        except UnavailableError as error:
            found.append(Parity(name, "not here", str(error), error.hint))
        else:
            found.append(Parity(name, "same" if is_same else "differs", told))
    return found
