"""How does a dataset come of traces? Rows of each run, put together, divided, and described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from schedtuna.errors import DatasetError, UsageError, nearest
from schedtuna.learn.dataset_form import (
    COLUMNS,
    LEARNING_TASKS,
    SPLITS,
    Dataset,
    DatasetCard,
    DatasetFeature,
    DatasetRun,
    SplitBy,
)
from schedtuna.learn.made_rows import BuildOptions, MadeRows
from schedtuna.learn.sources import RunSource
from schedtuna.learn.splits import split_rows
from schedtuna.learn.task_rows import TASK_FEATURES, RunRows, task_rows


def build_dataset(sources: Iterable[RunSource], options: BuildOptions) -> Dataset:
    """Make a dataset.

    Args:
        sources: Runs.
        options: How.

    Raises:
        UsageError: There is no such task, or nothing to make it of.
        DatasetError: A run tells nothing of it, or nothing can be learnt from what they give.
        TraceError: A trace is damaged.
        MissingExtraError: polars is not installed.
    """
    from schedtuna.trace.parts import require_polars

    require_polars()
    if options.task not in LEARNING_TASKS:
        raise UsageError(f"there is no task {options.task!r}: {nearest(options.task, LEARNING_TASKS)}")
    if options.most_rows < 1:
        raise UsageError(f"{options.most_rows} rows are none", hint="give more: --max-rows")
    given = list(sources)
    if not given:
        raise UsageError("no trace to build of", hint="schedtuna record -o DIR -- COMMAND makes one")
    return assemble(_makers()[options.task](given, options), options)


def _makers() -> dict[str, Callable[[list[RunSource], BuildOptions], MadeRows]]:
    from schedtuna.learn.candidate_rows import make_next_rows
    from schedtuna.learn.class_labels import make_class_rows
    from schedtuna.learn.migration_rows import make_migration_rows
    from schedtuna.learn.scheduler_rows import make_scheduler_rows

    return {
        "burst": _make_bursts,
        "class": make_class_rows,
        "next": make_next_rows,
        "migrate": make_migration_rows,
        "scheduler": make_scheduler_rows,
    }


def _make_bursts(sources: list[RunSource], options: BuildOptions) -> MadeRows:
    made = MadeRows(
        TASK_FEATURES,
        "the CPU time from this wakeup until the task sleeps or exits, in ns",
        settings={"row": "a burst, as of the wakeup that began it"},
    )
    for number, source in enumerate(sources):
        rows = task_rows(
            source.trace,
            most=max(options.most_rows // len(sources), 1),
            seed=options.seed,
            on_events=lambda events, number=number: options.on_progress(number, events),  # type: ignore[misc]
        )
        made.runs.append((source, rows))
    return made


def assemble(made: MadeRows, options: BuildOptions) -> Dataset:
    """Put the rows of several runs together.

    Raises:
        DatasetError: There are none, or nothing can be learnt from them.
    """
    features, notes = _common_features(made)
    columns = _columns(made, features)
    if not len(columns["label"]):
        raise DatasetError(
            "the traces give no rows: " + _spelled(_dropped(made)),
            hint="record for longer, or with more of what is to be learnt",
        )
    _require_labels(made, columns["label"], options.task)
    by, remark = _split_by(made, options.split, options.task)
    notes += [*made.notes, *remark]
    rng = np.random.default_rng(options.seed)
    units = {"family": columns["family"], "host": columns["host"]}.get(by, columns["group"])
    split = split_rows(by, groups=columns["group"], units=units, times_ns=columns["time_ns"], rng=rng)
    columns["split"] = np.array(SPLITS, object)[split]
    notes += _about(columns, features)
    card = DatasetCard(
        task=options.task,
        features=[DatasetFeature.of(name) for name in features],
        label=made.label,
        classes=made.classes,
        extras=made.extras,
        runs=[_run(source, rows) for source, rows in made.runs],
        split=by,
        seed=options.seed,
        counts=_counts(made, columns),
        settings=made.settings,
        notes=notes,
    )
    return Dataset(card, _frame(columns, features, made.extras))


def _common_features(made: MadeRows) -> tuple[list[str], list[str]]:
    """Return the features that every run has, and what to say of the others."""
    filled = [(source, rows) for source, rows in made.runs if rows.columns and len(rows.columns["label"])]
    features, notes = [], []
    for name in made.features:
        lacking = [source.name for source, rows in filled if name not in rows.columns]
        if lacking:
            notes.append(f"{name} is left out: unknown in {', '.join(lacking[:5])}")
        else:
            features.append(name)
    return features, notes


def _columns(made: MadeRows, features: Sequence[str]) -> dict[str, Any]:
    parts: dict[str, list[Any]] = {
        name: [] for name in (*features, *made.extras, *COLUMNS) if name != "split"
    }
    for number, (source, rows) in enumerate(made.runs):
        nr_rows = len(rows.columns.get("label", ()))
        if not nr_rows:
            continue
        order = np.lexsort((rows.columns["task"], rows.columns["time_ns"]))
        constant: dict[str, Any] = {
            "group": np.full(nr_rows, number, np.uint32),
            "family": np.full(nr_rows, source.family, object),
            "host": np.full(nr_rows, source.host, object),
            "candidate_set": np.zeros(nr_rows, np.uint32),
            "weight": np.ones(nr_rows, np.float32),
        }
        for name, part in parts.items():
            part.append(rows.columns[name][order] if name in rows.columns else constant[name])
    return {name: np.concatenate(part) if part else np.empty(0) for name, part in parts.items()}


def _require_labels(made: MadeRows, labels: Any, task: str) -> None:
    values = np.unique(labels)
    if len(values) > 1:
        return
    what = made.classes[int(values[0])] if made.classes else str(values[0])
    raise DatasetError(
        f"all {len(labels):,} rows of {task} have the same label, {what}: nothing can be learnt from them",
        hint="add traces with others",
    )


def _split_by(made: MadeRows, asked: SplitBy | None, task: str) -> tuple[SplitBy, list[str]]:
    if asked is not None:
        return asked, []
    filled = [source for source, rows in made.runs if len(rows.columns.get("label", ()))]
    if task != "class" and len({source.family for source in filled}) >= 3:
        return "family", []
    if len(filled) >= 3:
        why = (
            "a class may be of one family alone"
            if task == "class"
            else "there are fewer than 3 families, so nothing tells of unknown loads"
        )
        return "run", [f"divided by run: {why}"]
    return "time", ["divided by time: there are fewer than 3 runs, so nothing tells of other loads or days"]


def _about(columns: dict[str, Any], features: Sequence[str]) -> list[str]:
    constant = [name for name in features if len(np.unique(columns[name])) == 1]
    notes = [f"the same in every row: {', '.join(constant)}"] if constant else []
    if len(np.unique(columns["group"])) == 1:
        notes.append("all rows are of one run: differences between runs, boots and machines are not in them")
    return notes


def _run(source: RunSource, rows: RunRows) -> DatasetRun:
    return DatasetRun(
        name=source.name,
        sha256=source.sha256,
        kind=source.kind,
        family=source.family,
        host=source.host,
        seed=source.seed,
        nr_rows=len(rows.columns.get("label", ())),
        nr_dropped={reason: count for reason, count in rows.dropped.items() if count},
        notes=rows.notes,
    )


def _dropped(made: MadeRows) -> Counter[str]:
    total = Counter[str]()
    for _, rows in made.runs:
        total.update(rows.dropped)
    return total


def _counts(made: MadeRows, columns: dict[str, Any]) -> dict[str, int]:
    return {
        "nr_rows": len(columns["label"]),
        "nr_rows_before_thinning": sum(rows.nr_seen for _, rows in made.runs),
        "nr_dropped": sum(_dropped(made).values()),
        "nr_events": sum(rows.nr_events for _, rows in made.runs),
        **{f"nr_{name}": int((columns["split"] == name).sum()) for name in SPLITS},
    }


def _spelled(dropped: Counter[str]) -> str:
    told = [f"{count:,} were dropped, as {reason}" for reason, count in dropped.items() if count]
    return "; ".join(told) or "no task of them slept and woke up again"


def _frame(columns: dict[str, Any], features: Sequence[str], extras: Iterable[str]) -> Any:
    import polars as pl

    dtypes: dict[str, Any] = dict.fromkeys(features, pl.Int64)
    dtypes |= {name: getattr(pl, dtype) for name, dtype in COLUMNS.items()}
    series = [
        pl.Series(name, columns[name], dtype=dtypes.get(name)) for name in (*features, *COLUMNS, *extras)
    ]
    return pl.DataFrame(series)
