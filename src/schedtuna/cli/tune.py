"""`schedtuna tune`: find better scheduling for a command, and prove it or say that there is none."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import (
    FleetOptions,
    FolderOptions,
    WorkloadOptions,
    listed,
    termination_interrupts,
)
from schedtuna.cli.options import OptionalCommandArgument
from schedtuna.cli.output import DEBUG_VARIABLE, print_json, print_remark
from schedtuna.cli.places import PlaceOptions
from schedtuna.cli.tune_options import (
    CommandOptions,
    LearnerOptions,
    LengthOptions,
    ScreenOptions,
    SearchOptions,
    VerbosityOptions,
)
from schedtuna.errors import UsageError

if TYPE_CHECKING:
    from schedtuna.history.outcome import StudyResult
    from schedtuna.history.plan import StudyPlan

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
