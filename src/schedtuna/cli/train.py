"""`schedtuna train`: models from a dataset, each in its canonical form, with a card of what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import JsonOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import number, table, wrapped
from schedtuna.errors import UsageError, naming
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.learn.decision_value import DecisionValue
    from schedtuna.learn.model_card import TrainingFiles
    from schedtuna.learn.scoring import GroupedMetric
    from schedtuna.learn.training_run import ProblemOutcome
    from schedtuna.sim.schedulers import SchedulerSource

app = typer.Typer(add_completion=False)


@app.command()
def train(  # noqa: PLR0917 - typer's options are a function's parameters
    dataset: Annotated[
        Path,
        typer.Argument(metavar="DATASET", help="A folder that `dataset build` has made.", show_default=False),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="lightgbm, xgboost, forest, tree, linear, mlp, mlp_small, or a plain rule such as "
            "last_value. Repeatable. Default: all.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write models, card and page there.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn.")] = 1,
    budget: Annotated[
        int, typer.Option("--budget", min=1, max=100, help="Settings of each algorithm that are tried.")
    ] = 2,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            "--feature", metavar="NAME", help="Look at these alone. Repeatable.", show_default=False
        ),
    ] = None,
    inputs: Annotated[
        int, typer.Option("--inputs", metavar="N", help="Keep the N most useful features, 1 to 16.")
    ] = 10,
    positive: Annotated[
        str,
        typer.Option(
            "--class", metavar="NAME", help="Of several classes, tell this one alone.", show_default=False
        ),
    ] = "",
    penalty: Annotated[
        float,
        typer.Option(
            "--migration-overhead-penalty",
            metavar="X",
            min=0,
            help="migrate: add X times the probability of migrating to the loss of linear models and nets.",
        ),
    ] = 0.0,
    simulate: Annotated[
        list[str] | None,
        typer.Option(
            "--simulate",
            metavar="LOAD",
            help="Let each model schedule this load, as `sim run` takes it, beside fair, las and srtf. "
            "Give two or more, or `all`.",
            show_default=False,
        ),
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(
            "--update",
            metavar="MODEL",
            help="Let this model learn from the dataset, and replace it if it is better in later runs.",
            show_default=False,
        ),
    ] = None,
    least_gain: Annotated[
        float,
        typer.Option("--least-gain", metavar="X", min=0, help="--update: what replacing has to be worth."),
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Replace a training that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train models on a dataset, and judge them on runs that they have not seen.

    Settings are chosen inside the training rows, the validation rows end a training and calibrate it, and the
    test rows judge once. Each model becomes a file that `schedtuna model` shows, checks and exports.

    With --update the model in charge learns further, another is trained anew, and the better of both replaces
    it only where runs of the test rows that no version has seen show a gain; all versions are kept.
    """
    from schedtuna.cli import train_update
    from schedtuna.cli.progress import RunProgress
    from schedtuna.learn.dataset_form import read_dataset
    from schedtuna.learn.decision_value import LOADS, decision_values
    from schedtuna.learn.model_card import make_card, prepare_training_folder, write_training
    from schedtuna.learn.training_run import TrainingOptions, train_models

    options = TrainingOptions(
        models=[] if model == ["all"] else model or [],
        features=feature or [],
        positive=positive,
        most_inputs=inputs,
        budget=budget,
        penalty=penalty,
        seed=seed,
    )
    if update is not None and (output is not None or simulate):
        raise UsageError(
            "--update writes beside the model, and simulates nothing: leave -o and --simulate out"
        )
    rows = read_dataset(dataset)
    if update is not None:
        train_update.update(update, rows, options, least_gain=least_gain, as_json=as_json)
        return
    if output is not None:
        with naming(output):
            prepare_training_folder(output, force=force)
    with termination_interrupts(), RunProgress("training", None, unit="steps") as bar:
        steps = iter(range(10**6))

        def tell(text: str) -> None:
            bar.update(next(steps), None, title=text)

        found = train_models(rows, options, tell)
        worth = []
        if simulate:
            loads = LOADS if simulate == ["all"] else simulate
            worth = decision_values(_schedulers(found), loads=loads, tell=tell)
    written = None
    if output is not None:
        with naming(output):
            written = write_training(output, rows, found, options, worth)
            _write_page(written)
    if as_json:
        card = written.card if written else make_card(rows, found, options)
        print_json({**card, "worth": [asdict(one) for one in worth]})
        return
    for outcome in found:
        _print_outcome(outcome)
    if worth:
        _print_worth(worth)
    if written is not None:
        _print_files(written)


def _schedulers(found: Sequence[ProblemOutcome]) -> dict[str, SchedulerSource]:
    """Every model of a training as a scheduler."""
    from schedtuna.sim.model_scheduler import ModelScheduler

    models = [one.fitted.model for outcome in found for one in outcome.outcomes if one.fitted is not None]
    return {model.name: ModelScheduler(model) for model in models}


def _write_page(written: TrainingFiles) -> None:
    from schedtuna.learn.model_card import PAGE
    from schedtuna.report.learning import training_page
    from schedtuna.report.page import write

    write(training_page(written.card), written.folder / PAGE)


def _print_worth(worth: Sequence[DecisionValue]) -> None:
    rows = [
        [
            one.scheduler,
            f"{one.turnaround:.3f} [{one.turnaround_bounds[0]:.3f}, {one.turnaround_bounds[1]:.3f}]",
            f"{one.latency:.3g} [{one.latency_bounds[0]:.3g}, {one.latency_bounds[1]:.3g}]",
            f"{one.regret:+.1%}",
        ]
        for one in worth
    ]
    print(
        table(["scheduler", "turnaround / fair's", "p99 wakeup latency / fair's", "above srtf"], rows),
        end="\n\n",
    )
    nr_loads = len(worth[0].by_load)
    print(
        wrapped(f"In the simulator, which is a model: geometric means over {nr_loads} loads [95%]."),
        end="\n\n",
    )


def _print_outcome(outcome: ProblemOutcome) -> None:
    from schedtuna.learn.model_card import best_first
    from schedtuna.learn.scoring import MAIN, METRICS

    problem = outcome.problem
    below, above = (printable(label) for label in problem.labels)
    at = f", which meet at {number(problem.threshold_ns / 1e3)} us" if problem.threshold_ns else ""
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in problem.parts.items())
    print(wrapped(f"{problem.task}: {above} or {below}{at}; rows: {sizes}"), end="\n\n")
    shown = [name for name, row in METRICS.items() if problem.kind in row.kinds]
    ordered = [*best_first(outcome, MAIN[problem.kind]), outcome.control]
    rows = [[one.name, *(_cell(one.metrics[name]) for name in shown)] for one in ordered]
    print(table(["model", *shown], rows), end="\n\n")
    metric = outcome.control.metrics[shown[0]]
    print(wrapped(f"Test rows of {metric.nr_groups} runs: mean over runs [95%]."))
    for text in outcome.notes:
        print_remark("note", text)
    for name, why in outcome.left_out.items():
        print_remark("left out", f"{name}: {why}")
    print()


def _cell(metric: GroupedMetric) -> str:
    if metric.mean is None:
        return "-"
    if metric.low is None or metric.high is None:
        return number(metric.mean, digits=3)
    return f"{metric.mean:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _print_files(written: TrainingFiles) -> None:
    names: Sequence[str] = list(written.models)
    print(
        wrapped(
            f"In {printable(str(written.folder))}: {len(names)} models, card.json, results.csv, report.html."
        )
    )
    if names:
        first = printable(str(written.models[names[0]]))
        print(f"schedtuna model check {first}")
