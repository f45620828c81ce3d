"""`schedtuna tune`: find better scheduling for a command, and prove it or say that there is none."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import (
    FleetOptions,
    FolderOptions,
    PlaceOptions,
    WorkloadOptions,
    listed,
    parse_positive_duration,
    termination_interrupts,
)
from schedtuna.cli.options import (
    MOST_RUNS,
    BudgetOption,
    DeltaOption,
    JsonOption,
    OptionalCommandArgument,
    RequireOption,
    TimeOption,
)
from schedtuna.cli.output import DEBUG_VARIABLE, print_json, print_remark
from schedtuna.errors import UsageError
from schedtuna.evidence import DELTA
from schedtuna.history.defaults import BASELINE_RUNS, BUDGET, SAVE_FREQUENCY

if TYPE_CHECKING:
    from schedtuna.backend.places.base import Place
    from schedtuna.history.outcome import StudyResult
    from schedtuna.history.plan import StudyPlan
    from schedtuna.workload.spec import Workload

app = typer.Typer(add_completion=False)

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
HARMLESS = {
    "resume",
    "trust_folder",
    "results",
    "ray",
    "verbose",
    "debug",
    "as_json",
}  # what no run depends on


@dataclass(frozen=True)
class CommandOptions:
    """What runs, where no COMMAND is given."""

    benchmark_cmd: Annotated[
        str | None,
        typer.Option(
            "--benchmark-cmd", metavar="'COMMAND'", help="COMMAND as one string.", show_default=False
        ),
    ] = None
    model_path: Annotated[
        Path | None,
        typer.Option(
            "--model-path",
            metavar="FILE",
            help="Without a COMMAND: run llama-bench with this model.",
            show_default=False,
        ),
    ] = None

    def workload(self, command: list[str] | None, how: WorkloadOptions, place: Place) -> Workload:
        """Return what runs: COMMAND, a bundled workload, --benchmark-cmd, or llama-bench with a model.

        Raises:
            UsageError: Several are given.
        """
        from schedtuna.tune.options import find_workload

        text, model = self.benchmark_cmd, self.model_path
        if sum(given is not None for given in (command or None, how.named, text, model)) > 1:
            raise UsageError(
                "COMMAND, --workload, --benchmark-cmd and --model-path contradict each other",
                hint="give one of them",
            )
        if command or (text is not None and how.shell):
            return how.workload(command or [text or ""], place)
        return how.as_asked(find_workload(text, model, how.named, place=place))


@dataclass(frozen=True)
class LengthOptions:
    """How long a study is."""

    budget: BudgetOption = None
    episodes: Annotated[
        int | None,
        typer.Option(
            "--episodes",
            min=1,
            max=MOST_RUNS,
            help="Runs of the search alone, in place of --budget; the confirmation comes on top.",
            show_default=False,
        ),
    ] = None
    time: TimeOption = None
    baseline_runs: Annotated[
        int, typer.Option("--baseline-runs", min=1, help="Runs of the default before the search.")
    ] = BASELINE_RUNS
    save_frequency: Annotated[
        int,
        typer.Option(
            "--save-frequency", min=1, help="Runs between two checkpoints of a sampler that learns."
        ),
    ] = SAVE_FREQUENCY
    delta: DeltaOption = DELTA

    def limits(self) -> dict[str, Any]:
        """Return the fields of a plan that say so.

        Raises:
            UsageError: They contradict each other, or are out of bounds.
        """
        if sum(limit is not None for limit in (self.budget, self.episodes, self.time)) > 1:
            raise UsageError("--budget, --episodes and --time contradict each other", hint="give one of them")
        if not 0 < self.delta < 1:
            raise UsageError(f"--delta {self.delta}: expected a fraction between 0 and 1, such as {DELTA}")
        return {
            "budget": self.budget or BUDGET,
            "episodes": self.episodes,
            "time_limit_s": None
            if self.time is None
            else parse_positive_duration(self.time, option="--time"),
            "baseline_runs": self.baseline_runs,
            "save_frequency": self.save_frequency,
            "delta": self.delta,
        }


@dataclass(frozen=True)
class SearchOptions:
    """What is searched, for what, and by whom."""

    scheduler: Annotated[str, typer.Option("--scheduler", "-S", metavar="NAME", help="What is tuned.")] = (
        "fair"
    )
    sampler: Annotated[
        str, typer.Option("--sampler", "--algorithm", metavar="NAME", help="How to decide what to try next.")
    ] = "gp"
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            "--optimize-metric",
            metavar="NAME[:min|max][*WEIGHT][=SOURCE]",
            help="What to optimise; `throughput` and `latency` stand for the workload's main ones. SOURCE is "
            "regex:PATTERN, json:PATH, csv:COLUMN or field:NAME. Repeatable. Default: the main figure "
            "that COMMAND's tool reports, or wall_time_s:min.",
            show_default=False,
        ),
    ] = None
    require: RequireOption = None
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            metavar="KNOB",
            help="Also try this knob, which is on request only: cpu_quota, cpuset, realtime, ... Repeatable.",
            show_default=False,
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="KNOB",
            help="Do not try this knob, such as one that the command sets itself. Repeatable.",
            show_default=False,
        ),
    ] = None
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(
            "--warm-start",
            metavar="DIR",
            help="Let an earlier study (or a folder of them) steer the search; never the claim. Repeatable.",
            show_default=False,
        ),
    ] = None
    experiment_name: Annotated[
        str,
        typer.Option(
            "--experiment-name", metavar="NAME", help="Name of the results folder.", show_default=False
        ),
    ] = ""


@dataclass(frozen=True)
class ScreenOptions:
    """Whether a model is asked what to try."""

    screen: Annotated[
        Literal["sim"] | None,
        typer.Option(
            "--screen",
            help="sim: first try settings by the hundred on a simulated machine, which steers the search.",
            show_default=False,
        ),
    ] = None
    load: Annotated[
        str | None,
        typer.Option(
            "--load",
            metavar="TRACE|FILE|NAME",
            help="With --screen: what stands for COMMAND there. Default: a run of it is recorded first.",
            show_default=False,
        ),
    ] = None

    def screened(self, plan: StudyPlan, folder: FolderOptions) -> tuple[StudyPlan, list[str]]:
        """Return the plan with what the model says, if it is asked, and what to know of that.

        Raises:
            UsageError: A load without a model, or a model that can't stand for what is tuned.
        """
        if self.screen is None:
            if self.load is not None:
                raise UsageError("--load names what a model takes for COMMAND", hint="add --screen sim")
            return plan, []
        from schedtuna.cli.progress import RunProgress
        from schedtuna.sim import native  # noqa: F401 - what is missing is told before a run is made
        from schedtuna.tune.screened import screened

        recording = folder.results / time.strftime("recording_%Y%m%d-%H%M%S")
        with termination_interrupts(), RunProgress("settings in the model", None) as progress:
            return screened(plan, self.load, recording=recording, say=progress.say, progress=progress.update)


@dataclass(frozen=True)
class LearnerOptions:
    """Of a sampler that learns."""

    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="Learning rate of a sampler that learns.", show_default=False),
    ] = None
    update_frequency: Annotated[
        int | None,
        typer.Option(
            "--update-frequency", help="Runs between two updates of such a sampler.", show_default=False
        ),
    ] = None
    reward_scaling: Annotated[
        float | None,
        typer.Option(
            "--reward-scaling", help="Factor on the rewards that such a sampler sees.", show_default=False
        ),
    ] = None
    pretrained_model: Annotated[
        Path | None,
        typer.Option(
            "--pretrained-model", metavar="FILE.pt", help="A checkpoint to start from.", show_default=False
        ),
    ] = None
    no_gpu: Annotated[bool, typer.Option("--no-gpu", help="Train on the CPU.")] = False
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            "--tensorboard",
            metavar="DIR",
            help="Log such a sampler's training there, for TensorBoard.",
            show_default=False,
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """Return what was asked, by the samplers' names; None for what was not."""
        return {
            "learning_rate": self.learning_rate,
            "update_frequency": self.update_frequency,
            "reward_scaling": self.reward_scaling,
            "use_gpu": False if self.no_gpu else None,
            "pretrained": None if self.pretrained_model is None else str(self.pretrained_model.resolve()),
            "tensorboard": None if self.tensorboard is None else str(self.tensorboard.resolve()),
        }


@dataclass(frozen=True)
class VerbosityOptions:
    """What is told."""

    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line per run, to stderr.")] = False
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Log every number of every run, and show where an error came from."),
    ] = False
    as_json: JsonOption = False


@app.command()
@bundled
def tune(
    context: typer.Context,
    *,
    asked: SearchOptions,
    model: ScreenOptions,
    length: LengthOptions,
    instead: CommandOptions,
    learner: LearnerOptions,
    folder: FolderOptions,
    run: WorkloadOptions,
    where: PlaceOptions,
    fleet: FleetOptions,
    output: VerbosityOptions,
    command: OptionalCommandArgument = None,
) -> None:
    """Search a scheduler's settings for COMMAND, then prove the best one on fresh runs.

    The verdict rests on interleaved runs of the default, the default again and the one candidate
    that the search chose; the search's own runs never enter it. Without a proven gain the default
    stays. Without a COMMAND, a bundled workload runs: that of --workload, or the suite's default; with
    --model-path llama-bench. `--resume DIR` alone continues an interrupted study as it was; a budget
    may be changed until its confirmation begins.
    """
    from schedtuna.experiment.campaign import choose_seed
    from schedtuna.tune.options import make_plan, require_sampler
    from schedtuna.tune.running import UnwrittenStudyError

    if output.debug:
        os.environ[DEBUG_VARIABLE] = "1"
    limits = length.limits()
    before = _before(folder)
    notes: list[str] = []
    if before is not None and not command and run.named is None and instead == CommandOptions():
        _refuse_what_the_study_has(context, folder.resume)
        plan = before
    else:
        place = where.ready_place().fitting(run.named)
        plan, notes = make_plan(
            instead.workload(command, run, place),
            place,
            asked.scheduler,
            metrics=run.metrics(asked.metric, place),
            requirements=listed(asked.require),
            include=listed(asked.include),
            exclude=listed(asked.exclude),
            sampler=asked.sampler,
            options=learner.options(),
            warm_start=asked.warm_start or (),
            seed=before.seed if before and folder.seed is None else choose_seed(folder.seed),
            name=asked.experiment_name,
        )
    plan = plan.model_copy(update=limits if before is None else _changed(limits, context, before))
    require_sampler(plan)
    if before is None:
        plan, more = model.screened(plan, folder)
        notes += more
    elif model.screen:
        plan = plan.model_copy(update={"screen": before.screen})
    try:
        result = _run(plan, folder, fleet, output, notes)
    except UnwrittenStudyError as error:
        _tell(error.result, as_json=output.as_json, written=False)
        raise
    _tell(result, as_json=output.as_json)
    if result.comparison.interrupted:
        raise typer.Exit(130)


def _before(folder: FolderOptions) -> StudyPlan | None:
    """The plan of the study to resume, if its owner may decide what is run."""
    from schedtuna.files import require_consent
    from schedtuna.history.plan import DECIDING_FILES, StudyPlan

    if folder.resume is None:
        return None
    before = StudyPlan.read(folder.resume)
    require_consent(folder.resume, DECIDING_FILES, before.workload.argv, trusted=folder.trust_folder)
    return before


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


def _run(
    plan: StudyPlan, folder: FolderOptions, fleet: FleetOptions, output: VerbosityOptions, notes: list[str]
) -> StudyResult:
    from schedtuna.cli.progress import CampaignProgress
    from schedtuna.tune.running import open_study

    with (
        termination_interrupts(),
        open_study(
            plan,
            results=folder.results,
            resume=folder.resume,
            debug=output.debug,
            open_place=fleet.open_place([plan.place]),
        ) as study,
        CampaignProgress(study.campaign, "search") as progress,
        _logging_to(progress.say, enabled=output.verbose or output.debug, debug=output.debug),
    ):
        progress.say(plan.told_budget)
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
            if not getattr(record, "told", False):
                say(record.getMessage())

    handler, before = Lines(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO if enabled else logging.WARNING)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


def _tell(result: StudyResult, *, as_json: bool, written: bool = True) -> None:
    """Print what came out; where it could not be written, too."""
    from schedtuna.history.results import REPORT_NAME, summary
    from schedtuna.tune.commands import against_kernel_line

    if as_json:
        print_json(summary(result) if written else {**summary(result), "report": None})
        return
    comparison = result.comparison
    print(comparison.headline())
    for judged in comparison.requirements:
        print(f"required: {comparison.tell_rule(judged)}")
    for note in comparison.notes:
        print_remark("note", note)
    print(f"runs: {result.nr_search_runs} search, {comparison.nr_runs} confirmation")
    if comparison.is_model:
        print_remark("confirm", result.confirmation)
    elif result.best is not None:
        print(_use(result))
    if line := against_kernel_line(result.plan, result.candidate):
        print_remark("against the kernel's own scheduling", line)
    if written:
        print_remark("report", str(result.folder / REPORT_NAME))


def _use(result: StudyResult) -> str:
    from schedtuna.tune.commands import apply_line

    place, folder = result.plan.place, str(result.folder)
    if place.is_service:
        return f"apply: {shlex.join(['schedtuna', 'apply', folder])} -- THE SERVICE'S COMMAND"
    where = " (where the kernel has sched_ext)" if place.caveat else ""
    return f"apply{where}: {apply_line(folder, result.plan)}"
