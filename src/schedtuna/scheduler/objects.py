"""A scheduler that is a BPF object: what can be set of it, and which command keeps it in charge."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from schedtuna.kernel.sched_ext import SUFFIX, find_operations, opened
from schedtuna.kernel.settings import Settings
from schedtuna.resources import resource_path
from schedtuna.scheduler.help_text import HelpFlag
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType

LOADER = "scheduler/scx_object.py"


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
    parameters = {}
    with opened(path) as bpf:
        name = find_operations(bpf)[1]
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
        flags[flag] = HelpFlag(flag, "", "boolean" if is_switch else "value", default, (), spec.description)
    return scheduler.name, flags


def host_command(program: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command line that keeps a scheduler in charge of this machine."""
    if not is_object(program):
        return [str(program), *arguments]
    return [sys.executable, "-I", str(loader_path()), str(program), *arguments]


def loader_path() -> Path:
    """Return the file of the loader, which runs by itself."""
    return resource_path(LOADER)
