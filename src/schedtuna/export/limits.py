"""How large may be what is exported? What is larger is refused with what it takes, or made smaller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from schedtuna.errors import ModelError, UsageError
from schedtuna.export.compiled import compiled_bytes
from schedtuna.export.targets import TARGETS
from schedtuna.model.core import BinArray
from schedtuna.model.kernel.classes import KernelClass, class_of
from schedtuna.model.kernel.cost import used_bytes
from schedtuna.model.kernel.loaded import KernelPrograms
from schedtuna.model.kernel.tables import pack
from schedtuna.model.model import DecisionModel
from schedtuna.model.nets import Net
from schedtuna.model.rows import checked, random_bins
from schedtuna.model.smaller import line_of, nr_parts, reduced

KERNEL = "bpf"
_NAME = "model"


@dataclass(frozen=True)
class ExportCost:
    """What a model takes in a form.

    Attributes:
        bytes: bpf: of the table, those that it is in; c, native: machine code and tables, compiled here for
            size; others: the file.
        instructions: bpf: that the kernel's verifier goes through; None: of other forms, or not asked for.
    """

    bytes: int
    instructions: int | None = None

    def __str__(self) -> str:
        told = f"{self.bytes} bytes"
        return told if self.instructions is None else f"{told}, {self.instructions} instructions verified"


@dataclass(frozen=True)
class ExportLimits:
    """What a model may take.

    Attributes:
        to: The form.
        small: Of c and native: walk trees.
        max_bytes, max_instructions: See `ExportCost`; None: any number.
    """

    to: str
    small: bool = False
    max_bytes: int | None = None
    max_instructions: int | None = None

    def __post_init__(self) -> None:
        if self.max_instructions is not None and self.to != KERNEL:
            raise UsageError("--max-instructions is of --to bpf", hint="--max-bytes is of all forms")

    def cost(self, model: DecisionModel) -> ExportCost:
        """Return what a model takes.

        Raises:
            ModelError: It is too large for the form itself.
            UnavailableError: Instructions are limited, and this process may not ask the kernel.
        """
        if self.to == KERNEL:
            geometry = class_of(model)
            asked = self.max_instructions is not None
            return ExportCost(
                used_bytes(model, pack(model, geometry)), _verified_insns(geometry) if asked else None
            )
        if self.to in ("c", "native"):
            return ExportCost(compiled_bytes(model, small=self.small))
        files = TARGETS[self.to].files(model, _NAME, self.small)
        return ExportCost(len(next(iter(files.values()))))

    def allow(self, cost: ExportCost) -> bool:
        """Whether that is within the limits."""
        within = self.max_bytes is None or cost.bytes <= self.max_bytes
        return within and (self.max_instructions is None or (cost.instructions or 0) <= self.max_instructions)

    def require(self, model: DecisionModel) -> ExportCost:
        """Refuse a model that takes more.

        Raises:
            ModelError: It does; the message has what it takes.
        """
        cost = self.cost(model)
        if not self.allow(cost):
            raise ModelError(
                f"{model.name} takes {cost}, and {self} are allowed",
                hint="--shrink leaves out what matters least, and says how many decisions that changes",
            )
        return cost

    def __str__(self) -> str:
        told = [] if self.max_bytes is None else [f"{self.max_bytes} bytes"]
        return ", ".join(
            [*told, *([] if self.max_instructions is None else [f"{self.max_instructions} instructions"])]
        )


@dataclass(frozen=True)
class Shrunk:
    """A model that was made smaller.

    Attributes:
        model: It, with rows of its own.
        how: What was done, for people.
        before, after: What it took, and takes; before None: it was too large for the form itself.
        changed: By label, of the rows that were decided so: how many there are, and how many are decided
            otherwise now.
    """

    model: DecisionModel
    how: str
    before: ExportCost | None
    after: ExportCost
    changed: dict[str, tuple[int, int]]

    @property
    def share_changed(self) -> float:
        """Of all rows."""
        return sum(one for _, one in self.changed.values()) / sum(count for count, _ in self.changed.values())


def shrink(model: DecisionModel, limits: ExportLimits, bins: BinArray, before: ExportCost | None) -> Shrunk:
    """Make a model as small as limits ask, with as few decisions changed as the ways tried here allow.

    Tried are the model with fewer trees or units, as many as there is room for, and a line in its place.

    Args:
        model: What takes more than it may.
        limits: What is allowed.
        bins: Rows by which what matters is told, uint16 [rows, inputs].
        before: What it takes; None: it is too large for the form itself.

    Raises:
        ModelError: Neither fits.
    """
    found = [
        (model_then, how, cost)
        for model_then, how in _candidates(model, limits, bins)
        if (cost := _within(limits, model_then)) is not None
    ]
    if not found:
        raise ModelError(
            f"{model.name} can't be made so small: {limits} are less than even a line takes",
            hint="allow more, or train on fewer inputs or with fewer bins",
        )
    decided = model.decide(bins)

    def nr_changed(one: DecisionModel) -> int:
        return int((one.decide(bins) != decided).sum())

    best, how, after = min(found, key=lambda one: nr_changed(one[0]))
    then = best.decide(bins)
    changed = {
        label: (int((decided == k).sum()), int(((decided == k) & (then != k)).sum()))
        for k, label in enumerate(model.labels)
    }
    named = replace(best, made_by=f"{model.made_by}; shrunk: {how}"[:200])
    return Shrunk(checked(named), how, before, after, changed)


def _candidates(
    model: DecisionModel, limits: ExportLimits, bins: BinArray
) -> Iterator[tuple[DecisionModel, str]]:
    """Each way's largest model that fits, as far as there is one."""
    whole = nr_parts(model.core)

    def fits(count: int) -> bool:
        try:
            return _within(limits, reduced(model, count, bins)) is not None
        except ModelError:
            return False  # what is left is not proven to fit its lanes

    if whole > 1 and (count := _most(whole - 1, fits)):
        is_net = isinstance(model.core, Net)
        part = "units, the most of a hidden layer" if is_net else "trees"
        yield reduced(model, count, bins), f"{count} of {whole} {part}"
    if model.core.family != "linear":
        yield line_of(model, bins), f"a line in place of its {model.core.family}"


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """The greatest number up to `most` that fits, where a smaller one fits, too; 0: none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _within(limits: ExportLimits, model: DecisionModel) -> ExportCost | None:
    """What a model takes, if that is allowed."""
    try:
        cost = limits.cost(checked(model))
    except ModelError:
        return None  # too large for the form itself
    return cost if limits.allow(cost) else None


def shrunk_card(shrunk: Shrunk, original: DecisionModel, limits: ExportLimits, rows_from: str) -> str:
    """Return what people have to know of a model that was made smaller, as Markdown."""
    before = "too large for this form" if shrunk.before is None else str(shrunk.before)
    nr_rows = sum(count for count, _ in shrunk.changed.values())
    lines = [
        f"# {shrunk.model.name}, version {shrunk.model.version}: made smaller",
        "",
        f"{shrunk.how}, of version {original.version}. --to {limits.to}: {shrunk.after}, where {limits} are",
        f"allowed; before: {before}.",
        "",
        f"Decisions changed, of {nr_rows} rows ({rows_from}): {100 * shrunk.share_changed:.2f}%.",
        "",
        "| decided before | rows | otherwise now |",
        "|---|---|---|",
        *(f"| {label} | {count} | {changed} |" for label, (count, changed) in shrunk.changed.items()),
        "",
        "What a changed decision costs these rows do not tell: judge it like any model, on rows of its own.",
        "",
    ]
    return "\n".join(lines)


def even_rows(model: DecisionModel, count: int = 4096) -> BinArray:
    """Return rows whose bins are drawn evenly, the same for the same model: uint16 [count, inputs]."""
    return random_bins(model.nr_bins, count, np.random.default_rng(int(model.version, 16)))


@cache
def _verified_insns(geometry: KernelClass) -> int:
    with KernelPrograms(geometry, ("decide",)) as programs:
        return programs.cost().verified_insns
