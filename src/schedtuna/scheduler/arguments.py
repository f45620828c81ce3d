"""How is a scheduler's program called, so that it has the values of a configuration?"""

from __future__ import annotations

from schedtuna.kernel.sched_ext import OPS_NAME
from schedtuna.kernel.sched_ext import SUFFIX as OBJECT
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, spell_value


def command_line(scheduler: SchedulerConfig) -> list[str]:
    """Return the arguments that set a scheduler's values: only those that differ from the defaults.

    A parameter's `command_arg` is a flag; with `{value}` in it, a template, in which blanks part arguments;
    by default its name, with dashes. The loader of a BPF object is told what to call it, too.
    """
    program = scheduler.binary_path
    is_object = program is not None and program.name.endswith(OBJECT)
    arguments = [f"{OPS_NAME}={scheduler.name}"] if is_object else []
    constants = {name: s.default for name, s in scheduler.parameters.items() if len(s.choices) == 1}
    for name, value in (constants | scheduler.values).items():
        flag = command_arg(name, scheduler.parameters[name])
        if "{value}" in flag:
            arguments += [part.replace("{value}", spell_value(value)) for part in flag.split()]
        elif isinstance(value, bool):
            arguments += [flag] if value else []
        elif isinstance(value, tuple):
            arguments += [part for element in value for part in (flag, str(element))]
        elif flag.startswith("--"):
            arguments.append(f"{flag}={value}")
        else:
            arguments += [flag, str(value)]
    return arguments


def command_arg(name: str, spec: ParameterSpec) -> str:
    """Return the flag, or the template of one, that sets a parameter."""
    return spec.command_arg or "--" + name.replace("_", "-")
