"""Decisions about migrations, one by one, in batches and awaited: what Python programs call."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from schedtuna.errors import ModelError, UsageError
from schedtuna.model.migration import INPUTS, LABELS
from schedtuna.model.model import DecisionModel
from schedtuna.model.shipped import find_model

WIDTH = 10  # columns of a batch: five are used, five are spare and not looked at
LARGEST_BATCH = 32
WAIT_MS = 1.0
CACHE_ROWS = 4096
_MOST_CACHED_INPUTS = 8
_FIELDS = ("cpu", "cpu_idle", "cpu_not_idle", "src_dom_load", "dst_dom_load")
_ROUNDS = 5  # of 64 rows: about 50 us where a decision takes 100 ns
_WORTH_CACHING = 2  # times as long as looking up: what is not remembered costs both


@dataclass(frozen=True, slots=True)
class MigrationFeatures:
    """What a migration is decided by.

    A group is the CPUs that the task is on, or would be moved to; what its load is,
    `schedtuna.model.migration.group_load` says.

    Attributes:
        cpu: The number of the CPU that the task is on; numbers may have gaps.
        cpu_idle: How many CPUs are idle.
        cpu_not_idle: How many are not.
        src_dom_load: Load of the group that the task is in, 0 to 1; what is outside is clamped.
        dst_dom_load: Load of the group that it could migrate to, likewise.
    """

    cpu: int
    cpu_idle: int
    cpu_not_idle: int
    src_dom_load: float
    dst_dom_load: float


class MigrationDecider:
    """Says of tasks whether they should migrate.

    Args:
        model: A model, its file, or the name of one that comes along. Its inputs are of those that
            `schedtuna.model.migration.INPUTS` names, its labels `stay` and `migrate`. Default: the one
            that comes along, trained on simulated migrations.
        cache_rows: How many decisions are remembered, by the bins that the model makes of the features: a
            decision that is remembered is the same one. None: 4,096 where deciding, measured here, takes
            more than twice as long as looking up; else 0.

    Raises:
        ModelError: There is no such model, or it decides something else.
        UnavailableError: The native runtime is missing.
    """

    def __init__(
        self, model: DecisionModel | str | Path = "migration", *, cache_rows: int | None = None
    ) -> None:
        from schedtuna.model.runtime import ModelRuntime, native

        self.model = model if isinstance(model, DecisionModel) else find_model(model)
        columns = _columns(self.model)
        if cache_rows is not None and (cache_rows < 0 or (cache_rows and len(columns) > _MOST_CACHED_INPUTS)):
            raise UsageError(
                f"cache_rows={cache_rows}: 0 or more, and 0 for more than {_MOST_CACHED_INPUTS} inputs"
            )
        runtime = ModelRuntime(self.model)
        self.cache_rows = cache_rows or 0
        self._native = native.decider(runtime.native, columns, self.cache_rows)
        if cache_rows is None:
            self.cache_rows = rows_worth_remembering(*self._native.measure(_ROUNDS))
            self._native = native.decider(runtime.native, columns, self.cache_rows)

    def should_migrate(self, features: MigrationFeatures) -> bool:
        """Decide about one task.

        Raises:
            ModelError: A count is no whole number from 0 on, or a load is no finite number.
        """
        try:
            return bool(
                self._native.decide_one(
                    features.cpu,
                    features.cpu_idle,
                    features.cpu_not_idle,
                    features.src_dom_load,
                    features.dst_dom_load,
                )
            )
        except LookupError as error:
            raise _named(error, features) from None
        except TypeError:
            raise ModelError(f"features are numbers, not {features!r}") from None

    def decide_batch(
        self, rows: npt.NDArray[np.float32], out: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Decide about many tasks.

        Args:
            rows: float32 [any number, 10]: cpu, idle CPUs, other CPUs, load of the source, load of the
                destination; five spare columns.
            out: Where the decisions go; default: a new array.

        Returns:
            For each row whether the task should migrate.

        Raises:
            ModelError: The array is of another shape or type, or a number is none that a feature can be. Then
                nothing is decided.
        """
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != WIDTH:
            shape = list(rows.shape) if isinstance(rows, np.ndarray) else type(rows).__name__
            raise ModelError(f"a batch is an array [any number, {WIDTH}], not {shape}")
        if rows.dtype != np.float32:
            raise ModelError(
                f"a batch is of float32, not {rows.dtype}", hint="convert it: rows.astype('float32')"
            )
        labels = np.empty(len(rows), np.bool_) if out is None else out
        if labels.dtype != np.bool_ or labels.shape != (len(rows),) or not labels.flags.c_contiguous:
            raise ModelError(f"out is a contiguous array of {len(rows)} truth values")
        try:
            self._native.decide_rows(np.ascontiguousarray(rows), labels.view(np.uint8))
        except LookupError as error:
            raise _named(error, rows) from None
        return labels

    @property
    def nr_clamped(self) -> int:
        """How many loads were outside 0 to 1."""
        return self._native.nr_clamped

    @property
    def cache_hits(self) -> tuple[int, int]:
        """How many decisions were remembered, and how many were not; of a decider that remembers."""
        return self._native.nr_hits, self._native.nr_misses

    def batching(self, *, largest: int = LARGEST_BATCH, wait_ms: float = WAIT_MS) -> MigrationBatcher:
        """Return a front that decides for coroutines in batches."""
        return MigrationBatcher(self, largest=largest, wait_ms=wait_ms)


class MigrationBatcher:
    """Collects what coroutines ask until a batch is full or its first request has waited long enough.

    Args:
        decider: Decides.
        largest: Requests of a full batch.
        wait_ms: How long the first one waits for others.

    Raises:
        UsageError: A batch has no place, or the wait is negative or none.
    """

    def __init__(
        self, decider: MigrationDecider, *, largest: int = LARGEST_BATCH, wait_ms: float = WAIT_MS
    ) -> None:
        if largest < 1 or not 0 <= wait_ms < math.inf:
            raise UsageError(
                f"a batch has at least one place and a finite wait, not {largest} and {wait_ms} ms"
            )
        self._decider = decider
        self._rows = np.zeros((largest, WIDTH), np.float32)
        self._out = np.zeros(largest, np.bool_)
        self._wait_s = wait_ms / 1000
        self._waiting: list[asyncio.Future[bool]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.nr_batches = 0

    async def should_migrate(self, features: MigrationFeatures) -> bool:
        """Decide about one task, together with others.

        Raises:
            ModelError: As for `MigrationDecider.should_migrate`; others' requests are none the worse for it.
        """
        loop = asyncio.get_running_loop()
        _require_features(features)
        answer: asyncio.Future[bool] = loop.create_future()
        self._rows[len(self._waiting), : len(_FIELDS)] = astuple(features)
        self._waiting.append(answer)
        if len(self._waiting) == len(self._rows):
            self.flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self.flush)
        return await answer

    def flush(self) -> None:
        """Decide what is waiting now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self.nr_batches += 1
        count = len(waiting)
        found = self._decider.decide_batch(self._rows[:count], self._out[:count])
        for answer, migrates in zip(waiting, found.tolist(), strict=True):
            if not answer.done():  # who asked may have been cancelled
                answer.set_result(migrates)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()


def _columns(model: DecisionModel) -> list[tuple[int, bool]]:
    """Where each input of a model is in a row, and whether it is a load."""
    names = list(INPUTS)
    if model.labels != LABELS:
        raise ModelError(f"{model.name} decides {' or '.join(model.labels)}, not {' or '.join(LABELS)}")
    if unknown := [one.name for one in model.inputs if one.name not in INPUTS]:
        raise ModelError(f"{model.name} takes {unknown[0]!r}, expected inputs of {', '.join(names)}")
    return [(names.index(one.name), one.name.endswith("_permille")) for one in model.inputs]


def rows_worth_remembering(decide_ns: float, look_up_ns: float) -> int:
    """How many decisions a decider remembers whose decision and whose looking up take so long."""
    return CACHE_ROWS if decide_ns > _WORTH_CACHING * look_up_ns else 0


def _require_features(features: MigrationFeatures) -> None:
    for index, name in enumerate(_FIELDS):
        value = getattr(features, name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float | np.number)
            or not math.isfinite(value)
        ):
            raise ModelError(f"{name} is {value!r}, which is no finite number")
        if index < 3 and (value < 0 or value != int(value)):
            raise ModelError(f"{name} is {value!r}, which is no whole number from 0 on")


def _named(
    error: LookupError, given: MigrationFeatures | Sequence[Sequence[float]] | npt.NDArray[np.float32]
) -> ModelError:
    row, column, told = error.args
    name = _FIELDS[column]
    if isinstance(given, MigrationFeatures):
        return ModelError(f"{name} is {getattr(given, name)!r}, which {told}")
    return ModelError(f"row {row}: {name} is {given[row][column]}, which {told}")
