"""`schedtuna tune`: find better scheduling for a command, and prove it or say that there is none."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import (
    BudgetOption,
    CgroupOption,
    DeltaOption,
    JsonOption,
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
    UserOption,
    WarmupOption,
    WashoutOption,
    listed,
    make_target,
    make_workload,
    parse_positive_duration,
    termination_interrupts,
)
from schedtuna.cli.compare import CampaignProgress
from schedtuna.cli.output import print_json

if TYPE_CHECKING:
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.experiment.compare import CompareProgress
    from schedtuna.knobs.base import Target
    from schedtuna.tune.plan import StudyPlan
    from schedtuna.tune.search import SearchProgress
    from schedtuna.tune.study import StudyResult

app = typer.Typer(add_completion=False)

DEFAULT_BUDGET = 100


@app.command()
def tune(  # noqa: PLR0917 - typer's options are a function's parameters
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="The command to run, after `--`.", show_default=False),
    ] = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", "-S", metavar="NAME", help="What is tuned.")
    ] = "fair",
    sampler: Annotated[
        str, typer.Option("--sampler", "--algorithm", metavar="NAME", help="What decides what to try next.")
    ] = "gp",
    budget: BudgetOption = None,
    time: TimeOption = None,
    metric: MetricOption = None,
    require: RequireOption = None,
    delta: DeltaOption = 0.03,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="KNOB",
            help="Also try this knob, which is on request only: cpu_quota, cpuset, realtime, ... Repeatable.",
            show_default=False,
        ),
    ] = None,
    baseline_runs: Annotated[
        int, typer.Option("--baseline-runs", min=1, help="Runs of the default before the search.")
    ] = 3,
    seed: SeedOption = None,
    results: ResultsOption = Path("results"),
    resume: ResumeOption = None,
    scope: ScopeOption = None,
    pid: PidOption = None,
    cgroup: CgroupOption = None,
    user: UserOption = None,
    shell: ShellOption = False,
    timeout: TimeoutOption = "5m",
    warmup: WarmupOption = 0,
    washout: WashoutOption = "0s",
    parser: ParserOption = "",
    as_json: JsonOption = False,
) -> None:
    """Search a scheduler's settings for COMMAND, then prove the best one on fresh runs.

    The verdict rests on interleaved runs of the default, the default again and the one candidate
    that the search chose; the search's own runs never enter it. Without a proven gain the default
    stays. `--resume DIR` continues where an interrupted study was.
    """
    from schedtuna.errors import UsageError
    from schedtuna.tune.plan import StudyPlan

    if budget is not None and budget <= 0:
        raise UsageError(f"--budget {budget}: expected at least one run")
    if not 0 < delta < 1:
        raise UsageError(f"--delta {delta}: expected a fraction between 0 and 1, such as 0.03")
    target = make_target(scope, pid, cgroup)
    if resume is not None and not command:
        plan = StudyPlan.read(resume)
    else:
        workload = make_workload(
            command or [],
            shell=shell,
            user=user,
            timeout=timeout,
            warmup=warmup,
            washout=washout,
            parser=parser,
        )
        plan = StudyPlan(
            scheduler=_scheduler(scheduler, target, listed(include)),
            workload=workload,
            metrics=_metrics(workload, listed(metric)),
            requirements=_requirements(listed(require)),
            sampler=sampler,
            budget=budget or DEFAULT_BUDGET,
            time_limit_s=None if time is None else parse_positive_duration(time, option="--time"),
            baseline_runs=baseline_runs,
            delta=delta,
            seed=_seed(seed, resume),
        )
    result = _run(plan, target, results=results, resume=resume)
    if as_json:
        from schedtuna.tune.results import summary

        print_json(summary(result))
    else:
        _print(result)
    if result.comparison.interrupted:
        raise typer.Exit(130)


def _scheduler(name: str, target: Target, include: list[str]) -> Any:
    from schedtuna.errors import UnavailableError
    from schedtuna.scheduler.fair import NAME, fair
    from schedtuna.scheduler.registry import registered

    if name == NAME:
        return fair(target, include=include)
    registered(name)  # an unknown name is told apart from one that can't run here
    raise UnavailableError(
        f"this machine can't run {name}",
        hint="tune the kernel's own scheduler with --scheduler fair; `schedtuna doctor` says what is missing",
    )


def _metrics(workload: Any, texts: list[str]) -> Any:
    from schedtuna.workload.metrics import default_metric, parse_metric

    return tuple(parse_metric(text, workload) for text in texts) or (default_metric(workload),)


def _requirements(texts: list[str]) -> Any:
    from schedtuna.workload.metrics import parse_requirement

    return tuple(parse_requirement(text) for text in texts)


def _seed(seed: int | None, resume: Path | None) -> int:
    from schedtuna.experiment.campaign import choose_seed
    from schedtuna.tune.plan import StudyPlan

    return StudyPlan.read(resume).seed if seed is None and resume is not None else choose_seed(seed)


def _run(plan: StudyPlan, target: Target, *, results: Path, resume: Path | None) -> StudyResult:
    from schedtuna.experiment.campaign import open_campaign
    from schedtuna.tune.study import Study

    with (
        termination_interrupts(),
        open_campaign(
            "tune",
            plan.workload,
            target,
            [plan.scheduler],
            plan.metrics,
            required=[rule.metric for rule in plan.requirements],
            seed=plan.seed,
            results=results,
            resume=resume,
            identity=plan.identity(),
            names=plan.folder_names,
        ) as campaign,
        _Progress(campaign) as progress,
    ):
        try:
            result = Study(plan, campaign.backend, campaign.log, on_event=progress.show).run()
        except KeyboardInterrupt:
            progress.say(f"interrupted; {campaign.how_to_continue}")
            raise typer.Exit(130) from None
        _write(result, campaign)
    return result


class _Progress(CampaignProgress):
    """The same bar, for the search too."""

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(campaign, "search")

    def show(self, event: CompareProgress | SearchProgress) -> None:
        """Show where the search, then the confirmation stands."""
        from schedtuna.tune.search import SearchProgress

        if not isinstance(event, SearchProgress):
            super().show(event)
            return
        self.done = event.done
        trial = event.record.trial
        parts = []
        if event.best_cost is not None:
            parts.append(f"best single run {100 * math.expm1(event.best_cost):+.1f}%")
        if event.noise_cv is not None:
            parts.append(f"noise {event.noise_cv:.1%}")
        note = trial.reason or ", ".join(parts)
        self._bar.update(event.done, event.total, note=note, title=event.sampler or "baseline")


def _write(result: StudyResult, campaign: Campaign) -> None:
    from schedtuna.report.page import write
    from schedtuna.tune.page import study_page, write_plots
    from schedtuna.tune.results import PLOTS_NAME, REPORT_NAME, write_results

    write_results(result)
    write_plots(result, result.folder / PLOTS_NAME)
    write(study_page(result, campaign.manifest.model_dump(mode="json")), result.folder / REPORT_NAME)


def _print(result: StudyResult) -> None:
    from schedtuna.tune.results import REPORT_NAME

    comparison = result.comparison
    print(f"{str(comparison.verdict).replace('_', ' ')}: {comparison.sentence()}")
    for note in comparison.notes:
        print(f"note: {note}")
    print(f"runs: {result.nr_search_runs} search, {comparison.nr_runs} confirmation")
    if result.best is not None:
        command = shlex.join(result.plan.workload.argv)
        print(f"apply: schedtuna apply {shlex.quote(str(result.folder))} -- {command}")
    print(f"report: {result.folder / REPORT_NAME}")
