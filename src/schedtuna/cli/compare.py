"""`schedtuna compare`: is B better than A on this command, and is the difference real?"""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from typer.core import TyperCommand

from schedtuna.cli.common import (
    find_guest_scheduler,
    find_scheduler,
    listed,
    make_workload,
    parse_positive_duration,
    ready_place,
    termination_interrupts,
)
from schedtuna.cli.options import (
    AllowClientOption,
    BackendOption,
    BudgetOption,
    CgroupOption,
    CommandArgument,
    CpusOption,
    DeltaOption,
    JsonOption,
    MaxStealOption,
    MetricOption,
    ParserOption,
    PidOption,
    RequireOption,
    ResultsOption,
    ResumeOption,
    ScopeOption,
    SeedOption,
    ShellOption,
    TimeOption,
    TimeoutOption,
    TrustOption,
    UserOption,
    WarmupOption,
    WashoutOption,
)
from schedtuna.cli.output import print_json, print_remark

if TYPE_CHECKING:
    from schedtuna.backend.vm import GuestChoice
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.experiment.compare import CompareProgress, Comparison
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.spec import Workload

app = typer.Typer(add_completion=False)

REPORT_NAME = "report.html"
RESULT_NAME = "comparison.json"


class FailOn(StrEnum):
    """Which verdicts end with exit code 1."""

    WORSE = "worse"
    NOT_IMPROVED = "not-improved"


class _KernelsCommand(TyperCommand):
    """Where two kernels are compared, at most one scheduler is named: both sides have the same."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in what is not said: `--kernel A --kernel B [SCHEDULER] -- COMMAND`."""
        if "--" in args:
            at = args.index("--")
            given, _, _ = self.make_parser(ctx).parse_args(args[:at])
            if len(given.get("kernel") or ()) == 2 and not given.get("b"):
                args = [*args[:at], *(["default"] * 2 if not given.get("a") else [given["a"]]), *args[at:]]
        return super().parse_args(ctx, args)


@app.command(cls=_KernelsCommand)
def compare(  # noqa: PLR0917 - typer's options are a function's parameters
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="`default`, a file, or NAME:param=value,...", show_default=False),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The candidate, likewise.", show_default=False)],
    command: CommandArgument,
    budget: BudgetOption = None,
    time: TimeOption = None,
    metric: MetricOption = None,
    require: RequireOption = None,
    delta: DeltaOption = 0.03,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit with code 1 on this verdict, for CI.", show_default=False),
    ] = None,
    seed: SeedOption = None,
    results: ResultsOption = Path("results"),
    resume: ResumeOption = None,
    trust_folder: TrustOption = False,
    scope: ScopeOption = None,
    pid: PidOption = None,
    cgroup: CgroupOption = None,
    user: UserOption = None,
    shell: ShellOption = False,
    allow_client: AllowClientOption = False,
    timeout: TimeoutOption = "5m",
    warmup: WarmupOption = 0,
    washout: WashoutOption = "0s",
    parser: ParserOption = "",
    max_steal: MaxStealOption = 1.0,
    backend: BackendOption = "host",
    kernel: Annotated[
        list[str] | None,
        typer.Option(
            "--kernel",
            metavar="VERSION",
            help="With `vm`: an installed kernel. Twice: compare two kernels, under one scheduler.",
            show_default=False,
        ),
    ] = None,
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run COMMAND under A, A again and B, interleaved in random order, and say what is proven.

    Verdicts: improved, no_evidence (a gain of --delta is excluded), worse, too_noisy. At most 81 runs
    unless --budget or --time says otherwise; fewer where the answer is clear.
    """
    from schedtuna.errors import UsageError
    from schedtuna.experiment.campaign import open_campaign
    from schedtuna.experiment.compare import blocks_within
    from schedtuna.experiment.compare import compare as run_comparison
    from schedtuna.experiment.triallog import LOG_NAME
    from schedtuna.files import require_consent
    from schedtuna.workload.metrics import default_metric, format_metric, parse_metric, parse_requirement

    if not 0 < delta < 1:
        raise UsageError(f"--delta {delta}: expected a fraction between 0 and 1, such as 0.03")
    blocks_within(budget)
    time_limit_s = None if time is None else parse_positive_duration(time, option="--time")
    workload = make_workload(
        command,
        shell=shell,
        user=user,
        timeout=timeout,
        warmup=warmup,
        washout=washout,
        parser=parser,
        works_here=allow_client,
    )
    kernels = listed(kernel)
    first = kernels[0] if kernels else None
    if resume is not None:
        require_consent(resume, [LOG_NAME], command, trusted=trust_folder)
    target, guest = ready_place(scope, pid, cgroup, backend=backend, kernel=first, cpus=cpus)
    sides = [find_guest_scheduler(text) if guest else find_scheduler(text, target) for text in (a, b)]
    if guest and len(kernels) > 1:
        guest, sides = _on_kernels(kernels, sides, guest.cpus)
    metrics = [parse_metric(text, workload) for text in listed(metric)] or [default_metric(workload)]
    requirements = [parse_requirement(text) for text in listed(require)]
    with (
        termination_interrupts(),
        open_campaign(
            "compare",
            workload,
            target,
            sides,
            metrics,
            required=[rule.metric for rule in requirements],
            seed=seed,
            results=results,
            resume=resume,
            limits={"steal_fraction": max_steal},
            identity={
                "A": sides[0].label(),
                "B": sides[1].label(),
                "metrics": " ".join(map(format_metric, metrics)),
                "requirements": " ".join(listed(require)),
                "budget": f"{budget} runs, {time or 'no time limit'}",
                "delta": str(delta),
            },
            guest=guest,
        ) as campaign,
    ):
        with CampaignProgress(campaign) as progress:
            try:
                comparison = run_comparison(
                    campaign.backend,
                    workload,
                    *sides,
                    metrics=metrics,
                    requirements=requirements,
                    budget=budget,
                    time_limit_s=time_limit_s,
                    delta=delta,
                    settle_worse=fail_on is FailOn.WORSE,
                    seed=campaign.seed,
                    log=campaign.log,
                    on_event=progress.show,
                )
            except KeyboardInterrupt:
                progress.say(f"interrupted after {progress.done} runs; {campaign.how_to_continue}")
                raise typer.Exit(130) from None
            if comparison.interrupted:
                progress.say(f"interrupted after {progress.done} runs; {campaign.how_to_continue}")
        comparison = comparison.with_warnings(campaign.warnings)
        unwritten = None
        try:
            _write(campaign, workload, comparison)
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


class CampaignProgress:
    """A bar while runs are made, and a line for every look."""

    def __init__(self, campaign: Campaign, title: str = "compare") -> None:
        from schedtuna.cli.progress import RunProgress

        self.done = 0
        self._campaign = campaign
        self._bar = RunProgress(title, None)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        self._campaign.introduce(self._bar.say)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(None, None, None)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.say(text)

    def show(self, event: CompareProgress) -> None:
        """Show where the comparison stands."""
        from schedtuna.cli.progress import format_duration
        from schedtuna.evidence.design import RUNS_PER_BLOCK

        self.done = event.done
        noise = "" if event.noise_cv is None else f"noise {event.noise_cv:.1%}"
        trial = event.record.trial
        self._bar.update(event.done, event.total, note=trial.reason or noise)
        if event.done == RUNS_PER_BLOCK:
            left = format_duration((event.total - event.done) * trial.duration_s)
            self.say(f"at most {event.total} runs, about {left} more; fewer where the answer is clear")
        if event.result is not None:
            ratio, (low, high) = event.result.effect.ratio, event.result.effect.ci95
            self.say(
                f"look after {event.done} runs: {event.result.verdict}, "
                f"{100 * (ratio - 1):+.1f}% ({100 * (low - 1):+.1f}% to {100 * (high - 1):+.1f}%), {noise}"
            )


def _on_kernels(
    kernels: list[str], sides: list[SchedulerConfig], cpus: int
) -> tuple[GuestChoice, list[SchedulerConfig]]:
    """The same scheduler on two kernels, each with its full version.

    Raises:
        UsageError: They are not two, or the schedulers differ, too.
    """
    from schedtuna.backend.vm import GuestChoice
    from schedtuna.errors import UsageError
    from schedtuna.lab.store import read_lab

    lab = read_lab()
    versions = [lab.kernel(kernel).version for kernel in kernels]
    if len(set(versions)) != 2:
        raise UsageError(f"expected two different kernels, not {', '.join(versions)}")
    if sides[0] != sides[1]:
        raise UsageError(
            f"{sides[0].label()} and {sides[1].label()} on two kernels: what differs would have two causes",
            hint="name one scheduler, or one kernel",
        )
    on = [side.model_copy(update={"kernel": version}) for side, version in zip(sides, versions, strict=True)]
    return GuestChoice(cpus=cpus, kernels=tuple(versions)), on


def _fails(comparison: Comparison, fail_on: FailOn | None) -> bool:
    from schedtuna.evidence.result import Verdict

    verdict = comparison.verdict
    return (fail_on is FailOn.WORSE and verdict is Verdict.WORSE) or (
        fail_on is FailOn.NOT_IMPROVED and verdict is not Verdict.IMPROVED
    )


def _write(campaign: Campaign, workload: Workload, comparison: Comparison) -> None:
    """Write comparison.json and report.html into the results folder."""
    from schedtuna.experiment.comparison import STORED
    from schedtuna.files import write_text
    from schedtuna.report import comparison as parts
    from schedtuna.report.page import Page, write

    content = {
        STORED.key: STORED.newest,
        **_summary(campaign, comparison),
        "evidence": comparison.result.to_dict(),
    }
    write_text(campaign.folder / RESULT_NAME, json.dumps(content, indent=2, allow_nan=False) + "\n")
    page = Page(
        title=f"{comparison.candidate} against {comparison.default} · {shlex.join(workload.argv)}",
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
        "scheduler": comparison.candidate.partition(":")[0],
        **comparison.summary(),
        "sentence": comparison.sentence(),
        "seed": campaign.seed,
        "trials": comparison.nr_runs,
        "runs": {"search": 0, "confirmation": comparison.nr_runs},
        "report": str(campaign.folder / REPORT_NAME) if written else None,
    }


def _print(campaign: Campaign, comparison: Comparison, *, written: bool) -> None:
    from schedtuna.experiment.comparison import tell_rule

    print(comparison.sentence() + "\n")
    for spec in comparison.metrics:
        print(_arms(comparison, spec.name) + "\n")
    aa, noise = comparison.result.aa, comparison.result.noise_cv
    print(f"default against itself (A/A): {100 * (aa.ratio - 1):+.1f}%, noise of single runs: {noise:.1%}")
    for judged in comparison.requirements:
        print(f"required: {tell_rule(judged)}")
    for note in comparison.notes:
        print_remark("note", note)
    if written:
        print_remark("report", str(campaign.folder / REPORT_NAME))


def _arms(comparison: Comparison, metric: str) -> str:
    """One row per arm: what its runs measured."""
    from schedtuna.backend.base import Validity
    from schedtuna.cli.table import number, table
    from schedtuna.evidence.design import Arm

    names = {Arm.A: comparison.default, Arm.A2: f"{comparison.default} again", Arm.B: comparison.candidate}
    rows = []
    for arm, name in names.items():
        trials = [record.trial for record in comparison.records if record.arm == arm]
        values = [trial.metrics[metric] for trial in trials if trial.validity is Validity.OK]
        numbers = (median(values), mean(values), min(values), max(values)) if values else (None,) * 4
        rows.append([name, str(len(trials)), str(len(trials) - len(values)), *map(number, numbers)])
    return table([metric, "runs", "failed", "median", "mean", "min", "max"], rows)
