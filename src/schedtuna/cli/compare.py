"""`schedtuna compare`: is B better than A on this command, and is the difference real?"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import (
    FleetOptions,
    FolderOptions,
    WorkloadOptions,
    termination_interrupts,
)
from schedtuna.cli.compare_options import CandidateOptions, QuestionOptions
from schedtuna.cli.options import JsonOption, OptionalCommandArgument
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.places import SidesOptions
from schedtuna.errors import UsageError
from schedtuna.printable import percent_change

if TYPE_CHECKING:
    from pathlib import Path

    from schedtuna.backend.places.base import Place
    from schedtuna.experiment.campaign import Campaign, Question
    from schedtuna.experiment.comparison import Comparison
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.spec import RunSpec, Workload

app = typer.Typer(add_completion=False)

REPORT_NAME = "report.html"
DEFAULT = "default"
UNSAID = "\0"  # which nobody can type


class FailOn(StrEnum):
    """Which verdicts end with exit code 1."""

    WORSE = "worse"
    NOT_IMPROVED = "not-improved"


class _SidesCommand(TyperCommand):
    """A side that is not named before ``--`` is `UNSAID`: it goes without saying at another place."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in what is not said: ``--kernel A --kernel B [SCHEDULER]``, then a command or a workload."""
        at = args.index("--") if "--" in args else len(args)
        given, _, _ = self.make_parser(ctx).parse_args(args[:at])
        if at < len(args) or given.get("named"):
            nr_unsaid = sum(given.get(side) is None for side in ("a", "b"))
            args = [*args[:at], *[UNSAID] * nr_unsaid, *args[at:]]
        return super().parse_args(ctx, args)


@app.command(cls=_SidesCommand)
@bundled
def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="`default`, a file, or NAME:param=value,...", show_default=False),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The candidate, likewise.", show_default=False)],
    *,
    question: CandidateOptions,
    folder: FolderOptions,
    run: WorkloadOptions,
    where: SidesOptions,
    fleet: FleetOptions,
    command: OptionalCommandArgument = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit with code 1 on this verdict, for CI.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run COMMAND under A, A again and B, interleaved in random order, and say what is proven.

    On a simulated machine more candidates may follow B: `--backend sim --workload LOAD A B C ...`.

    Verdicts: improved, no_evidence (a gain of --delta is excluded), worse, too_noisy. At most 81 runs
    unless --budget or --time says otherwise; fewer where the answer is clear.
    """
    from schedtuna.experiment.campaign import open_campaign

    length = question.length()
    places = [place.fitting(run.named) for place in where.ready_places()]
    if command and run.named is not None and places[0].is_model and places[0] == places[1]:
        if fail_on is not None:
            raise UsageError("--fail-on is of one candidate", hint="--json tells each one's verdict")
        from schedtuna.cli.compare_several import compare_several

        if UNSAID in (a, b):
            raise UsageError("no candidate to compare with", hint="name the default, then the candidates")
        sides = [(places[0], places[0].scheduler(text)) for text in (a, b, *command)]
        question = replace(question, metric=run.metrics(question.metric, places[0]))
        spec = question.spec(run.workload(None, places[0]), folder.fixed_seed())
        with termination_interrupts():
            compare_several(sides, spec, question, folder, as_json=as_json)
        return
    workload = run.workload(command, places[0])
    folder.require_consent(workload.argv)
    question = replace(question, metric=run.metrics(question.metric, places[0]))
    asked, spec = posed(question, _sides(a, b, places), workload, folder.fixed_seed())
    with (
        termination_interrupts(),
        open_campaign(
            asked,
            spec,
            results=folder.results,
            resume=folder.resume,
            open_place=fleet.open_place(places),
        ) as campaign,
    ):
        comparison = carry_out(campaign, length, settle_worse=fail_on is FailOn.WORSE)
        unwritten = None
        try:
            write_files(campaign, comparison)
        except OSError as error:
            unwritten = campaign.unwritten(error)
        if as_json:
            print_json(_summary(campaign, comparison, written=unwritten is None))
        else:
            _print(campaign, comparison, written=unwritten is None)
        if unwritten:
            raise unwritten
    if comparison.interrupted:
        raise typer.Exit(130)
    if _fails(comparison, fail_on):
        raise typer.Exit(1)


def posed(
    question: QuestionOptions,
    sides: list[tuple[Place, SchedulerConfig]],
    workload: Workload,
    seed: int,
) -> tuple[Question, RunSpec]:
    """Return what is asked of a default and a candidate, and what the runs for it have in common."""
    from schedtuna.experiment.campaign import Question

    spec = question.spec(workload, seed)
    names = dict(zip("AB", Question("compare", sides).labels(), strict=True))
    return Question("compare", sides, names | question.identity(spec)), spec


def _sides(a: str, b: str, places: list[Place]) -> list[tuple[Place, SchedulerConfig]]:
    """What is compared: two schedulers at one place, or one at two.

    Raises:
        UsageError: The candidate is not named, or schedulers and places differ both.
    """
    elsewhere = places[0] != places[1]
    if b == UNSAID and not elsewhere:
        raise UsageError("no candidate to compare with", hint="name it before `--`: compare A B -- COMMAND")
    default = DEFAULT if a == UNSAID else a
    texts = (default, default if b == UNSAID else b)
    sides = [(place, place.scheduler(text)) for place, text in zip(places, texts, strict=True)]
    labels = [scheduler.label() for _, scheduler in sides]
    if elsewhere and labels[0] != labels[1]:
        raise UsageError(
            f"{labels[0]} and {labels[1]} at two places: what differs would have two causes",
            hint="name one scheduler, or one place",
        )
    return sides


def carry_out(
    campaign: Campaign, length: dict[str, Any], *, settle_worse: bool, to_continue: Path | None = None
) -> Comparison:
    """Make the runs of an open campaign, and show how far they are.

    Args:
        campaign: It.
        length: When it ends.
        settle_worse: Whether to go on until a loss of delta is excluded, too.
        to_continue: What to resume after Ctrl-C; default: the campaign's folder.
    """
    from schedtuna.cli.progress import CampaignProgress
    from schedtuna.experiment.campaign import how_to_continue
    from schedtuna.experiment.compare import compare as run_comparison

    kept = how_to_continue(to_continue or campaign.folder)
    with CampaignProgress(campaign, "compare") as progress:
        try:
            comparison = run_comparison(
                campaign.spec,
                *campaign.sides,
                log=campaign.log,
                settle_worse=settle_worse,
                on_event=progress.show,
                **length,
            )
        except KeyboardInterrupt:
            told = kept if campaign.has_results else "nothing of them can be continued"
            progress.say(f"interrupted after {progress.done} runs; {told}")
            raise typer.Exit(130) from None
        if comparison.interrupted:
            progress.say(f"interrupted after {progress.done} runs; {kept}")
    return comparison.with_warnings(campaign.warnings)


def _fails(comparison: Comparison, fail_on: FailOn | None) -> bool:
    from schedtuna.evidence.result import Verdict

    verdict = comparison.verdict
    return (fail_on is FailOn.WORSE and verdict is Verdict.WORSE) or (
        fail_on is FailOn.NOT_IMPROVED and verdict is not Verdict.IMPROVED
    )


def write_files(campaign: Campaign, comparison: Comparison) -> None:
    """Write comparison.json and report.html into the results folder."""
    from schedtuna.experiment.comparison import RESULT_NAME, write_comparison
    from schedtuna.report import comparison as parts
    from schedtuna.report.page import Page, write

    write_comparison(campaign.folder, comparison, _summary(campaign, comparison))
    page = Page(
        title=f"{comparison.candidate} against {comparison.default} · {campaign.spec.workload.title}",
        tone=comparison.verdict,
        verdict=comparison.sentence(),
        facts=parts.facts(comparison),
        sections=parts.sections(comparison),
        footer=f"Everything is in {campaign.folder.resolve()}: trials.jsonl, manifest.json, {RESULT_NAME}.",
    )
    write(page, campaign.folder / REPORT_NAME)


def _summary(campaign: Campaign, comparison: Comparison, *, written: bool = True) -> dict[str, Any]:
    return {
        "study": str(campaign.folder),
        "workload": campaign.spec.workload.title,
        "scheduler": comparison.candidate.partition(":")[0],
        "places": [place.model_dump(mode="json") for place, _ in campaign.asked.sides],
        **comparison.summary(),
        "sentence": comparison.sentence(),
        "confirm": _confirmation(campaign) or None,
        "seed": campaign.spec.seed,
        "trials": comparison.nr_runs,
        "runs": {"search": 0, "confirmation": comparison.nr_runs},
        "report": str(campaign.folder / REPORT_NAME) if written else None,
    }


def _print(campaign: Campaign, comparison: Comparison, *, written: bool) -> None:
    from schedtuna.evidence.design import Design

    print(comparison.sentence() + "\n")
    for spec in comparison.metrics:
        print(_arms(comparison, spec.name) + "\n")
    result = comparison.result
    itself = f"default against itself (A/A): {percent_change(result.aa.ratio)}, noise of single runs"
    if result.design is Design.PAIRS:
        itself = "the default repeats exactly; spread of the effect over seeds"
    print(f"{itself}: {result.noise_cv:.1%}")
    for judged in comparison.requirements:
        print(f"required: {comparison.tell_rule(judged)}")
    for note in comparison.notes:
        print_remark("note", note)
    if confirmation := _confirmation(campaign):
        print_remark("confirm", confirmation)
    if written:
        print_remark("report", str(campaign.folder / REPORT_NAME))


def _confirmation(campaign: Campaign) -> str:
    """The command that confirms the candidate on a machine; empty where it ran on one."""
    (_, default), (place, candidate) = campaign.asked.sides
    return place.confirmation(default, candidate, campaign.spec)


def _arms(comparison: Comparison, metric: str) -> str:
    """One row per arm: what its runs measured."""
    from schedtuna.backend.base import Validity
    from schedtuna.cli.table import number, table
    from schedtuna.evidence.design import Arm

    names = {Arm.A: comparison.default, Arm.A2: f"{comparison.default} again", Arm.B: comparison.candidate}
    rows = []
    for arm in comparison.result.design.arms:
        name = names[arm]
        trials = [record.trial for record in comparison.records if record.arm == arm]
        values = [trial.metrics[metric] for trial in trials if trial.validity is Validity.OK]
        numbers = (median(values), mean(values), min(values), max(values)) if values else (None,) * 4
        rows.append(
            [
                name,
                str(len(trials)),
                str(len(trials) - len(values)),
                *(number(value, metric) for value in numbers),
            ]
        )
    return table([metric, "runs", "failed", "median", "mean", "min", "max"], rows)
