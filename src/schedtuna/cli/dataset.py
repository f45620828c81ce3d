"""`schedtuna dataset`: what can be learnt from traces? Build it, look at it, check it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import described, table, wrapped
from schedtuna.errors import DatasetError, naming

if TYPE_CHECKING:
    from schedtuna.learn.dataset_form import Dataset

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Datasets of traces: build, show, check them."
)

Task = Literal["burst", "class", "next", "migrate", "scheduler"]
_FOLDER = typer.Argument(metavar="DIR", help="A dataset: its folder.", show_default=False)
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of all that is drawn.")]
ReplaceOption = Annotated[bool, typer.Option("--force", help="Replace a dataset that is there.")]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="The dataset's folder.", show_default=False)
]


@app.command()
def build(  # noqa: PLR0917 - typer's options are a function's parameters
    traces: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACES...", help="Traces: their folders, or the folders of sets.", show_default=False
        ),
    ],
    output: OutputOption,
    task: Annotated[
        Task,
        typer.Option(
            "--task",
            help="What is to be learnt: a task's next CPU burst, its class, who runs next, whether to "
            "migrate, the best scheduler of a window.",
            show_default=False,
        ),
    ],
    split: Annotated[
        Literal["family", "run", "host", "time"] | None,
        typer.Option(
            "--split",
            help="What training, validation and test have whole; time: with gaps. Default: family where "
            "there are three, else run, else time.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="Rules that label tasks, for class.", show_default=False
        ),
    ] = None,
    max_rows: Annotated[
        int, typer.Option("--max-rows", metavar="N", min=1, help="Of more, so many are drawn.")
    ] = 1_000_000,
    seed: SeedOption = 1,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build a dataset of traces, recorded or simulated.

    A row's features know nothing later than its own moment, and no task's name.
    """
    from schedtuna.cli.progress import RunProgress
    from schedtuna.learn.building import build_dataset
    from schedtuna.learn.dataset_form import prepare_dataset_folder, write_dataset
    from schedtuna.learn.made_rows import BuildOptions
    from schedtuna.learn.sources import RunSource
    from schedtuna.record.suite import traces_of
    from schedtuna.trace.labels import read_labels

    rules = read_labels(labels) if labels is not None else []
    with termination_interrupts():
        with naming(output):
            prepare_dataset_folder(output, force=force)
        sources = []
        for folder in traces_of(traces):
            with naming(folder):
                sources.append(RunSource.of_folder(folder))
        with RunProgress("building", len(sources), unit="traces") as progress:
            options = BuildOptions(
                task,
                split=split,
                seed=seed,
                most_rows=max_rows,
                labels=rules,
                on_progress=_shown(progress.update, len(sources)),
            )
            data = build_dataset(sources, options)
        with naming(output):
            data = write_dataset(output, data, force=force)
    _tell(data, as_json)


@app.command()
def load(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A reference set: suite-v1.", show_default=False)
    ],
    output: OutputOption,
    task: Annotated[
        Literal["burst", "class", "next", "migrate"],
        typer.Option("--task", help="What is to be learnt.", show_default=False),
    ],
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a reference set, which ships with the package.

    Simulated loads of each family, with fixed parts: for who can't record, and for results to compare.
    """
    from schedtuna.learn.dataset_form import prepare_dataset_folder, read_dataset, write_dataset
    from schedtuna.learn.reference import reference_folder

    shipped = reference_folder(name, task)
    with naming(output):
        prepare_dataset_folder(output, force=force)
        data = write_dataset(output, read_dataset(shipped), force=force)
    _tell(data, as_json)


@app.command()
def show(folder: Annotated[Path, _FOLDER], as_json: JsonOption = False) -> None:
    """Show a dataset: its labels, ranges, what was dropped."""
    from schedtuna.learn.dataset_form import read_dataset

    with naming(folder):
        data = read_dataset(folder)
    _tell(data, as_json)


@app.command()
def check(folder: Annotated[Path, _FOLDER], seed: SeedOption = 1, as_json: JsonOption = False) -> None:
    """Look for what makes a dataset lie: leaks, and chance.

    Exits with 1 if there is a flaw: permuted labels that are foretold all the same, a feature that tells the
    label alone, parts that share runs, labels that training never saw.
    """
    from dataclasses import asdict

    from schedtuna.learn.controls import check_dataset
    from schedtuna.learn.dataset_form import read_dataset

    with termination_interrupts(), naming(folder):
        found = check_dataset(read_dataset(folder), seed=seed)
    flaws = [control.name for control in found if control.outcome == "flaw"]
    if as_json:
        print_json({"is_sound": not flaws, "controls": [asdict(control) for control in found]})
    else:
        print(described(["control", "outcome", "found"], [[c.name, c.outcome, c.told] for c in found]))
    if flaws:
        raise DatasetError(
            f"{folder} has flaws: {', '.join(dict.fromkeys(flaws))}",
            hint="what is learnt from it would not be worth what it seems: divide it otherwise (--split)",
        )


def _shown(update: Callable[..., None], nr_traces: int) -> Callable[[int, int], None]:
    return lambda run, nr_events: update(run, nr_traces, note=f"{nr_events:,} events or choices")


def _tell(data: Dataset, as_json: bool) -> None:
    from schedtuna.learn.describing import about_features, about_labels

    card = data.card
    if as_json:
        told: dict[str, Any] = card.model_dump(mode="json")
        print_json(told | {"labels": about_labels(data), "ranges": about_features(data)})
        return
    counts = card.counts
    print(wrapped(f"{card.task}: {data.task.help}. A label is {card.label}."))
    sizes = ", ".join(f"{counts[f'nr_{name}']:,} {name}" for name in ("train", "validation", "test"))
    print(wrapped(f"{len(data):,} rows of {len(card.runs)} runs, divided by {card.split}: {sizes}"))
    print()
    print(table(["labels", "rows", "share", "train", "validation", "test"], _label_cells(data)))
    print()
    rows = [
        [
            one["feature"],
            *(f"{one[name]:,}" for name in ("least", "median", "most")),
            str(one["nr_bins_used"]),
        ]
        for one in about_features(data)
    ]
    print(table(["feature", "least", "median", "most", "bins used"], rows))
    print()
    runs = [
        [run.name, run.family, run.kind, run.host, f"{run.nr_rows:,}", f"{sum(run.nr_dropped.values()):,}"]
        for run in card.runs
    ]
    print(table(["run", "family", "kind", "host", "rows", "dropped"], runs))
    dropped: dict[str, int] = {}
    for run in card.runs:
        for reason, count in run.nr_dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    if dropped:
        print()
        print(described(["dropped", "why"], [[f"{n:,}", reason] for reason, n in dropped.items()]))
    for note in dict.fromkeys([*card.notes, *(note for run in card.runs for note in run.notes)]):
        print_remark("note", note)


def _label_cells(data: Dataset) -> list[list[str]]:
    from schedtuna.learn.describing import about_labels

    return [
        [
            str(one["label"]),
            f"{one['nr_rows']:,}",
            f"{100 * one['share']:.1f}%",
            *(f"{one[name]:,}" for name in ("train", "validation", "test")),
        ]
        for one in about_labels(data)
    ]
