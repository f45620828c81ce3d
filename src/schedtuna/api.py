"""How is a scheduler tuned from Python? The same studies as `schedtuna tune`, as one function or a class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from schedtuna.backend.base import Validity
from schedtuna.configfile import load_config
from schedtuna.errors import SpaceError, UsageError
from schedtuna.experiment.campaign import Question, choose_seed, open_campaign
from schedtuna.experiment.variability import run_variability
from schedtuna.files import require_consent
from schedtuna.history.outcome import StudyResult
from schedtuna.history.plan import DECIDING_FILES, StudyPlan
from schedtuna.history.results import summary
from schedtuna.scheduler.control import find_installed
from schedtuna.scheduler.definition import scheduler_from_mapping
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.fair import fair
from schedtuna.scheduler.lookup import lookup
from schedtuna.scheduler.own import defined_by, make_known, redefined
from schedtuna.scheduler.parse import BEST_NAME, parse_scheduler
from schedtuna.scheduler.registry import names
from schedtuna.scheduler.settable import for_search
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec
from schedtuna.tune.options import OptimizerConfig, make_plan, require_sampler, sampler_options
from schedtuna.tune.progress import ProgressLines
from schedtuna.tune.running import open_study
from schedtuna.tune.search import OnEvent
from schedtuna.workload.spec import RunSpec

__all__ = ["RLSchedulerOptimizer", "optimize_scheduler", "register_scheduler"]

_DEFINING = "define_scheduler_params"


def optimize_scheduler(
    scheduler_name: str = "scx_flashyspark",
    episodes: int = 50,
    algorithm: str = "ppo",
    *,
    on_event: OnEvent | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Search a scheduler's parameters for a benchmark, then prove the best one on fresh runs.

    Args:
        scheduler_name: What is tuned; ``fair`` is the kernel's own.
        episodes: Runs of the search; each is one benchmark run of one candidate.
        algorithm: The sampler.
        on_event: Told about every run; without it a line now and then on stderr says how far it is.
        options: Any other field of `OptimizerConfig`.

    Returns:
        What `RLSchedulerOptimizer.train` returns.

    Raises:
        UsageError: An unknown name, or a value out of bounds.
        UnavailableError: The scheduler can't run on this machine.
    """
    config = {
        "scheduler_name": scheduler_name,
        "episodes": episodes,
        "algorithm": algorithm,
        **options,
    }
    return RLSchedulerOptimizer(config).train(on_event=on_event)


class RLSchedulerOptimizer:
    """Tunes one scheduler for one benchmark.

    Args:
        config: A mapping, a YAML, JSON or TOML file, an `OptimizerConfig`, or None for the defaults.

    Attributes:
        config: What was asked.

    Raises:
        UsageError: An unknown key, with the nearest known ones, or a value out of bounds.
        ConfigFileError: The file can't be read.
    """

    def __init__(self, config: OptimizerConfig | Mapping[str, Any] | Path | str | None = None) -> None:
        self.config = OptimizerConfig.read(config)
        self._defined: SchedulerConfig | None = None

    def get_scheduler_info(self) -> dict[str, Any]:
        """Return the scheduler's name and its parameters, as plain values by name.

        Raises:
            UsageError: No scheduler has this name.
        """
        scheduler = self._defined or self._known()
        return {
            "scheduler_name": scheduler.name,
            "parameters": {
                name: spec.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
                for name, spec in scheduler.parameters.items()
            },
        }

    def define_scheduler_params(self, parameters: Mapping[str, Mapping[str, Any]]) -> SchedulerConfig:
        """Set what is searched, in place of what is known of the scheduler.

        Of ``fair`` this narrows the search: each parameter is one of its knobs, within that knob's
        bounds, and its default is the machine's own value. Of a scheduler that is known, each is a flag of
        its program, with its type and default; what is left out is as it is known.

        Args:
            parameters: By name: `type` (boolean, integer, float, categorical), `default`,
                `min_value`, `max_value`, `choices`, `description`, `command_arg`.

        Raises:
            UsageError: A specification that contradicts itself, the scheduler's knobs or flags, or this
                machine.
        """
        name = self.config.scheduler_name
        if name == FAIR and self.config.place().turns_knobs:
            self._defined = _narrowed(fair(include=[*parameters]), parameters)
        elif name in set(names()) or not name.isidentifier():
            known = for_search(parse_scheduler(name, find_installed))
            self._defined = redefined(known, parameters, place=_DEFINING)
        else:
            self._defined = scheduler_from_mapping({"name": name, "parameters": parameters}, place=_DEFINING)
        return self._defined

    def train(self, *, on_event: OnEvent | None = None) -> dict[str, Any]:
        """Search, nominate, and confirm on fresh runs, into a new results folder.

        Args:
            on_event: Told about every run; without it a line now and then on stderr says how far it is.

        Returns:
            `experiment_path`, `best_parameters` (what was proven better than the default; empty where
            nothing was), `candidate` (what was confirmed), `verdict`, `summary`, and `result`, the
            `StudyResult`.

        Raises:
            UnavailableError: The scheduler can't run on this machine.
            StudyError: The benchmark never succeeds under the default, or under any candidate.
            KeyboardInterrupt: Interrupted; the folder has every run that ended, and
                ``schedtuna tune --resume`` continues it.
        """
        plan, notes = self.plan()
        require_sampler(plan)
        with open_study(plan, results=self.config.results_dir) as study:
            for note in notes:
                study.log.say(f"note: {note}")
            return _trained(study.run(on_event or ProgressLines()))

    def plan(self) -> tuple[StudyPlan, list[str]]:
        """Return what `train` would run, and what of the configuration has no effect.

        Raises:
            UsageError: A metric, requirement, sampler or checkpoint that is wrong.
            UnavailableError: The scheduler can't run on this machine.
        """
        config = self.config
        workload, metric = config.what_runs()
        return make_plan(
            workload,
            config.place(),
            config.scheduler_name,
            metrics=(metric,),
            requirements=config.requirements,
            exclude=config.exclude,
            defined=self._defined,
            sampler=config.algorithm,
            options=self._sampler_options(),
            warm_start=config.warm_start,
            episodes=config.episodes,
            baseline_runs=config.baseline_runs,
            save_frequency=config.save_frequency,
            delta=config.delta,
            seed=choose_seed(config.seed),
            name=config.experiment_name or "",
        )

    def test(
        self, experiment_path: Path | str, test_runs: int = 10, *, trust_folder: bool = False
    ) -> dict[str, Any]:
        """Run the benchmark again, where it ran, under what was proven; the default where that was nothing.

        Args:
            experiment_path: What `train` returned.
            test_runs: How often.
            trust_folder: Run what it says although somebody else owns the folder or can write it.

        Returns:
            `mean` and `sd` of the metric (None where too few runs succeeded), `metric`, `values`,
            `nr_failed`, `parameters`, and `test_path`, the folder with every run.

        Raises:
            UsageError: Fewer than one run, or no experiment in this folder.
            StudyError: The first runs all failed, or the process that was tuned has ended.
            UntrustedError: Somebody else owns the folder or can write it.
        """
        if test_runs < 1:
            raise UsageError(f"test_runs={test_runs}: expected at least one run")
        folder = Path(experiment_path)
        plan = StudyPlan.read(folder)
        require_consent(
            folder,
            DECIDING_FILES,
            plan.workload.argv,
            trusted=trust_folder,
            hint="look at it; if you trust who owns it, give trust_folder=True",
        )
        scheduler = plan.place.scheduler(str(folder / BEST_NAME))
        metric = plan.metrics[0]
        asked = Question("test", [(plan.place, scheduler)], {"scheduler": scheduler.label()})
        # Other inputs than those that were tuned on.
        spec = RunSpec(workload=plan.workload, metrics=plan.metrics, seed=plan.seed + 1)
        with open_campaign(asked, spec, results=folder) as campaign:
            trials = run_variability(spec, campaign.sides[0], runs=test_runs, log=campaign.log)
        values = [trial.metrics[metric.name] for trial in trials if trial.validity is Validity.OK]
        return {
            "mean": fmean(values) if values else None,
            "sd": stdev(values) if len(values) > 1 else None,
            "metric": metric.name,
            "values": values,
            "nr_failed": len(trials) - len(values),
            "parameters": scheduler.values,
            "test_path": str(campaign.folder),
        }

    def _known(self) -> SchedulerConfig:
        """What is known of the scheduler, whether or not it can run here."""
        name = self.config.scheduler_name
        return fair() if name == FAIR else parse_scheduler(name, lookup)

    def _sampler_options(self) -> dict[str, Any]:
        """The configuration's share that is the sampler's; of other samplers only what was set."""
        config = self.config
        checkpoint = config.pretrained_model_path
        asked: dict[str, Any] = {
            "learning_rate": config.learning_rate,
            "update_frequency": config.update_frequency,
            "reward_scaling": config.reward_scaling,
            "use_gpu": config.use_gpu,
        }
        known, _ = sampler_options(config.algorithm, asked)
        chosen = {
            name: value for name, value in asked.items() if name in known or name in config.model_fields_set
        }
        return {**chosen, "pretrained": None if checkpoint is None else str(checkpoint.resolve())}


def register_scheduler(scheduler: SchedulerConfig | Mapping[str, Any] | Path | str) -> SchedulerConfig:
    """Make a scheduler known by its name, for this process; returns it.

    Args:
        scheduler: Itself, what a file would hold, or the YAML, JSON or TOML file that defines it.

    Raises:
        UsageError: It defines no scheduler, or one that could not be named, or what its program lacks.
        ConfigFileError: The file can't be read.
        UnavailableError: This process has privilege, and somebody else could change the file.
    """
    if isinstance(scheduler, Path | str):
        return defined_by(load_config(Path(scheduler)), Path(scheduler))
    if not isinstance(scheduler, SchedulerConfig):
        scheduler = scheduler_from_mapping(scheduler, place="register_scheduler")
    make_known(scheduler, place="register_scheduler")
    return scheduler


def _trained(result: StudyResult) -> dict[str, Any]:
    return {
        "experiment_path": str(result.folder),
        "best_parameters": result.best or {},
        "candidate": result.candidate,
        "verdict": result.comparison.told_verdict,
        "summary": summary(result),
        "result": result,
    }


def _narrowed(scheduler: SchedulerConfig, parameters: Mapping[str, Mapping[str, Any]]) -> SchedulerConfig:
    """The fair scheduler with some of its knobs only, within narrower bounds."""
    contents: dict[str, Any] = {}
    for name, wanted in parameters.items():
        knob = scheduler.parameters[name]
        contents[name] = {**knob.model_dump(mode="json"), **wanted} if isinstance(wanted, Mapping) else wanted
    defined = scheduler_from_mapping({"name": FAIR, "parameters": contents}, place=_DEFINING)
    for name, spec in defined.parameters.items():
        _require_within(scheduler.parameters[name], spec)
    return scheduler.with_parameters(defined.parameters)


def _require_within(knob: ParameterSpec, spec: ParameterSpec) -> None:
    """Raise UsageError where a specification promises more than its knob can do."""
    if spec.type is not knob.type:
        raise UsageError(f"{_DEFINING}: {knob.name} is {knob.type}, not {spec.type}")
    if spec.default != knob.default:
        raise UsageError(
            f"{_DEFINING}: the default of {knob.name} is {knob.default} on this machine, not {spec.default}",
            hint="leave the default out: what runs now is what a gain is measured against",
        )
    for value in (*spec.choices, *(v for v in (spec.min_value, spec.max_value) if v is not None)):
        try:
            knob.validate_value(value)
        except SpaceError as error:
            raise UsageError(f"{_DEFINING}: {error}") from None
