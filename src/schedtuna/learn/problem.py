"""What is there to be learnt from a dataset? Rows of bins, what each is to be told as, and who judges it.

A score is a real number for each row. Its sign decides, and the greater one deserves it more: of a burst it
is how many octaves shorter than the threshold, of a class or a choice how much speaks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schedtuna.errors import DatasetError, UsageError, nearest
from schedtuna.learn.dataset_form import TIE, UNDECIDED, Dataset
from schedtuna.model.bins import Bins
from schedtuna.model.core import BinArray
from schedtuna.model.model import DecisionModel, ModelInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

PARTS = ("train", "validation", "test")
MOST_BINS = 256  # a net's inputs are bytes
BURST_LABELS = ("long", "short")
CHOICE_LABELS = ("wait", "run")
_LEAST_ROWS = 20  # of a part
_UNTOLD = (UNDECIDED, TIE)  # classes that say: nothing is known


@dataclass(frozen=True)
class LearningRows:
    """Some rows.

    Attributes:
        bins: uint16 [rows, inputs].
        target: float64 [rows]: the score that would be right; of a class and a choice 0 or 1.
        truth: bool [rows]: whether the score is to be greater than 0.
        label: int64 [rows]: ns of a burst, number of a class, 1 for who was chosen.
        weight: float64 [rows].
        group: int64 [rows]: the run that it is from.
        choice: int64 [rows]: who competes with whom; else -1.
    """

    bins: BinArray
    target: Floats
    truth: Flags
    label: Ints
    weight: Floats
    group: Ints
    choice: Ints

    def __len__(self) -> int:
        return len(self.bins)

    def where(self, which: npt.NDArray[np.bool_] | Ints) -> LearningRows:
        """Return some of them, by a mask or by their numbers."""
        return LearningRows(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def columns(self, which: Sequence[int]) -> LearningRows:
        """Return them with some of their inputs."""
        return replace(self, bins=self.bins[:, list(which)])


@dataclass(frozen=True)
class LearningProblem:
    """What is to be learnt.

    Attributes:
        task: A name of `LEARNING_TASKS`.
        kind: `number`, `class` or `choice`.
        inputs: What is looked at.
        labels: Two: what a score of at most 0 means, and of more.
        threshold_ns: Of bursts: where both sides meet; else 0.
        parts: `train`, `validation` and `test`.
        notes: What was left out, and why.
    """

    task: str
    kind: str
    inputs: tuple[ModelInput, ...]
    labels: tuple[str, str]
    threshold_ns: int
    parts: dict[str, LearningRows]
    notes: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the inputs."""
        return tuple(one.name for one in self.inputs)

    @property
    def train(self) -> LearningRows:
        """What is learnt from."""
        return self.parts["train"]

    @property
    def validation(self) -> LearningRows:
        """What ends a training, and calibrates it."""
        return self.parts["validation"]

    @property
    def test(self) -> LearningRows:
        """What judges, once."""
        return self.parts["test"]

    def with_inputs(self, which: Sequence[int]) -> LearningProblem:
        """Return the same with some of its inputs."""
        parts = {name: rows.columns(which) for name, rows in self.parts.items()}
        return replace(self, inputs=tuple(self.inputs[i] for i in which), parts=parts)


def problems_of(
    dataset: Dataset,
    *,
    features: Sequence[str] = (),
    positive: str = "",
    like: DecisionModel | None = None,
    threshold_ns: int = 0,
) -> list[LearningProblem]:
    """Return what is to be learnt from a dataset: one problem, of more than two classes one for each.

    Args:
        dataset: The rows.
        features: Which features may be looked at; none: all that differ in the training part.
        positive: Of classes: tell only this one, from the others.
        like: A model whose inputs and bins are taken, and whose labels have to be there.
        threshold_ns: Of bursts: where both sides meet; 0: at the training rows' median.

    Raises:
        UsageError: There is no such feature or class.
        DatasetError: A part has too few rows, or only one class, or the model is of something else.
    """
    kind = dataset.task.label
    keep, notes = usable_rows(dataset)
    rows = dataset.where(keep)
    inputs, told = _inputs(rows, features) if like is None else (_inputs_of(rows, like), [])
    threshold_ns = threshold_ns if kind == "number" else 0
    if kind == "number":
        threshold_ns = threshold_ns or max(int(np.median(rows.part("train").labels())), 1)
        target = np.log2(threshold_ns) - np.log2(np.maximum(rows.labels(), 1))
        made = [_problem(rows, inputs, BURST_LABELS, target)]
    elif kind == "choice":
        made = [_problem(rows, inputs, CHOICE_LABELS, rows.labels().astype(float))]
    else:
        made = _of_classes(rows, inputs, positive)
    if like is not None and like.labels not in [one.labels for one in made]:
        known = "; ".join(" or ".join(one.labels) for one in made)
        raise DatasetError(f"the model decides {' or '.join(like.labels)}, and the dataset tells {known}")
    return [replace(one, threshold_ns=threshold_ns, notes=(*notes, *told)) for one in made]


def _of_classes(rows: Dataset, inputs: tuple[ModelInput, ...], positive: str) -> list[LearningProblem]:
    names, labels = rows.card.classes, rows.labels()
    there = [name for number, name in enumerate(names) if (labels == number).any()]
    if positive and positive not in there:
        raise UsageError(f"no row has the class {positive!r}: {nearest(positive, there)}")
    if len(there) < 2:
        raise DatasetError(
            f"all rows have the same class: {', '.join(there) or 'none'}", hint="add traces with others"
        )
    if len(there) == 2:
        pair = (there[0], there[1])
        if positive and positive != pair[1]:
            pair = (pair[1], pair[0])
        told = [pair]
    else:
        told = [("other", name) for name in there if positive in ("", name)]
    return [_problem(rows, inputs, pair, (labels == names.index(pair[1])).astype(float)) for pair in told]


def usable_rows(dataset: Dataset) -> tuple[Flags, list[str]]:
    """Which rows say something: a mask, and what the others are."""
    keep = np.ones(len(dataset), bool)
    notes: list[str] = []
    if dataset.task.label == "class":
        labels = dataset.labels()
        for name in _UNTOLD:
            if name in dataset.card.classes:
                untold = labels == dataset.card.classes.index(name)
                keep &= ~untold
                notes.append(
                    f"{untold.mean():.1%} of all rows are {name}: not learnt from, and not judged by"
                )
    if dataset.task.label == "choice":
        choice = choices_of(dataset)
        sizes, chosen = np.bincount(choice), np.bincount(choice, dataset.labels())
        several = sizes >= 2
        keep = several[choice] & (chosen == 1)[choice]
        notes.append(
            f"{several.sum():,} of {len(sizes):,} decisions in the rows ({several.mean():.1%}) had two "
            "candidates or more: only they count"
        )
    return keep, notes


def choices_of(dataset: Dataset) -> Ints:
    """Return a number for each candidate set of all runs: int64 [rows]."""
    pairs = dataset.column("group").astype(np.int64) << 32 | dataset.column("candidate_set").astype(np.int64)
    return np.asarray(np.unique(pairs, return_inverse=True)[1], np.int64)


def narrowed(bins: Bins) -> Bins:
    """Return bins over the same range of which there are at most 256."""
    if bins.nr_bins <= MOST_BINS:
        return bins
    if bins.kind == "linear":
        return Bins("linear", bins.lo, bins.hi, MOST_BINS)
    per_octave = bins.per_octave
    while per_octave > 1:
        per_octave //= 2
        probe = Bins("log2", bins.lo, bins.hi, 2, per_octave)
        count = probe.most_bins()
        if count <= MOST_BINS:
            return Bins("log2", bins.lo, bins.hi, count, per_octave)
    return Bins("log2", bins.lo, bins.hi, min(MOST_BINS, bins.nr_bins), 1)


def _inputs(rows: Dataset, features: Sequence[str]) -> tuple[tuple[ModelInput, ...], list[str]]:
    known = rows.feature_names
    for name in features:
        if name not in known:
            raise UsageError(f"the dataset has no feature {name!r}: {nearest(name, known)}")
    wanted = list(features) or known
    train = rows.part("train")
    columns: list[str] = []
    constant: list[str] = []
    if not len(train):
        raise DatasetError("the training part has no rows", hint="build the dataset with another --split")
    if len(train) < _LEAST_ROWS:
        raise DatasetError(
            f"the training part has {len(train)} rows that say something, expected {_LEAST_ROWS} at least",
            hint="build the dataset of more traces",
        )
    for name in wanted:
        values = train.rows[name]
        (constant if values.min() == values.max() else columns).append(name)
    if not columns:
        raise DatasetError("no feature differs between the training rows: nothing can be learnt from them")
    notes = [f"the same in all training rows, so not looked at: {', '.join(constant)}"] if constant else []
    bins = dict(zip(known, rows.feature_bins, strict=True))
    inputs = tuple(ModelInput(name, narrowed(bins[name])) for name in columns)
    return inputs, notes


def _inputs_of(rows: Dataset, like: DecisionModel) -> tuple[ModelInput, ...]:
    missing = [one.name for one in like.inputs if one.name not in rows.feature_names]
    if missing:
        raise DatasetError(
            f"the model looks at what the dataset has no feature of: {', '.join(missing)}",
            hint="build the dataset of traces as the model's own was",
        )
    return like.inputs


def _problem(
    rows: Dataset, inputs: tuple[ModelInput, ...], labels: tuple[str, str], target: Floats
) -> LearningProblem:
    bins = np.stack([one.bins.quantise(rows.rows[one.name].to_numpy()) for one in inputs], axis=1)
    kind = rows.task.label
    whole = LearningRows(
        bins,
        target,
        target > (0 if kind == "number" else 0.5),
        rows.labels().astype(np.int64),
        rows.column("weight").astype(float),
        rows.column("group").astype(np.int64),
        choices_of(rows) if kind == "choice" else np.full(len(rows), -1, np.int64),
    )
    split = rows.column("split")
    parts = {name: whole.where(split == name) for name in PARTS}
    for name, part in parts.items():
        _require_part(name, part, labels)
    return LearningProblem(rows.card.task, kind, inputs, labels, 0, parts, ())


def _require_part(name: str, part: LearningRows, labels: tuple[str, str]) -> None:
    if len(part) < _LEAST_ROWS:
        raise DatasetError(
            f"the {name} part has {len(part)} rows, expected {_LEAST_ROWS} at least",
            hint="build the dataset of more traces, or with another --split",
        )
    if not part.weight.sum() > 0:
        raise DatasetError(f"all rows of the {name} part have the weight 0")
    truth = part.truth
    if truth.all() or not truth.any():
        only = labels[int(truth[0])]
        raise DatasetError(
            f"in the {name} part all rows are {only!r}: nothing can be learnt or judged",
            hint="build the dataset of other traces, or with another --split",
        )
