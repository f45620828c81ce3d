"""How does a plan become a results folder? The one way that the command and the Python API share."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from schedtuna import __version__
from schedtuna.backend.base import KERNELS_OWN
from schedtuna.experiment.campaign import (
    Campaign,
    OpenPlace,
    Question,
    UnwrittenError,
    open_campaign,
    open_here,
)
from schedtuna.experiment.inforce import Undoing
from schedtuna.history.outcome import StudyResult
from schedtuna.history.plan import StudyPlan
from schedtuna.history.results import PLOTS_NAME, REPORT_NAME, write_results
from schedtuna.report.page import write
from schedtuna.scheduler.own import make_known_again
from schedtuna.tune.experimentlog import ExperimentLog
from schedtuna.tune.page import study_page, write_plots
from schedtuna.tune.search import OnEvent, StudyEvent
from schedtuna.tune.study import Study


class UnwrittenStudyError(UnwrittenError):
    """The verdict is known, and its files can't be written.

    Attributes:
        result: What was found.
    """

    def __init__(self, result: StudyResult, error: OSError) -> None:
        super().__init__(result.folder, error, _resume_line(result.folder))
        self.result = result


@dataclass(frozen=True)
class OpenStudy:
    """A study's open folder.

    Attributes:
        plan: What to do.
        campaign: Its folder, trials, machine and warnings.
        log: What happens, for people.
        missing: What can't be set any more of what was planned: name -> reason.
    """

    plan: StudyPlan
    campaign: Campaign
    log: ExperimentLog
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def how_to_continue(self) -> str:
        """What to do after an interruption."""
        return f"every finished run is kept; to continue: {_resume_line(self.campaign.folder)}"

    def run(self, on_event: OnEvent = lambda _event: None) -> StudyResult:
        """Search, nominate, confirm, and write every file of the results folder.

        Args:
            on_event: Told about every run.

        Raises:
            StudyError: The folder can't be used, the default never succeeds, or no candidate does.
            UsageError: The budget or the time can't carry a search and a confirmation.
            UnwrittenStudyError: All runs were made, and the results can't be written.
            KeyboardInterrupt: Interrupted before the confirmation; the log has every finished run.
        """
        undoing = Undoing()

        def tell(event: StudyEvent) -> None:
            self.log.show(event)
            for advice in undoing.add(event.record.trial):
                self.log.say(advice, level=logging.WARNING)
            on_event(event)

        backend = self.campaign.sides[0].backend
        study = Study(self.plan, backend, self.campaign.log, on_event=tell, fixed=self.missing)
        try:
            result = study.run()
        except KeyboardInterrupt:
            self.log.say("interrupted", told=True)
            raise
        result = replace(result, comparison=result.comparison.with_warnings(self.campaign.warnings))
        self.log.say(result.comparison.headline(), told=True)
        try:
            self._write(result)
        except OSError as error:
            raise UnwrittenStudyError(result, error) from error
        return result

    def _write(self, result: StudyResult) -> None:
        write_results(result)
        write_plots(result, result.folder / PLOTS_NAME)
        manifest = self.campaign.manifest.model_dump(mode="json")
        write(study_page(result, manifest), result.folder / REPORT_NAME)


@contextmanager
def open_study(
    plan: StudyPlan,
    *,
    results: Path,
    resume: Path | None = None,
    debug: bool = False,
    open_place: OpenPlace = open_here,
) -> Iterator[OpenStudy]:
    """Open a fresh results folder for a plan, or the one to resume.

    Args:
        plan: What to do, with a sampler that `tune.options.require_sampler` has found right.
        results: Where folders are created.
        resume: A folder to continue.
        open_place: How places are opened; see `open_campaign`.
        debug: Whether `experiment.log` gets every number of every run.

    Raises:
        WorkloadError: The command can't be run.
        StudyError: The folder can't be used, or the process that is tuned has ended.
    """
    if resume is not None and plan.scheduler.name not in KERNELS_OWN:
        make_known_again(plan.scheduler)
    asked = Question(
        "tune",
        [(plan.place, plan.scheduler)],
        plan.identity(),
        names=plan.folder_names,
        turned=plan.scheduler.parameters,
    )
    with (
        open_campaign(asked, plan, results=results, resume=resume, open_place=open_place) as campaign,
        ExperimentLog(campaign.folder, debug=debug) as log,
    ):
        log.say(f"schedtuna {__version__}, {plan.scheduler.name} with {plan.sampler}, seed {plan.seed}")
        log.say("command: " + shlex.join(plan.workload.argv).replace("\n", "\\n"))
        campaign.introduce(log.say)
        log.say(plan.told_budget)
        missing = plan.place.missing(plan.scheduler) if resume else {}
        for name, reason in missing.items():
            log.say(f"note: {name} is not tried any more, it can't be changed now: {reason}")
        yield OpenStudy(plan, campaign, log, missing)


def _resume_line(folder: Path) -> str:
    return shlex.join(["schedtuna", "tune", "--resume", str(folder)])
