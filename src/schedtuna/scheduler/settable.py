"""What may be set of a sched_ext scheduler, beyond what a search tries?

What its program's `--help` lists: the registry's bounds say where a search makes sense (masks and texts
are none, 0 often means infinite), not what a user may ask for. And the policy file of a scheduler that
does not start without one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.resources import resource_path
from schedtuna.scheduler.entry import Entry, OlderName, entries
from schedtuna.scheduler.guess import COMMON_FLAGS
from schedtuna.scheduler.help_text import HelpFlag
from schedtuna.scheduler.objects import OURS
from schedtuna.scheduler.probe import probe
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType, spell_value

POLICY = "policy"
EXAMPLE = "example"
_MASK = re.compile(r"0[xX][0-9a-fA-F]+")
# What prints instead of scheduling.
_REPORTS = frozenset({"--monitor", "--stats", "--help-stats", "--print-and-exit", "--example"})


def settable(scheduler: SchedulerConfig, values: Mapping[str, Any]) -> tuple[SchedulerConfig, dict[str, Any]]:
    """Return a registered scheduler that takes these values, as far as its program does, and the values.

    Args:
        scheduler: As a search knows it.
        values: What is to be set, by name; texts, or values as files have them.

    Raises:
        UsageError: There is no such policy file, or an older name can't have meant this value.
    """
    entry = entries().get(scheduler.name)
    if entry is None:
        return scheduler, dict(values)
    specs, found = dict(scheduler.parameters), _by_own_names(scheduler, entry, values)
    for name, value in found.items():
        if name == POLICY and entry.policy:
            found[name] = _policy_file(scheduler.name, str(value))
            specs[name] = _text(name, ("", found[name]), entry.policy, f"policy file, or {EXAMPLE}")
        elif name in specs and specs[name].type is ParameterType.CATEGORICAL:
            specs[name] = _with_mask(specs[name], value, program_flag(scheduler, name))
        elif name in specs and scheduler.name not in OURS:  # whose bounds are those of its program
            specs[name] = _widened(specs[name], value)
        elif name not in specs and (flag := program_flag(scheduler, name)):
            specs[name] = _of_flag(name, flag, spell_value(value))
    return scheduler.model_copy(update={"parameters": specs}), found


def own_name(scheduler: SchedulerConfig, name: str) -> str:
    """Return the parameter that a name stands for, where it is one of older tools; else the name itself."""
    older = {row.name: row.parameter for row in older_names(scheduler)}
    return name if name in scheduler.parameters else older.get(name, name)


def older_names(scheduler: SchedulerConfig) -> tuple[OlderName, ...]:
    """Return the names that older tools gave its parameters."""
    entry = entries().get(scheduler.name)
    return entry.older_names if entry else ()


def require_policy(scheduler: SchedulerConfig) -> None:
    """Refuse a scheduler that does not start without a policy file, and has none.

    Raises:
        UsageError: It has none.
    """
    entry = entries().get(scheduler.name)
    if entry is not None and entry.policy and POLICY not in scheduler.parameters:
        raise UsageError(
            f"{scheduler.name} does not start without a policy file",
            hint=f"{scheduler.name}:{POLICY}=FILE names one; {POLICY}={EXAMPLE} is one for a first try",
        )


def for_search(scheduler: SchedulerConfig) -> SchedulerConfig:
    """Return a scheduler whose policy file, if it has one, is no choice of a search's: every run has it.

    Raises:
        UsageError: It has another value, which a search would not keep.
    """
    values = dict(scheduler.values)
    path = values.pop(POLICY, None)
    if values:
        raise UsageError(
            f"a search tries values of {', '.join(values)}: they can't be given",
            hint="--exclude NAME leaves a parameter at its default; `schedtuna compare` tests given values",
        )
    if path is None:
        return scheduler
    spec = scheduler.parameters[POLICY].model_copy(update={"choices": (path,), "default": path})
    return scheduler.model_copy(
        update={"parameters": scheduler.parameters | {POLICY: spec}, "values": values}
    )


def _by_own_names(scheduler: SchedulerConfig, entry: Entry, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, those under older names as what they mean for the program."""
    own = [name for name in values if name in scheduler.parameters or program_flag(scheduler, name)]
    for row in entry.older_names:
        if row.name in values and row.name not in own and row.parameter not in scheduler.parameters:
            raise UsageError(
                f"{row.name} means {row.parameter}, which {scheduler.binary_path or scheduler.name} lacks",
                hint=f"schedtuna schedulers probe {scheduler.name} lists what it has",
            )
    return entry.translate(values, own)


def _policy_file(scheduler: str, text: str) -> str:
    path = resource_path(f"scheduler/data/{scheduler}.json") if text == EXAMPLE else Path(text)
    if not path.is_file():
        raise UsageError(f"no such policy file: {text}", hint=f"{POLICY}={EXAMPLE} is one for a first try")
    return str(path.absolute())


def _widened(spec: ParameterSpec, value: Any) -> ParameterSpec:
    """A number's bounds, so that the value lies within; itself where the value is none."""
    if spec.type not in (ParameterType.INTEGER, ParameterType.FLOAT) or isinstance(value, bool):
        return spec
    try:
        number = float(value)
    except (TypeError, ValueError):
        return spec
    assert spec.min_value is not None and spec.max_value is not None  # as numbers have them
    no_whole = spec.type is ParameterType.INTEGER and not number.is_integer()
    if not math.isfinite(number) or no_whole or spec.min_value <= number <= spec.max_value:
        return spec
    low, high = min(spec.min_value, number), max(spec.max_value, number)
    bounds = {"min_value": low, "max_value": high, "log": spec.log and low > 0}
    return ParameterSpec.model_validate(spec.model_dump() | bounds)


def _with_mask(spec: ParameterSpec, value: Any, flag: HelpFlag | None) -> ParameterSpec:
    """A choice of names, with a mask of CPUs where the program does not list what it takes."""
    if flag is None or flag.choices or value in spec.choices or not _MASK.fullmatch(str(value)):
        return spec
    return spec.model_copy(update={"choices": (*spec.choices, value)})


def program_flag(scheduler: SchedulerConfig, name: str) -> HelpFlag | None:
    """Return the flag of the scheduler's program that a name stands for; None where it has none."""
    wanted = "--" + name.replace("_", "-")
    return None if wanted in COMMON_FLAGS | _REPORTS else (program_flags(scheduler) or {}).get(wanted)


def program_flags(scheduler: SchedulerConfig) -> dict[str, HelpFlag] | None:
    """Return the flags that the scheduler's program lists; None where it can't be asked."""
    if scheduler.binary_path is None:
        return None
    try:
        return probe(scheduler.binary_path).flags
    except (UsageError, UnavailableError):  # it has no --help that can be read
        return None


def _of_flag(name: str, flag: HelpFlag, text: str) -> ParameterSpec:
    # Of true and false without a default, neither is what the program does when it is not told.
    if flag.kind in ("switch", "count") or (flag.kind == "boolean" and flag.default):
        return ParameterSpec(
            name=name,
            type=ParameterType.BOOLEAN,
            default=flag.default == "true",
            command_arg=f"{flag.flag}={{value}}" if flag.kind == "boolean" else flag.flag,
            description=flag.summary(),
        )
    default = (flag.default or "").strip('"')
    choices = dict.fromkeys((default, *(flag.choices or (text,))))
    return _text(name, tuple(choices), f"{flag.flag}={{value}}", flag.summary())


def _text(name: str, choices: tuple[str, ...], command_arg: str, description: str) -> ParameterSpec:
    """A parameter of text, whose first choice is the default."""
    return ParameterSpec(
        name=name,
        type=ParameterType.CATEGORICAL,
        default=choices[0],
        choices=choices,
        command_arg=command_arg,
        description=description,
    )
