"""Which fixed BPF programs are there, and which of them takes a model?

A program is written for a family and a geometry; the model is data in its table. The rows of a table are in
bpf/model/*.bpf.h, the geometries in bpf/model/model_*.bpf.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.model.core import MOST_LOGITS
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import Mlp, StepNet
from schedtuna.model.trees import BoxTrees, ObliviousTrees

LAYOUT = 1  # include/model.h: MODEL_LAYOUT
MOST_KERNEL_INPUTS = 16
TRACE_WORDS = 192
MLP_UNITS = 64
MLP_WORDS = 24

Fields = list[tuple[str, Any] | tuple[str, Any, tuple[int, ...]]]

BINS_FIELDS: Fields = [
    ("lo", "<i8"),
    ("hi", "<i8"),
    ("multiplier", "<u8"),
    ("base", "<u4"),
    ("last", "<u2"),
    ("shift", "<u2"),
]
HEAD_FIELDS: Fields = [
    ("layout", "<u2"),
    ("zero", "<u2"),
    ("nr_inputs", "<u4"),
    ("version", "<u8"),
    ("bins", BINS_FIELDS, (MOST_KERNEL_INPUTS,)),
]
ROWS_FIELDS: Fields = [("starts", "<u4", (MOST_KERNEL_INPUTS,)), ("bytes", "<u8")]
TRACE_DTYPE = np.dtype(
    [
        ("bins", "<u8", (MOST_KERNEL_INPUTS,)),
        ("words", "<u8", (TRACE_WORDS,)),
        ("logits", "<i8", (MOST_LOGITS,)),
    ]
)


@dataclass(frozen=True)
class KernelClass:
    """A geometry that one program was compiled for.

    Attributes:
        name: Of the object, native/model_NAME.bpf.o.
        family: Of the models that it takes.
        inputs: At most so many.
        logits: At most so many.
        words: trees, oblivious: at most so many of 64 bits in a row.
        row_bytes: trees, oblivious, step: where rows may start.
        levels: oblivious: at most so many.
        units: mlp, step: at most so many in a hidden layer.
    """

    name: str
    family: str
    inputs: int
    logits: int = 1
    words: int = 0
    row_bytes: int = 0
    levels: int = 0
    units: int = 0

    @property
    def object_name(self) -> str:
        """What `BpfObject` opens."""
        return f"model_{self.name}"

    @property
    def struct(self) -> str:
        """The table's name in C."""
        return f"model_{self.family}"

    @property
    def table_dtype(self) -> np.dtype[Any]:
        """The table, as C has it."""
        return np.dtype([("head", HEAD_FIELDS), *_FIELDS[self.family](self)])

    def defines(self) -> dict[str, int | str]:
        """The geometry as C has it, without the family's name before: see bpf/model/model_*.bpf.c."""
        told = {
            "INPUTS": self.inputs,
            "WORDS": self.words,
            "BYTES": self.row_bytes,
            "DEPTH": self.levels,
            "UNITS": self.units if self.family == "step" else 0,
            "OUTPUTS": self.logits // 2 if self.family in ("mlp", "step") else 0,
        }
        found: dict[str, int | str] = {name: value for name, value in told.items() if value}
        return found | ({"WHOLE": ""} if self.name == "mlp" else {})

    def lacks(self, model: DecisionModel) -> list[str]:
        """What of a model is too much for it; nothing where it fits."""
        needs = needed(model)
        return [
            f"{number} {what} of at most {has}"
            for what, number in needs.items()
            if number > (has := getattr(self, _ATTRIBUTES[what]))
        ]


_ATTRIBUTES = {
    "inputs": "inputs",
    "logits": "logits",
    "words a row": "words",
    "bytes of rows": "row_bytes",
    "levels": "levels",
    "units": "units",
}


def _tree_fields(geometry: KernelClass) -> Fields:
    return [
        ("rows", ROWS_FIELDS),
        ("nr_groups", "<u4"),
        ("reserved", "<u4"),
        ("start", "<u8"),
        ("leaves", "<u2", (geometry.words, 2, 32)),
        ("masks", "<u8", (geometry.row_bytes // 8 + geometry.words,)),
    ]


def _oblivious_fields(geometry: KernelClass) -> Fields:
    return [
        ("rows", ROWS_FIELDS),
        ("nr_groups", "<u4"),
        ("reserved", "<u4"),
        ("start", "<u8"),
        ("leaves", "<u2", (geometry.words, 8, 1 << geometry.levels)),
        ("answers", "<u8", (geometry.row_bytes // 8 + geometry.words,)),
    ]


def _step_fields(geometry: KernelClass) -> Fields:
    words, rows, outputs = geometry.units // 4, geometry.units // 8, geometry.logits // 2
    return [
        ("rows", ROWS_FIELDS),
        ("starts3", "<u8", (outputs,)),
        ("starts", "<u8", (2, words)),
        ("third", "<u8", (rows, 256, outputs)),
        ("second", "<u8", (rows, 256, words)),
        ("first", "<u8", (geometry.row_bytes // 8 + words,)),
    ]


def _mlp_fields(geometry: KernelClass) -> Fields:
    outputs = geometry.logits // 2
    return [
        ("nr_pairs", "<u4"),
        ("nr_blocks", "<u4"),
        ("nr_fours", "<u4"),
        ("nr_rounds", "<u4"),
        ("first_shift", "<u4"),
        ("over_shift", "<u4"),
        ("over", "<u8"),
        ("first_mask", "<u8"),
        ("second_shift", "<u8"),
        ("starts1", "<u8", (MLP_WORDS,)),
        ("weights1", "<u8", (MLP_WORDS // 4, MOST_KERNEL_INPUTS, 4)),
        ("starts2", "<u8", (MLP_UNITS,)),
        ("weights2", "<u8", (MLP_UNITS // 4, MLP_WORDS, 4)),
        ("weights3", "<u8", (MLP_UNITS, outputs)),
        ("starts3", "<u8", (outputs,)),
    ]


def _linear_fields(_geometry: KernelClass) -> Fields:
    return [("starts", "<i8", (MOST_LOGITS,)), ("weights", "<i8", (MOST_KERNEL_INPUTS, MOST_LOGITS))]


_FIELDS: dict[str, Callable[[KernelClass], Fields]] = {
    "trees": _tree_fields,
    "oblivious": _oblivious_fields,
    "step": _step_fields,
    "mlp": _mlp_fields,
    "linear": _linear_fields,
}

# Of each family the quickest and smallest first: a model takes the first that it fits.
CLASSES: tuple[KernelClass, ...] = (
    KernelClass("trees_small", "trees", 10, words=50, row_bytes=1 << 18),
    KernelClass("trees", "trees", 10, words=50, row_bytes=1 << 20),
    KernelClass("trees_large", "trees", 16, words=125, row_bytes=1 << 22),
    KernelClass("oblivious", "oblivious", 10, words=14, row_bytes=1 << 19, levels=6),
    KernelClass("oblivious_large", "oblivious", 16, words=28, row_bytes=1 << 20, levels=8),
    KernelClass("mlp", "mlp", 10, logits=2, units=64),
    KernelClass("mlp_small", "mlp", 16, logits=4, units=64),
    KernelClass("step", "step", 10, logits=2, row_bytes=1 << 19, units=64),
    KernelClass("step_large", "step", 16, logits=4, row_bytes=1 << 20, units=128),
    KernelClass("linear", "linear", 16, logits=4),
)


def row_words(model: DecisionModel) -> int:
    """How many words of 64 bits a row of trees has: two box masks each, or eight indices."""
    if isinstance(model.core, BoxTrees):
        return -(-model.core.nr_trees // 2)
    if isinstance(model.core, ObliviousTrees):
        return -(-model.core.nr_trees // 8)
    return 0


def needed(model: DecisionModel) -> Mapping[str, int]:
    """What a table must have room for."""
    core, needs = model.core, {"inputs": len(model.inputs), "logits": model.core.nr_logits}
    if isinstance(core, BoxTrees | ObliviousTrees):
        needs["words a row"] = row_words(model)
        needs["bytes of rows"] = (sum(model.nr_bins) + 1) * 8 * row_words(model)
    if isinstance(core, ObliviousTrees):
        needs["levels"] = core.nr_levels
    if isinstance(core, Mlp | StepNet):
        needs["units"] = max(len(weights) for weights in core.weights[:-1])
    return needs


def class_of(model: DecisionModel) -> KernelClass:
    """The class that a model is loaded in.

    Raises:
        ModelError: It is too large for all of its family; the message has what it needs.
    """
    own = [geometry for geometry in CLASSES if geometry.family == model.core.family]
    if isinstance(model.core, Mlp) and min(map(len, model.core.weights[:-1])) < MLP_UNITS:
        own = [geometry for geometry in own if geometry.name == "mlp_small"]
    for geometry in own:
        if not geometry.lacks(model):
            return geometry
    raise ModelError(
        f"{model.name} is too large for the kernel: {', '.join(own[-1].lacks(model))}",
        hint="fewer trees, units, inputs or bins make it smaller; in user space it runs as it is",
    )
