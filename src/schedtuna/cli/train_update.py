"""`schedtuna train --update`: a model learns from new rows, and replaces the old one if the gate lets it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import number, table, wrapped
from schedtuna.errors import UsageError, naming
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.learn.dataset_form import Dataset
    from schedtuna.learn.model_versions import TrainedVersion
    from schedtuna.learn.training_run import TrainingOptions
    from schedtuna.learn.updating import UpdateOutcome

_MUCH = 0.25  # of a population stability index


def update(path: Path, rows: Dataset, options: TrainingOptions, *, least_gain: float, as_json: bool) -> None:
    """Update a model's file, and tell what became of it."""
    from schedtuna.cli.common import termination_interrupts
    from schedtuna.cli.progress import RunProgress
    from schedtuna.learn.model_versions import card_of, drift, keep_version, read_versions, told_of_old
    from schedtuna.learn.updating import update_model
    from schedtuna.model.file import read_model

    if not path.is_file():
        raise UsageError(
            f"{path}: there is no such model", hint="name a file that `schedtuna train -o` has written"
        )
    with naming(path):
        old, versions, card = read_model(path), read_versions(path), card_of(path)
    known = told_of_old(old, versions, card)
    with termination_interrupts(), RunProgress("updating", None, unit="steps") as bar:
        steps = iter(range(10**6))
        found = update_model(
            rows,
            old,
            options,
            seen=versions.seen(card),
            threshold_ns=known.get("threshold_ns", 0),
            least_gain=least_gain,
            tell=lambda text: bar.update(next(steps), None, title=text),
        )
    with naming(path):
        kept = keep_version(path, rows, found, versions)
    moved = drift(known["reference"], found.problem) if "reference" in known else None
    if as_json:
        print_json(_told(path, found, kept, moved))
        return
    _print(path, found, kept, moved)


def _told(
    path: Path, found: UpdateOutcome, kept: TrainedVersion, moved: dict[str, float] | None
) -> dict[str, Any]:
    return {
        "file": str(path),
        "replaced": found.verdict.passed,
        "version": kept.version,
        "before": found.old.version,
        "metric": found.metric,
        "runs": [{"before": a, "after": b} for a, b in zip(found.before, found.after, strict=True)],
        "gate": {name: _finite(value) for name, value in asdict(found.verdict).items()},
        "candidates": [
            {"name": one.name, "version": one.model.version, "validation": one.validation}
            for one in found.candidates
        ],
        "left_out": dict(found.left_out),
        "drift": moved,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and abs(value) == float("inf") else value


def _print(path: Path, found: UpdateOutcome, kept: TrainedVersion, moved: dict[str, float] | None) -> None:
    for name, why in found.left_out.items():
        print_remark("left out", f"{name}: {why}")
    cells = [
        [
            one.name,
            one.model.version,
            "-" if one.validation is None else number(one.validation, digits=4),
            "chosen" if one is found.chosen else "",
        ]
        for one in found.candidates
    ]
    print(table(["candidate", "version", f"{found.metric}, validation", ""], cells))
    print()
    runs = [
        [str(index + 1), f"{was:.4f}", f"{new:.4f}"]
        for index, (was, new) in enumerate(zip(found.before, found.after, strict=True))
    ]
    if runs:
        print(table(["later run", f"{found.metric}, in charge", "chosen"], runs))
        print()
    name = printable(str(path))
    if found.verdict.passed:
        print(wrapped(f"{name} is now version {kept.version}, and was {kept.replaced}: {kept.why}"))
    else:
        print(wrapped(f"{name} stays version {kept.replaced}; {kept.version} is kept aside: {kept.why}"))
    if moved is None:
        print_remark(
            "note", "nothing is known of the rows that the old version was made of: no drift is told"
        )
        return
    much = [f"{one} ({psi:.2f})" for one, psi in moved.items() if psi > _MUCH]
    if much:
        print_remark("drift", f"the new rows lie otherwise than the old version's in {', '.join(much)}")
