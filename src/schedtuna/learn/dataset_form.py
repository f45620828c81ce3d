"""What is a dataset on disk? A folder: rows in Parquet, and a card that says what they are.

docs/learning.md has the form in words. Rows hold features as the whole numbers that their rows of
`features.table` define; what is learnt from are their bins, which follow from it (`Dataset.bins`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from schedtuna import __version__, files
from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import DatasetError, UsageError, nearest
from schedtuna.features.table import feature
from schedtuna.files.versions import StoredFormat
from schedtuna.model.bins import Bins

if TYPE_CHECKING:
    import polars as pl

STORED = StoredFormat(DatasetError)
FORMAT = "schedtuna-dataset"
CARD, ROWS = "card.json", "rows.parquet"
SPLITS = ("train", "validation", "test", "none")  # none: in a gap between two, or not to be used
SplitBy = Literal["family", "run", "host", "time", "fixed"]
_MOST_CARD_BYTES = 64 << 20


@dataclass(frozen=True)
class LearningTask:
    """What a dataset is for.

    Attributes:
        name: As `dataset build --task` has it.
        label: number: to be predicted; class: an index into the card's classes; choice: 1 for the one row of
            each candidate set that was chosen, 0 for the others.
        unit: Of a number.
        classes: Their names where they are always the same; else the card alone has them.
        help: What is learnt, for people.
    """

    name: str
    label: Literal["number", "class", "choice"]
    unit: str
    classes: tuple[str, ...]
    help: str


UNDECIDED, TIE = "undecided", "tie"
LEARNING_TASKS = {
    task.name: task
    for task in (
        LearningTask("burst", "number", "ns", (), "the CPU time until a task that wakes up sleeps again"),
        LearningTask("class", "class", "", (), "of which kind a task is, by its user's or generator's label"),
        LearningTask("next", "choice", "", (), "who of several candidates runs next"),
        LearningTask(
            "migrate", "class", "", ("stay", "migrate", UNDECIDED), "whether moving a waiting task pays"
        ),
        LearningTask("scheduler", "class", "", (), "which scheduler is best for a window; or a tie"),
    )
}

# Beside the features, each row has:
COLUMNS = {
    "label": "Int64",  # see LearningTask.label
    "group": "UInt32",  # the run that it is from: index into the card's runs
    "family": "String",  # of workloads: what the headline split leaves out whole
    "host": "String",  # the machine; `simulated` of simulated ones
    "time_ns": "Int64",  # when the row was made, since its run began: nothing later is in its features
    "task": "UInt32",  # whose row it is: a number within its run; of windows 0
    "candidate_set": "UInt32",  # next: which rows compete, a number within its run; else 0
    "weight": "Float32",  # what it counts in training and metrics
    "split": "String",  # a name of SPLITS
}


class DatasetFeature(BaseModel):
    """A feature, and the bins that it had when the dataset was made: another table is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["linear", "log2"]
    lo: int
    hi: int
    nr_bins: int
    per_octave: int = 0

    @classmethod
    def of(cls, name: str) -> DatasetFeature:
        """Return a row of the feature table.

        Raises:
            UsageError: There is no such feature.
        """
        bins = feature(name).bins
        return cls(
            name=name,
            kind=bins.kind,
            lo=bins.lo,
            hi=bins.hi,
            nr_bins=bins.nr_bins,
            per_octave=bins.per_octave,
        )


class DatasetRun(BaseModel):
    """A run that rows are from: one recording, or one simulation.

    Attributes:
        name: Of the trace's folder, or of what was simulated.
        sha256: Of the trace, or of the simulation's definition.
        kind: Where it is from.
        family: Of its workload.
        host: The machine.
        seed: Of a simulation.
        nr_rows: How many rows are from it.
        nr_dropped: Rows that could not be used, by reason.
        notes: What whoever uses it must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(max_length=400)
    sha256: str
    kind: Literal["recorded", "imported", "simulated"]
    family: str = Field(max_length=200)
    host: str = Field(max_length=200)
    seed: int | None = None
    nr_rows: int = Field(ge=0)
    nr_dropped: dict[str, int] = {}
    notes: list[str] = []


class DatasetCard(BaseModel):
    """What a dataset is.

    Attributes:
        format: Always the same.
        version: Of this form.
        schedtuna_version: What wrote it.
        task: A name of LEARNING_TASKS.
        features: Columns of `rows.parquet` that may be learnt from, in order.
        label: What a label is, in words.
        classes: Names of what labels are indices into; empty where they are none.
        extras: Columns besides, which tell more of labels and must not be learnt from: name to meaning.
        runs: Where rows are from; `group` is an index into it.
        split: By what rows were divided into training, validation and test.
        seed: Of all that was drawn.
        counts: What there is how much of, and what was dropped.
        rows_sha256: Of `rows.parquet`.
        settings: What it was built with.
        notes: What whoever uses it must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["schedtuna-dataset"] = "schedtuna-dataset"
    version: int = STORED.newest
    schedtuna_version: str = __version__
    task: str
    features: list[DatasetFeature] = Field(min_length=1, max_length=1024)
    label: str
    classes: list[str] = Field(default=[], max_length=1024)
    extras: dict[str, str] = {}
    runs: list[DatasetRun]
    split: SplitBy
    seed: int = Field(ge=0)
    counts: dict[str, int] = {}
    rows_sha256: str = ""
    settings: dict[str, JsonValue] = {}
    notes: list[str] = []


@dataclass(frozen=True)
class Dataset:
    """Rows, and what they are.

    Attributes:
        card: What they are.
        rows: A column per feature (Int64), those of COLUMNS, and the card's extras; nothing is null.
    """

    card: DatasetCard
    rows: pl.DataFrame

    def __len__(self) -> int:
        return self.rows.height

    @property
    def task(self) -> LearningTask:
        """What it is for."""
        return LEARNING_TASKS[self.card.task]

    @property
    def feature_names(self) -> list[str]:
        """The features, in the order of `features` and `bins`."""
        return [one.name for one in self.card.features]

    @cached_property
    def feature_bins(self) -> list[Bins]:
        """How each feature is binned."""
        return [feature(name).bins for name in self.feature_names]

    def part(self, split: str) -> Dataset:
        """Return the rows of one split: `train`, `validation` or `test`.

        Raises:
            UsageError: There is no such split.
        """
        if split not in SPLITS:
            raise UsageError(f"there is no split {split!r}: {nearest(split, SPLITS)}")
        return self.where(self.rows["split"].to_numpy() == split)

    def where(self, which: npt.NDArray[np.bool_]) -> Dataset:
        """Return some of the rows: a mask."""
        import polars as pl

        return replace(self, rows=self.rows.filter(pl.Series(which, dtype=pl.Boolean)))

    def features(self) -> npt.NDArray[np.int64]:
        """Return the features' values, int64 [rows, features]."""
        return self._matrix(self.rows[name].to_numpy() for name in self.feature_names)

    def bins(self) -> npt.NDArray[np.uint16]:
        """Return the features' bins, uint16 [rows, features]: what models are trained on and see."""
        pairs = zip(self.feature_names, self.feature_bins, strict=True)
        return self._matrix(bins.quantise(self.rows[name].to_numpy()) for name, bins in pairs)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of COLUMNS or of the card's extras.

        Raises:
            UsageError: There is no such column.
        """
        known = [*COLUMNS, *self.card.extras]
        if name not in known:
            raise UsageError(f"a dataset of {self.card.task} has no column {name!r}: {nearest(name, known)}")
        return self.rows[name].to_numpy()

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the labels, int64 [rows]; see `LearningTask.label`."""
        return self.column("label")

    def _matrix(self, columns: Any) -> npt.NDArray[Any]:
        return np.column_stack(list(columns))


def write_dataset(folder: Path, dataset: Dataset, *, force: bool = False) -> Dataset:
    """Write a dataset into a folder, and return it with the hash of its rows in its card.

    Args:
        folder: Where; is made if it is missing.
        dataset: What.
        force: Replace a dataset that is there.

    Raises:
        UsageError: There is something already.
        DatasetError: The rows are not of the form.
        UntrustedError: Somebody else could write there.
        OSError: It can't be written.
    """
    import hashlib
    import io

    prepare_dataset_folder(folder, force=force)
    _require_form(dataset.card, dataset.rows, folder)
    buffer = io.BytesIO()
    names = [*dataset.feature_names, *COLUMNS, *dataset.card.extras]
    dataset.rows.select(names).write_parquet(buffer, compression="zstd", compression_level=12)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    card = dataset.card.model_copy(update={"rows_sha256": digest})
    files.remove(folder / CARD, missing_ok=True)  # a card without its rows would lie, rows without one do not
    files.write_bytes(folder / ROWS, buffer.getvalue())
    files.write_text(folder / CARD, card.model_dump_json(indent=1) + "\n")
    return replace(dataset, card=card)


def prepare_dataset_folder(folder: Path, *, force: bool = False) -> None:
    """Make a folder that a dataset may be written to: before all the work.

    Raises:
        UsageError: There is something already.
        UntrustedError: Somebody else could write there.
        OSError: It can't be made.
    """
    files.make_folder(folder)
    there = {path.name for path in folder.iterdir()}
    if there - {CARD, ROWS}:
        raise UsageError(f"{folder} holds something else than a dataset", hint="choose another folder")
    if there and not force:
        raise UsageError(f"{folder} holds a dataset already", hint="choose another folder, or --force")


def read_card(folder: Path) -> DatasetCard:
    """Read what a dataset is.

    Raises:
        DatasetError: There is none, it is damaged, or other features were meant by the same names.
    """
    path = folder / CARD
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_CARD_BYTES)
        content = parse_json(text)
        card = DatasetCard.model_validate(STORED.upgrade(content, path))
    except FileNotFoundError as error:
        hint = "`schedtuna dataset build` makes one"
        raise DatasetError(f"there is no dataset in {folder}: no {CARD}", hint=hint) from error
    except ValidationError as error:
        raise DatasetError(f"{path} is damaged: {first_fault(error)}") from error
    except ValueError as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    if card.task not in LEARNING_TASKS:
        raise DatasetError(f"{path}: unknown task: {nearest(card.task, LEARNING_TASKS)}")
    _require_features(card.features, path)
    return card


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset.

    Raises:
        DatasetError: There is none, it is damaged, its rows are not those of its card, or it was made with
            another feature table.
        MissingExtraError: polars is not installed.
    """
    import hashlib

    from schedtuna.trace.parts import require_polars

    require_polars()
    import polars as pl

    card, path = read_card(folder), folder / ROWS
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != card.rows_sha256:
            raise DatasetError(f"{path} is not what {CARD} was written for: its SHA-256 differs")
        rows = pl.read_parquet(content)
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} has a card, but no {ROWS}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DatasetError(f"{path} can't be read: {str(error)[:200]}") from error
    _require_form(card, rows, path)
    return Dataset(card, rows)


def _require_features(features: Sequence[DatasetFeature], where: Path) -> None:
    names = [one.name for one in features]
    if len(set(names)) < len(names):
        raise DatasetError(f"{where} is damaged: a feature is named twice")
    if clash := set(names) & COLUMNS.keys():
        raise DatasetError(f"{where} is damaged: {min(clash)} is no feature")
    for one in features:
        try:
            ours = DatasetFeature.of(one.name)
        except UsageError as error:
            raise DatasetError(
                f"{where} was made with another feature table: {error}",
                hint="build it again, with this version",
            ) from error
        if one != ours:
            raise DatasetError(
                f"{where} was made with another feature table: {one.name} has other bins there",
                hint="build it again, with this version",
            )


def _require_form(card: DatasetCard, rows: pl.DataFrame, where: Path) -> None:
    wanted: Mapping[str, str | None] = {
        **{one.name: "Int64" for one in card.features},
        **COLUMNS,
        **dict.fromkeys(card.extras),
    }
    for name, dtype in wanted.items():
        if name not in rows.columns:
            raise DatasetError(f"{where}: the column {name} is missing")
        found = str(rows.schema[name])
        if dtype is not None and found != dtype:
            raise DatasetError(f"{where}: the column {name} is {found}, expected {dtype}")
        if rows[name].null_count():
            raise DatasetError(f"{where}: the column {name} has gaps")
    if not rows.height:
        raise DatasetError(f"{where}: there are no rows")
    _require_values(card, rows, where)


def _require_values(card: DatasetCard, rows: pl.DataFrame, where: Path) -> None:
    if unknown := set(rows["split"].unique()) - set(SPLITS):
        raise DatasetError(f"{where}: unknown split {min(unknown)!r}: expected {', '.join(SPLITS)}")
    weights = rows["weight"].to_numpy()
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise DatasetError(f"{where}: a weight is negative or no number")
    if int(rows["group"].to_numpy().max()) >= len(card.runs):
        raise DatasetError(f"{where}: there are rows of a run that the card does not have")
    kind, labels = LEARNING_TASKS[card.task].label, rows["label"].to_numpy()
    most = {"number": np.iinfo(np.int64).max, "class": len(card.classes) - 1, "choice": 1}[kind]
    if int(labels.min()) < 0 or int(labels.max()) > most:
        raise DatasetError(f"{where}: a label is out of its bounds, 0 to {most}")
