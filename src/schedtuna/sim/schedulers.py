"""Which simulated scheduler does a name, a text or a Python object mean, with which parameters?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schedtuna.errors import SpaceError, UsageError, nearest
from schedtuna.plugins import load_class
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.native import (
    CALLBACKS,
    BadInputError,
    NativeScheduler,
    external_row,
    make_scheduler,
    python_scheduler,
    scheduler_table,
)
from schedtuna.sim.scheduler import Scheduler, defined_callbacks
from schedtuna.sim.topology import MachineShape
from schedtuna.space import Assignment, ParameterSpec, ParameterType, spell_assignment

# What a user may call a scheduler, and what it is here.
ALIASES = {"eevdf": "fair"}
_HINT = "docs/simulator.md shows how to write one"
_PARAMETERS_HINT = "`schedtuna sim list` shows each scheduler's parameters"
_MODEL = "model:"
_UNITS = ("ns", "us", "ms")  # as names end that have one
SchedulerSource = str | SchedulerConfig | Scheduler | type[Scheduler]


_ParameterRow = tuple[str, bool, int, int, int, str]


def native_schedulers() -> dict[str, SchedulerConfig]:
    """Return the schedulers that are built in and decide by themselves, by name."""
    return {row[0]: _config(*row) for row in scheduler_table()}


def _all_schedulers() -> dict[str, SchedulerConfig]:
    """Return those, and the one whose decisions come from outside."""
    external = _config(*external_row())
    return native_schedulers() | {external.name: external}


def _config(name: str, text: str, parameters: list[_ParameterRow]) -> SchedulerConfig:
    specs = {row[0]: _parameter(row) for row in parameters}
    return SchedulerConfig(name=name, description=text, parameters=specs)


def _parameter(row: _ParameterRow) -> ParameterSpec:
    name, is_flag, initial, least, most, help_text = row
    unit = next((unit for unit in _UNITS if name.endswith(f"_{unit}")), "")
    text = help_text.removesuffix(f", {unit}")
    if is_flag:
        return ParameterSpec(name=name, type=ParameterType.BOOLEAN, default=bool(initial), description=text)
    return ParameterSpec(
        name=name,
        type=ParameterType.INTEGER,
        default=initial,
        min_value=least,
        max_value=most,
        log=least > 0,
        unit=unit,
        description=text,
    )


def chosen_scheduler(
    source: SchedulerSource,
    shape: MachineShape | None = None,
    *,
    seed: int = 1,
    coverage: bool = False,
    settings: Path | None = None,
) -> tuple[NativeScheduler, dict[str, Any]]:
    """Return a scheduler, and what a manifest says of it.

    Args:
        source: A name with or without values (``fair``, ``rr:slice_us=500``), a file with settings, what
            `parsed_scheduler` made of one, ``module:Class`` of a scheduler in Python, ``model:FILE`` of
            a trained model, ``FILE.bpf.o``, ``scx_NAME`` or a loader's program of a sched_ext scheduler, or
            such a scheduler itself.
        shape: The machine, for which an object's loader may have prepared it; None: that is not looked for.
        seed: What an object's programs draw (bpf_get_prandom_u32).
        coverage: Whether an object counts which of its instructions run.
        settings: A file with what an object's loader prepared; default: what is kept of it.

    Raises:
        UsageError: There is no such scheduler, parameter or value.
    """
    if isinstance(source, str) and settings is None and (model := model_named(source)) is not None:
        return _of_model(source, model)
    if isinstance(source, str):
        named = _object_named(source) or _class_named(source)
        source = _parsed(source, _all_schedulers()) if named is None else named
    if isinstance(source, SchedulerConfig) and source.binary_path:
        from schedtuna.sim.objects import object_native

        return object_native(source, shape, seed=seed, coverage=coverage, settings=settings)
    if settings is not None:
        raise UsageError(f"{settings} is of a sched_ext scheduler's loader, and this scheduler has none")
    if isinstance(source, SchedulerConfig):
        return _native(source)
    if isinstance(source, type):
        source = source()
    kind = type(source)
    name = f"{kind.__module__}:{kind.__qualname__}"
    callbacks = defined_callbacks(source, CALLBACKS)
    return python_scheduler(name, source, callbacks), {"name": name, "parameters": {}}


def _object_named(text: str) -> SchedulerConfig | None:
    from schedtuna.sim.objects import object_named

    return object_named(text.strip())


def model_named(text: str) -> str | None:
    """Return the model's file or name that ``model:FILE`` means; None: the text is none of that kind."""
    return text.removeprefix(_MODEL) if text.startswith(_MODEL) else None


def _of_model(text: str, name: str) -> tuple[NativeScheduler, dict[str, Any]]:
    from schedtuna.model.shipped import find_model
    from schedtuna.sim.model_scheduler import ModelScheduler

    model = find_model(name)
    scheduler = ModelScheduler(model)
    facts = {"name": text, "parameters": {}, "model_version": model.version}
    return python_scheduler(text, scheduler, defined_callbacks(scheduler, CALLBACKS)), facts


def _class_named(text: str) -> type[Scheduler] | None:
    """Return the scheduler in Python that ``module:Class`` means; None: the text is none of that kind."""
    module, _, attribute = text.partition(":")
    if not attribute.isidentifier() or module in {*_all_schedulers(), *ALIASES}:
        return None
    return load_class(text, Scheduler, what=f"scheduler {text}", hint=_HINT)


def python_scheduler_named(text: str) -> SchedulerConfig | None:
    """Return the scheduler that ``module:Class`` or ``model:FILE`` means, as data; None: it means none.

    Raises:
        UsageError: There is no such class.
        ModelError: There is no such model.
    """
    if (model := model_named(text)) is not None:
        from schedtuna.model.shipped import find_model

        return SchedulerConfig(name=text, description=f"the model {find_model(model).name}")
    found = _class_named(text)
    if found is None:
        return None
    summary = (found.__doc__ or "").partition("\n")[0]
    return SchedulerConfig(name=text, description=summary)


def scheduler_text(name: str, parameters: Assignment) -> str:
    """Return ``name:parameter=value,...``, as `chosen_scheduler` reads it."""
    return f"{name}:{spell_assignment(parameters, ',')}" if parameters else name


def parsed_scheduler(text: str) -> SchedulerConfig:
    """Return the scheduler that a text means and that decides by itself, with its values.

    Args:
        text: A name with or without values, a file with settings, or what `objects.object_named` reads.

    Raises:
        UsageError: There is no such scheduler, parameter or value.
    """
    return _object_named(text) or _parsed(text, native_schedulers())


def _parsed(text: str, known: dict[str, SchedulerConfig]) -> SchedulerConfig:
    def lookup(name: str) -> SchedulerConfig:
        found = known.get(ALIASES.get(name, name))
        if found is None:
            hint = "`schedtuna sim list` shows them; module:Class names one in Python"
            if name.startswith("scx_"):
                hint = "give its program's path or FILE.bpf.o, or put its folder into SCHEDTUNA_SCX_PATH"
            raise UsageError(f"the simulator has no scheduler {name!r}: {nearest(name, known)}", hint=hint)
        return found

    try:
        return parse_scheduler(text, lookup, stated=True, of_model=True)
    except SpaceError as error:
        error.hint = _PARAMETERS_HINT
        raise


def _native(config: SchedulerConfig) -> tuple[NativeScheduler, dict[str, Any]]:
    parameters = _all_schedulers()[config.name].parameters  # of which a search may have left some out
    values = {name: config.values.get(name, spec.default) for name, spec in parameters.items()}
    numbers = {name: int(value) for name, value in values.items() if isinstance(value, int)}
    try:
        native = make_scheduler(config.name, numbers)
    except BadInputError as error:  # a value within its bounds that is none
        raise UsageError(str(error), hint=_PARAMETERS_HINT) from error
    return native, {"name": config.name, "parameters": values}


def require_parameters(name: str, values: Assignment) -> Assignment:
    """Return the values of parameters of a scheduler that is built in, checked.

    Raises:
        UsageError: It has no such parameter, or one of another value.
    """
    known = _all_schedulers()[name].parameters
    for parameter in values:
        if parameter not in known:
            raise UsageError(f"{name} has no parameter {parameter!r}: {nearest(parameter, known)}")
    try:
        return {parameter: known[parameter].validate_value(value) for parameter, value in values.items()}
    except SpaceError as error:
        raise UsageError(f"{name}: {error}", hint=_PARAMETERS_HINT) from error
