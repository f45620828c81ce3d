"""Of which class is a task? Its user's label, or the part that its generator gave it to play."""

from __future__ import annotations

import re

import numpy as np

from schedtuna.errors import DatasetError
from schedtuna.learn.known_of_tasks import LabelsOfTasks
from schedtuna.learn.made_rows import BuildOptions, MadeRows
from schedtuna.learn.sources import SIMULATED, RunSource
from schedtuna.learn.task_rows import TASK_FEATURES, RunRows, task_rows
from schedtuna.trace.labels import label_tasks

# What the tasks of `workload.families` are there for: family -> name without its number -> class.
ROLES: dict[str, dict[str, str]] = {
    "poisson": {"server": "requests"},
    "heavy-tail": {"server": "requests"},
    "bursts": {"server": "requests", "long": "batch"},
    "interactive": {"typing": "interactive", "video": "periodic", "batch": "batch"},
    "barrier": {"worker": "parallel"},
    "ping-pong": {"client": "pipes", "server": "pipes"},
    "fork-join": {"parent": "fork-join", "child": "fork-join"},
}
_NUMBER = re.compile(r"\d+$")


def make_class_rows(sources: list[RunSource], options: BuildOptions) -> MadeRows:
    """Return a row per burst of each task that has a label; the rows of one task count as much as another's.

    Raises:
        DatasetError: No task has one.
    """
    labels = [labels_of(source, options) for source in sources]
    names = sorted({name for one in labels for name in one.names})
    if not names:
        raise DatasetError(
            "no task has a label",
            hint="give a file of rules (--labels FILE), record with --label, or simulate a family",
        )
    made = MadeRows(
        TASK_FEATURES,
        "the class that the task's user, or the generator of its load, gave it",
        classes=names,
        settings={"row": "a burst, as of the wakeup that began it", "labels_from": _labels_from(options)},
    )
    for number, (source, own) in enumerate(zip(sources, labels, strict=True)):
        rows = task_rows(
            source.trace,
            most=max(options.most_rows // len(sources), 1),
            seed=options.seed,
            labels=own,
            on_events=lambda events, number=number: options.on_progress(number, events),  # type: ignore[misc]
        )
        if rows.columns:
            common = np.array([names.index(name) for name in own.names], np.int64)
            if len(common):
                rows.columns["label"] = common[rows.columns["label"]]
            _weigh(rows)
        made.runs.append((source, rows))
    _leave_out_unseen(made)
    return made


def _leave_out_unseen(made: MadeRows) -> None:
    """Keep the classes that have rows: tasks that never sleep have no burst that ends."""
    parts = [rows.columns["label"] for _, rows in made.runs if rows.columns]
    seen = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    unseen = [name for number, name in enumerate(made.classes) if number not in seen]
    for _, rows in made.runs:
        if rows.columns:
            rows.columns["label"] = np.searchsorted(seen, rows.columns["label"]).astype(np.int64)
    made.classes = [made.classes[number] for number in seen.tolist()]
    if unseen:
        made.notes.append(f"no rows of {', '.join(unseen)}: none of their tasks slept and woke up again")


def labels_of(source: RunSource, options: BuildOptions) -> LabelsOfTasks:
    """Return the labels of a run's tasks: by the rules given, else by its user's label, else by role."""
    trace = source.trace
    table = trace.tasks
    if options.labels:
        begin, end = trace.window_ns
        table = label_tasks(table, list(options.labels), start_ns=begin, end_ns=end)
    told = table["label"].to_list()
    if source.kind == SIMULATED and not options.labels and not any(told):
        roles = ROLES.get(source.family, {})
        told = [roles.get(_NUMBER.sub("", name or "")) for name in table["comm"].to_list()]
    return LabelsOfTasks(table["tid"].to_numpy(), table["start_time_ns"].to_numpy(), told)


def _labels_from(options: BuildOptions) -> str:
    return "rules" if options.labels else "the traces' labels, or the generator's roles"


def _weigh(rows: RunRows) -> None:
    """Have each task count as much as another: rows of one that wakes up often count less."""
    _, number, count = np.unique(rows.columns["task"], return_inverse=True, return_counts=True)
    if len(count):
        weight = 1 / count[number]
        rows.columns["weight"] = (weight * len(weight) / weight.sum()).astype(np.float32)
