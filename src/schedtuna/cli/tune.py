"""`schedtuna tune`: find better scheduling for a command, and prove it or say that there is none."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedtuna.cli.common import (
    listed,
    make_workload,
    parse_positive_duration,
    ready_place,
    termination_interrupts,
)
from schedtuna.cli.compare import CampaignProgress
from schedtuna.cli.options import (
    AllowClientOption,
    BackendOption,
    BudgetOption,
    CgroupOption,
    CpusOption,
    DeltaOption,
    JsonOption,
    KernelOption,
    OptionalCommandArgument,
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
from schedtuna.cli.output import DEBUG_VARIABLE, print_json, print_remark

if TYPE_CHECKING:
    from schedtuna.experiment.campaign import Campaign
    from schedtuna.history.outcome import StudyResult
    from schedtuna.history.plan import StudyPlan
    from schedtuna.tune.search import StudyEvent
    from schedtuna.workload.spec import MetricSpec, Requirement, Workload

app = typer.Typer(add_completion=False)

DEFAULT_BUDGET = 100
# How long a study is: fields of its plan, and the options that a resume may change them by.
_LENGTH = {"budget", "episodes", "time"}
LIMITS = {
    "budget": _LENGTH,
    "episodes": _LENGTH,
    "time_limit_s": _LENGTH,
    "baseline_runs": {"baseline_runs"},
    "save_frequency": {"save_frequency"},
    "delta": {"delta"},
}
HARMLESS = {"resume", "trust_folder", "results", "verbose", "debug", "as_json"}  # what no run depends on


@app.command()
def tune(  # noqa: PLR0917 - typer's options are a function's parameters
    context: typer.Context,
    command: OptionalCommandArgument = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", "-S", metavar="NAME", help="What is tuned.")
    ] = "fair",
    sampler: Annotated[
        str, typer.Option("--sampler", "--algorithm", metavar="NAME", help="How to decide what to try next.")
    ] = "gp",
    budget: BudgetOption = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes",
            min=1,
            help="Runs of the search alone, in place of --budget; the confirmation comes on top.",
            show_default=False,
        ),
    ] = None,
    time: TimeOption = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            "--optimize-metric",
            metavar="NAME[:min|max][*WEIGHT][=SOURCE]",
            help="What to optimise; `throughput` and `latency` stand for the workload's main ones. SOURCE is "
            "regex:PATTERN, json:PATH, csv:COLUMN or field:NAME. Repeatable. Default: the parser's main "
            "metric, or wall_time_s:min.",
            show_default=False,
        ),
    ] = None,
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
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="KNOB",
            help="Do not try this knob, such as one that the command sets itself. Repeatable.",
            show_default=False,
        ),
    ] = None,
    baseline_runs: Annotated[
        int, typer.Option("--baseline-runs", min=1, help="Runs of the default before the search.")
    ] = 3,
    benchmark_cmd: Annotated[
        str | None,
        typer.Option(
            "--benchmark-cmd", metavar="'COMMAND'", help="COMMAND as one string.", show_default=False
        ),
    ] = None,
    model_path: Annotated[
        Path | None,
        typer.Option(
            "--model-path",
            metavar="FILE",
            help="Without a COMMAND: run llama-bench with this model.",
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Learning rate of a sampler that learns.", show_default=False),
    ] = None,
    update_frequency: Annotated[
        int | None,
        typer.Option(
            "--update-frequency", help="Runs between two updates of such a sampler.", show_default=False
        ),
    ] = None,
    save_frequency: Annotated[
        int, typer.Option("--save-frequency", min=1, help="Runs between two checkpoints of such a sampler.")
    ] = 25,
    reward_scaling: Annotated[
        float | None,
        typer.Option(
            "--reward-scaling", help="Factor on the rewards that such a sampler sees.", show_default=False
        ),
    ] = None,
    pretrained_model: Annotated[
        Path | None,
        typer.Option(
            "--pretrained-model", metavar="FILE.pt", help="A checkpoint to start from.", show_default=False
        ),
    ] = None,
    no_gpu: Annotated[bool, typer.Option("--no-gpu", help="Train on the CPU.")] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            "--tensorboard",
            metavar="DIR",
            help="Log such a sampler's training there, for TensorBoard.",
            show_default=False,
        ),
    ] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(
            "--warm-start",
            metavar="DIR",
            help="Let an earlier study (or a folder of them) steer the search; never the claim. Repeatable.",
            show_default=False,
        ),
    ] = None,
    experiment_name: Annotated[
        str,
        typer.Option(
            "--experiment-name", metavar="NAME", help="Name of the results folder.", show_default=False
        ),
    ] = "",
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
    backend: BackendOption = "host",
    kernel: KernelOption = None,
    cpus: CpusOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line per run, to stderr.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Log every number of every run, and show where an error came from."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search a scheduler's settings for COMMAND, then prove the best one on fresh runs.

    The verdict rests on interleaved runs of the default, the default again and the one candidate
    that the search chose; the search's own runs never enter it. Without a proven gain the default
    stays. Without a COMMAND, llama-bench runs with --model-path, else the bundled suite's default
    workload. `--resume DIR` alone continues an interrupted study as it was; a budget may be changed
    until its confirmation begins.
    """
    from schedtuna.backend.place import Place
    from schedtuna.errors import UsageError
    from schedtuna.experiment.campaign import choose_seed
    from schedtuna.files import require_consent
    from schedtuna.history.plan import DECIDING_FILES, StudyPlan
    from schedtuna.history.warmstart import past_runs
    from schedtuna.tune.options import sampler_options, tunable, tunable_in_guest, without
    from schedtuna.tune.running import UnwrittenStudyError

    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
    if sum(limit is not None for limit in (budget, episodes, time)) > 1:
        raise UsageError("--budget, --episodes and --time contradict each other", hint="give one of them")
    if budget is not None and budget <= 0:
        raise UsageError(f"--budget {budget}: expected at least one run")
    if not 0 < delta < 1:
        raise UsageError(f"--delta {delta}: expected a fraction between 0 and 1, such as 0.03")
    before = None if resume is None else StudyPlan.read(resume)
    if resume is not None and before is not None:
        require_consent(resume, DECIDING_FILES, before.workload.argv, trusted=trust_folder)
    limits: dict[str, Any] = {
        "budget": budget or DEFAULT_BUDGET,
        "episodes": episodes,
        "time_limit_s": None if time is None else parse_positive_duration(time, option="--time"),
        "baseline_runs": baseline_runs,
        "save_frequency": save_frequency,
        "delta": delta,
    }
    notes: list[str] = []
    if before is not None and not command and benchmark_cmd is None and model_path is None:
        _refuse_what_the_study_has(context, resume)
        plan = before
    else:
        workload = _workload(
            command,
            benchmark_cmd,
            model_path,
            shell=shell,
            user=user,
            timeout=timeout,
            warmup=warmup,
            washout=washout,
            parser=parser,
            works_here=allow_client,
        )
        options, notes = sampler_options(
            sampler,
            {
                "learning_rate": learning_rate,
                "update_frequency": update_frequency,
                "reward_scaling": reward_scaling,
                "use_gpu": False if no_gpu else None,
                "pretrained": None if pretrained_model is None else str(pretrained_model.resolve()),
                "tensorboard": None if tensorboard is None else str(tensorboard.resolve()),
            },
        )
        target, guest = ready_place(scope, pid, cgroup, backend=backend, kernel=kernel, cpus=cpus)
        if guest and include:
            raise UsageError("--include names knobs of this machine: it needs --backend host")
        chosen = tunable_in_guest(scheduler) if guest else tunable(scheduler, target, listed(include))
        chosen = without(chosen, listed(exclude))
        metrics = _metrics(workload, listed(metric))
        past, told = past_runs(warm_start or (), chosen, workload, metrics)
        notes += told
        plan = StudyPlan(
            scheduler=chosen,
            workload=workload,
            place=Place.of(target, guest),
            metrics=metrics,
            requirements=_requirements(listed(require)),
            sampler=sampler,
            sampler_options=options,
            seed=before.seed if before and seed is None else choose_seed(seed),
            name=experiment_name,
            warm_start=past,
        )
    plan = plan.model_copy(update=limits if before is None else _changed(limits, context, before))
    try:
        result = _run(plan, results=results, resume=resume, notes=notes, verbose=verbose, debug=debug)
    except UnwrittenStudyError as error:
        _tell(error.result, as_json=as_json, written=False)
        raise
    _tell(result, as_json=as_json)
    if result.comparison.interrupted:
        raise typer.Exit(130)


def _given(context: typer.Context) -> dict[str, str]:
    """The options that were given, by the name of their parameter, as they are spelled."""
    given = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name) if parameter.name else None
        if parameter.name and source is not None and source.name == "COMMANDLINE":
            given[parameter.name] = parameter.opts[0]
    return given


def _refuse_what_the_study_has(context: typer.Context, folder: Path | None) -> None:
    """A study keeps what its runs depend on; with a whole command line it is compared instead."""
    from schedtuna.errors import UsageError

    allowed = {name for names in LIMITS.values() for name in names} | HARMLESS
    fixed = [option for name, option in _given(context).items() if name not in allowed]
    if fixed:
        raise UsageError(
            f"--resume {folder} continues that study as it was started: {', '.join(fixed)} can't be changed",
            hint="leave that out; what may be changed is how long it is: --budget, --episodes or --time",
        )


def _changed(limits: dict[str, Any], context: typer.Context, before: StudyPlan) -> dict[str, Any]:
    """The limits that were given, and those that the study had."""
    given = _given(context).keys()
    return {field: limits[field] if given & LIMITS[field] else getattr(before, field) for field in LIMITS}


def _workload(command: list[str] | None, text: str | None, model: Path | None, **options: Any) -> Workload:
    """What runs: COMMAND, --benchmark-cmd, llama-bench with a model, or the suite's default."""
    from schedtuna.errors import UsageError
    from schedtuna.tune.options import find_workload

    if sum(given is not None for given in (command or None, text, model)) > 1:
        raise UsageError(
            "COMMAND, --benchmark-cmd and --model-path contradict each other", hint="give one of them"
        )
    if command:
        return make_workload(command, **options)
    if text is not None and options["shell"]:
        return make_workload([text], **options)
    found = find_workload(text, model)
    asked = make_workload(found.argv, **options)
    kept = {"name": found.name, "shell": found.shell, "parser": asked.parser or found.parser}
    return asked.model_copy(update=kept)


def _metrics(workload: Workload, texts: list[str]) -> tuple[MetricSpec, ...]:
    from schedtuna.workload.metrics import default_metric, parse_metric

    return tuple(parse_metric(text, workload) for text in texts) or (default_metric(workload),)


def _requirements(texts: list[str]) -> tuple[Requirement, ...]:
    from schedtuna.workload.metrics import parse_requirement

    return tuple(parse_requirement(text) for text in texts)


def _run(
    plan: StudyPlan,
    *,
    results: Path,
    resume: Path | None,
    notes: list[str],
    verbose: bool,
    debug: bool,
) -> StudyResult:
    from schedtuna.tune.running import open_study

    with (
        termination_interrupts(),
        open_study(plan, results=results, resume=resume, debug=debug) as study,
        _Progress(study.campaign) as progress,
        _logging_to(progress.say, enabled=verbose or debug, debug=debug),
    ):
        for note in notes:
            progress.say(f"note: {note}")
        try:
            result = study.run(progress.show)
        except KeyboardInterrupt:
            progress.say(f"interrupted; {study.how_to_continue}")
            raise typer.Exit(130) from None
        if result.comparison.interrupted:
            progress.say(f"interrupted during the confirmation; {study.how_to_continue}")
        return result


@contextmanager
def _logging_to(say: Callable[[str], None], *, enabled: bool, debug: bool) -> Iterator[None]:
    """Show the lines of `experiment.log`, too; without `enabled` only those of runs that failed."""
    import logging

    from schedtuna.tune.experimentlog import LOGGER

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    handler, before = Lines(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO if enabled else logging.WARNING)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


class _Progress(CampaignProgress):
    """The same bar, for the search too."""

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(campaign, "search")

    def show(self, event: StudyEvent) -> None:
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


def _tell(result: StudyResult, *, as_json: bool, written: bool = True) -> None:
    """Print what came out; where it could not be written, too."""
    from schedtuna.experiment.comparison import tell_rule
    from schedtuna.history.results import REPORT_NAME, summary

    if as_json:
        print_json(summary(result) if written else {**summary(result), "report": None})
        return
    comparison = result.comparison
    print(comparison.headline())
    for judged in comparison.requirements:
        print(f"required: {tell_rule(judged)}")
    for note in comparison.notes:
        print_remark("note", note)
    print(f"runs: {result.nr_search_runs} search, {comparison.nr_runs} confirmation")
    if result.best is not None:
        print(_use(result))
    if written:
        print_remark("report", str(result.folder / REPORT_NAME))


def _use(result: StudyResult) -> str:
    from schedtuna.tune.commands import apply_line

    place, folder = result.plan.place, str(result.folder)
    if place.is_service:
        return f"apply: {shlex.join(['schedtuna', 'apply', folder])} -- THE SERVICE'S COMMAND"
    where = " (where the kernel has sched_ext)" if place.backend == "vm" else ""
    return f"apply{where}: {apply_line(folder, result.plan.workload)}"
