"""The options of `schedtuna tune`, in groups by what they say."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from schedtuna.cli.common import (
    FolderOptions,
    WorkloadOptions,
    parse_positive_duration,
    termination_interrupts,
)
from schedtuna.cli.options import (
    MOST_RUNS,
    BudgetOption,
    DeltaOption,
    JsonOption,
    RequireOption,
    TimeOption,
)
from schedtuna.errors import UsageError
from schedtuna.evidence import DELTA
from schedtuna.history.defaults import BASELINE_RUNS, BUDGET, SAVE_FREQUENCY

if TYPE_CHECKING:
    from schedtuna.backend.places.base import Place
    from schedtuna.history.plan import StudyPlan
    from schedtuna.workload.spec import Workload


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
