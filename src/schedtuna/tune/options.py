"""What may be asked of a study by name, and what becomes of it: configurations, samplers, schedulers."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schedtuna.backend.places.base import Place
from schedtuna.backend.places.registry import HOST, PLACES, kind_of, make_place
from schedtuna.configfile import load_config
from schedtuna.errors import UnavailableError, UsageError, nearest
from schedtuna.evidence import DELTA
from schedtuna.history.defaults import BASELINE_RUNS, SAVE_FREQUENCY
from schedtuna.history.plan import BAKE_OFF, StudyPlan
from schedtuna.history.warmstart import past_runs
from schedtuna.knobs.registry import all_knobs
from schedtuna.samplers.registry import (
    OWN_SAMPLER_HINT,
    SAMPLERS,
    installed_samplers,
    learners,
    make_sampler,
    sampler_class,
)
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.settable import own_name
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.tune.bakeoff import CONTESTANTS, contestants, share
from schedtuna.workload.metrics import default_metric, format_metric, parse_metric, parse_requirement
from schedtuna.workload.spec import Workload
from schedtuna.workload.suite import DEFAULT

LLAMA_BENCH = "llama-bench"
CHECKED_BUDGET = 50  # any would do
REPETITIONS = 1  # of llama-bench itself: repeats are the study's, so that they are interleaved


def _known_place(text: str) -> str:
    if kind_of(text) not in PLACES:
        raise ValueError(nearest(text, PLACES))
    return text


class OptimizerConfig(BaseModel):
    """What `RLSchedulerOptimizer` and `optimize_scheduler` take.

    Attributes:
        scheduler_name: What is tuned.
        algorithm: The sampler: ppo, sac, a2c, dqn, reinforce, gp, random, tpe, ..., or ``module:Class``.
        episodes: Runs of the search; each is one benchmark run of one candidate. The confirmation
            comes on top.
        baseline_runs: Runs of the default before the search.
        learning_rate: Step size of a sampler that learns.
        update_frequency: Runs between two updates of such a sampler.
        save_frequency: Runs between two checkpoints of it.
        benchmark_cmd: The command to run, as a list or as one string that is split like a shell does.
        workload: Without a benchmark_cmd: name of a bundled workload, as ``schedtuna suite list`` has it.
        model_path: A model file: without either, llama-bench runs with it.
        timeout: Seconds after which a run is killed.
        optimize_metric: ``throughput``, ``latency``, or a metric as ``--metric`` takes it; unless it is
            given, a bundled workload that is named is optimised for its own.
        reward_scaling: Multiplies what a sampler that learns sees; never the claim.
        experiment_name: Name of the results folder, in place of the scheduler's and the sampler's.
        use_gpu: Whether a sampler that learns may use a GPU.
        pretrained_model_path: A checkpoint that such a sampler starts from.
        results_dir: Where results folders are created.
        seed: Of every random choice; None for a fresh one.
        delta: Smallest gain that matters, as a fraction.
        requirements: Bounds that the winner must keep, such as ``p99_us<=500``.
        warm_start: Folders of earlier studies that steer the search.
        backend: ``host``: this machine; ``vm``: guests of the lab, which run sched_ext schedulers.
        kernel: With ``vm``: version of an installed kernel; None for the lab's default.
        exclude: Parameters that are not tried, such as those that the command sets itself.
        allow_client: The command does its work itself, although its name is a client's, such as docker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheduler_name: str = "scx_flashyspark"
    algorithm: str = "ppo"
    episodes: int = Field(default=50, ge=1)
    baseline_runs: int = Field(default=BASELINE_RUNS, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    update_frequency: int = Field(default=5, ge=1)
    save_frequency: int = Field(default=SAVE_FREQUENCY, ge=1)
    benchmark_cmd: str | tuple[str, ...] | None = None
    workload: str | None = None
    model_path: Path | None = None
    timeout: float = Field(default=300, gt=0, allow_inf_nan=False)
    optimize_metric: str = "throughput"
    reward_scaling: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    experiment_name: str | None = None
    use_gpu: bool = True
    pretrained_model_path: Path | None = None
    results_dir: Path = Path("results")
    seed: int | None = Field(default=None, ge=0)
    delta: float = Field(default=DELTA, gt=0, lt=1)
    requirements: tuple[str, ...] = ()
    warm_start: tuple[Path, ...] = ()
    backend: Annotated[str, AfterValidator(_known_place)] = HOST
    kernel: str | None = None
    exclude: tuple[str, ...] = ()
    allow_client: bool = False

    @classmethod
    def read(cls, source: Self | Mapping[str, Any] | Path | str | None) -> Self:
        """Return a configuration from what users have: a mapping, a YAML, JSON or TOML file, or nothing.

        Raises:
            UsageError: An unknown name, with the nearest known ones, or a value out of bounds.
            ConfigFileError: The file can't be read.
        """
        if isinstance(source, cls):
            return source
        if not isinstance(source, Mapping | Path | str | None):
            raise UsageError(
                f"a configuration is no {type(source).__name__}: {source!r}",
                hint="give a dictionary, the path of a YAML, JSON or TOML file, an OptimizerConfig, or None",
            )
        place = "" if source is None or isinstance(source, Mapping) else f"{source}: "
        content = load_config(Path(source)) if isinstance(source, str | Path) else dict(source or {})
        for key, value in content.items():
            if key not in cls.model_fields:
                raise UsageError(f"{place}unknown key {key!r}", hint=nearest(str(key), cls.model_fields))
            if isinstance(value, bool) and cls.model_fields[key].annotation is not bool:
                raise UsageError(f"{place}{key}={value!r}: is neither true nor false")  # else 1 or 0
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"][:1])
            raise UsageError(f"{place}{key}={first['input']!r}: {first['msg']}") from None

    def place(self) -> Place:
        """Return where it runs.

        Raises:
            UsageError: There is no such place, or it has no kernels to choose from.
        """
        return make_place(self.backend, {"kernel": self.kernel}).fitting(self.workload)

    def what_runs(self) -> tuple[Workload, str]:
        """Return what runs, and what it is optimised for.

        Raises:
            UsageError: An empty command, two of them, or an unknown name.
            UnavailableError: llama-bench or a bundled workload's tool is missing.
        """
        if sum(given is not None for given in (self.benchmark_cmd, self.workload, self.model_path)) > 1:
            raise UsageError(
                "benchmark_cmd, workload and model_path contradict each other", hint="give one of them"
            )
        found = find_workload(
            self.benchmark_cmd,
            self.model_path,
            self.workload,
            timeout_s=self.timeout,
            place=self.place(),
        )
        metric = self.optimize_metric
        if self.workload is not None and "optimize_metric" not in self.model_fields_set:
            metric = format_metric(self.place().named_workload(self.workload)[1])
        return found.model_copy(update={"works_here": self.allow_client}), metric


def find_workload(
    command: str | Sequence[str] | None,
    model: Path | None,
    name: str | None = None,
    *,
    timeout_s: float = 300.0,
    place: Place | None = None,
) -> Workload:
    """Return the command that was asked for, else llama-bench with a model, else a bundled workload.

    Args:
        command: A command, as a list or as one string.
        model: A model file.
        name: The bundled workload's; default: the suite's default.
        timeout_s: Seconds after which a run is killed.
        place: Where it is to run; default: this machine.

    Raises:
        UsageError: An empty command, one that can't be split, no such model, or an unknown name.
        UnavailableError: llama-bench or the bundled workload's tool is missing.
    """
    place = place or make_place(HOST, {})
    if command is not None:
        argv = _split(command) if isinstance(command, str) else tuple(command)
        if not argv:
            raise UsageError("the benchmark command is empty", hint="name a program and its arguments")
        return place.command(argv).model_copy(update={"timeout_s": timeout_s})
    if model is not None:
        return _llama_bench(model, timeout_s)
    if name is None and place.is_model:
        return place.command(())
    return place.named_workload(name or DEFAULT)[0].model_copy(update={"timeout_s": timeout_s})


def _split(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"{command!r} can't be split into words: {error}") from None


def _llama_bench(model: Path, timeout_s: float) -> Workload:
    if not model.is_file():
        raise UsageError(f"there is no model file {model}")
    program = shutil.which(LLAMA_BENCH)
    if program is None:
        raise UnavailableError(
            f"{LLAMA_BENCH} is not on the PATH, and a model alone can't be run",
            hint="install llama.cpp, or name a command that runs the model",
        )
    argv = (program, "-m", str(model.resolve()), "-r", str(REPETITIONS), "-o", "json")
    return Workload(argv=argv, timeout_s=timeout_s)


def without(scheduler: SchedulerConfig, excluded: Sequence[str]) -> SchedulerConfig:
    """Return a scheduler of which some parameters are not tuned.

    Raises:
        UsageError: It has no such parameter, or nothing is left to tune.
    """
    excluded = [own_name(scheduler, name) for name in excluded]
    known = [*scheduler.parameters, *(knob.name for knob in all_knobs() if scheduler.name == FAIR)]
    for name in excluded:
        if name not in known:
            raise UsageError(
                f"{scheduler.name} has no parameter {name!r} to leave out",
                hint=nearest(name, known),
            )
    defaults = {name: spec.default for name, spec in scheduler.parameters.items()}
    kept = {}
    for name, spec in scheduler.parameters.items():
        on = spec.condition
        if name in excluded or (on and on.parameter in excluded and not on.holds(defaults, defaults)):
            continue  # it, or what it needs, stays at its default
        settled = on is not None and on.parameter in excluded
        kept[name] = spec.model_copy(update={"condition": None}) if settled else spec
    if excluded and not kept:
        raise UsageError(f"without {', '.join(excluded)} nothing of {scheduler.name} is left to tune")
    return scheduler.with_parameters(kept)


def make_plan(
    workload: Workload,
    place: Place,
    scheduler: str,
    *,
    metrics: Sequence[str],
    requirements: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    defined: SchedulerConfig | None = None,
    sampler: str,
    options: Mapping[str, Any],
    warm_start: Sequence[Path] = (),
    **others: Any,
) -> tuple[StudyPlan, list[str]]:
    """Return the plan that names and texts mean, and what of them has no effect.

    Args:
        workload: What runs.
        place: Where.
        scheduler: Name of what is tuned.
        metrics: What is optimised, as `--metric` takes it; default: the workload's main metric.
        requirements: Bounds that the winner must keep.
        include: Knobs on request, beside the usual ones.
        exclude: Parameters that are not tried.
        defined: What the user says of the scheduler, in place of what is known.
        sampler: Name of the sampler.
        options: Its options by name; None for those that were not asked for.
        warm_start: Folders of earlier studies.
        others: More fields of the plan, as they are.

    Raises:
        UsageError: A metric, requirement, sampler or checkpoint that is wrong.
        UnavailableError: The scheduler can't run at that place.
    """
    known, notes = sampler_options(sampler, options)
    chosen = without(place.tunable(scheduler, include, defined=defined), exclude)
    read = tuple(parse_metric(text, workload) for text in metrics) or (default_metric(workload),)
    past, remarks = past_runs(warm_start, chosen, workload, read)
    plan = StudyPlan(
        scheduler=chosen,
        workload=workload,
        place=place,
        metrics=read,
        requirements=tuple(parse_requirement(text, read, workload) for text in requirements),
        sampler=sampler,
        sampler_options=known,
        warm_start=past,
        **others,
    )
    return plan, [*notes, *remarks, *([] if defined else place.left_out(scheduler))]


def sampler_options(sampler: str, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return those of the asked options that a sampler has, and a note on each that it lacks.

    Those of a bake-off are who takes part.

    Args:
        sampler: Its name.
        asked: Options by their names in the samplers; None for those that were not asked for.

    Raises:
        UsageError: No sampler has this name, what is named is not one, or a checkpoint is given to one
            that has no network.
        MissingExtraError: The sampler's packages are not installed.
    """
    if sampler != BAKE_OFF and ":" not in sampler and sampler not in (names := installed_samplers()):
        raise UsageError(
            f"unknown sampler {sampler!r}: {nearest(sampler, [*names, BAKE_OFF])}", hint=OWN_SAMPLER_HINT
        )
    given = {name: value for name, value in asked.items() if value is not None}
    if sampler == BAKE_OFF:
        given[CONTESTANTS] = contestants()
    known = (CONTESTANTS,) if sampler == BAKE_OFF else sampler_class(sampler).options()
    lacking = [name for name in given if name not in known]
    if "pretrained" in lacking:
        raise UsageError(
            f"sampler {sampler} has no network that a checkpoint could be loaded into",
            hint=f"choose one of {', '.join(learners())}",
        )
    notes = [f"sampler {sampler} has no {name}, so it is left out" for name in lacking if name != "use_gpu"]
    return {name: value for name, value in given.items() if name in known}, notes


def require_sampler(plan: StudyPlan) -> None:
    """Make the plan's sampler once, so that what is wrong with it is known before the first run.

    Raises:
        UsageError: An option out of bounds, a checkpoint of another space or sampler, or too few runs
            for a bake-off.
        StudyError: A damaged checkpoint.
        SpaceError: Nothing can be tuned.
        MissingExtraError: The sampler's packages are not installed.
    """
    if plan.sampler == BAKE_OFF:
        if plan.time_limit_s is not None:
            raise UsageError(
                "a bake-off gives every sampler the same number of runs, which a time limit does not",
                hint="give --budget or --episodes",
            )
        names = contestants(plan.sampler_options)
        share(plan.split(0.0)[0], plan.baseline_runs, names)
        for name in names:
            if name not in SAMPLERS:
                sampler_class(name)
        return
    options = {name: value for name, value in plan.sampler_options.items() if name != "tensorboard"}
    rng = np.random.default_rng(0)
    make_sampler(plan.sampler, plan.scheduler.space, budget=CHECKED_BUDGET, rng=rng, **options).close()
