"""A scheduler that is a BPF object: what can be set of it, and which command keeps it in charge."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.kernel.sched_ext import SUFFIX, find_operations, opened
from schedtuna.kernel.settings import Settings
from schedtuna.resources import resource_path
from schedtuna.scheduler import tuna
from schedtuna.scheduler.help_text import HelpFlag
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType

LOADER = "scheduler/scx_object.py"
OURS = ("scx_tuna", "scx_flashyspark")  # by both names runs the object that ships with the package


def is_object(program: Path | str | None) -> bool:
    """Whether a scheduler's program is a BPF object, by its name."""
    return program is not None and str(program).endswith(SUFFIX)


def object_scheduler(path: Path, text: str) -> SchedulerConfig:
    """Return the scheduler of an object, with all that can be set of it.

    Args:
        path: The object.
        text: How it was named.

    Raises:
        UsageError: It is not a BPF object, or has not one scheduler.
    """
    parameters: dict[str, ParameterSpec] = {}
    with opened(path) as bpf:
        name = find_operations(bpf)[1]
        if tuna.is_tuna(bpf.btf):
            parameters |= {spec.name: spec for spec in _tuna_parameters()}
        settings = Settings(bpf)
        defaults = settings.values()
        for setting, type_ in settings.types.items():
            when = "" if settings.is_constant(setting) else ", also while it is in charge"
            common = {"name": setting, "command_arg": f"--{setting}={{value}}"}
            described = f"A variable of the object{when}."
            value = defaults[setting]
            parameters[setting] = (
                ParameterSpec(
                    **common, type=ParameterType.BOOLEAN, default=bool(value), description=described
                )
                if type_.boolean
                else ParameterSpec(
                    **common,
                    type=ParameterType.INTEGER,
                    default=value,
                    min_value=type_.bounds[0],
                    max_value=type_.bounds[1],
                    description=described,
                )
            )
    return SchedulerConfig(
        name=name, binary_path=path, description=f"the BPF object {text}", parameters=parameters
    )


def _tuna_parameters() -> Iterator[ParameterSpec]:
    """What scx_tuna's map of maps holds."""
    bounds = {"slice_us": tuna.SLICE_US, "cpu_util_threshold": tuna.THRESHOLD}
    for name, default in tuna.DEFAULTS.items():
        choices: tuple[str, ...] = ()
        least: float | None = None
        most: float | None = None
        if isinstance(default, bool):
            kind = ParameterType.BOOLEAN
        elif isinstance(default, str):
            kind, choices = ParameterType.CATEGORICAL, tuna.POLICIES
        else:
            kind = ParameterType.INTEGER if isinstance(default, int) else ParameterType.FLOAT
            least, most = bounds[name]
        yield ParameterSpec(
            name=name, type=kind, default=default, choices=choices, min_value=least, max_value=most
        )


def own_objects() -> dict[str, Path]:
    """Return the schedulers that ship with this installation as objects, by name."""
    try:
        path = resource_path(f"native/{tuna.OBJECT}{SUFFIX}")
    except UnavailableError:  # it was built without clang 17
        return {}
    return dict.fromkeys(OURS, path)


def object_flags(path: Path) -> tuple[str, dict[str, HelpFlag]]:
    """Return the name of an object's scheduler, and what can be set of it as flags of its loader.

    Raises:
        UsageError: It is not a BPF object, or has not one scheduler.
    """
    scheduler = object_scheduler(path, str(path))
    flags = {}
    for name, spec in scheduler.parameters.items():
        flag = "--" + name.replace("_", "-")
        is_switch = spec.type is ParameterType.BOOLEAN
        default = str(spec.default).lower()
        flags[flag] = HelpFlag(
            flag, "", "boolean" if is_switch else "value", default, spec.choices, spec.description
        )
    return scheduler.name, flags


def host_command(program: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command line that keeps a scheduler in charge of this machine."""
    if not is_object(program):
        return [str(program), *arguments]
    return [sys.executable, "-I", str(loader_path()), str(program), *arguments]


def loader_path() -> Path:
    """Return the file of the loader, which runs by itself."""
    return resource_path(LOADER)
