"""How does somebody's own scheduler become known? By a file, a module's attribute, or an entry point."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schedtuna.errors import UsageError, nearest
from schedtuna.files import require_trusted
from schedtuna.plugins import load
from schedtuna.scheduler.arguments import command_arg
from schedtuna.scheduler.definition import scheduler_from_mapping
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.help_text import HelpFlag
from schedtuna.scheduler.probe import installed
from schedtuna.scheduler.registry import OWN_HINT, names, register
from schedtuna.scheduler.settable import older_names, own_name, program_flag, program_flags
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType, spell_value

_UNASKED = "what the program does unasked is what a gain is measured against"


def defined_by(content: Mapping[str, Any], path: Path) -> SchedulerConfig:
    """Register the scheduler that a file defines; its program's path is from the file's folder on.

    Raises:
        UsageError: It defines none; the message says where.
        UnavailableError: This process has privilege, and somebody else could change what it would run.
    """
    scheduler = scheduler_from_mapping(content, place=str(path))
    if scheduler.binary_path is not None:
        require_trusted(path, "to start a scheduler", hint="copy it to a folder where only you can write")
        binary = (path.parent / scheduler.binary_path.expanduser()).absolute()
        scheduler = scheduler.model_copy(update={"binary_path": binary})
    make_known(scheduler, place=str(path))
    return scheduler


def named_in_module(path: str, *, what: str = "") -> SchedulerConfig:
    """Register the scheduler that a module has as its attribute: ``module:ATTRIBUTE``.

    Args:
        path: That.
        what: Of what errors speak; default: the path.

    Raises:
        UsageError: It can't be imported, is none, or its program lacks what it says.
    """
    what = f"scheduler {what or path}"
    scheduler = load(path, SchedulerConfig, what=what, hint=OWN_HINT)
    make_known(scheduler, place=what)
    return scheduler


def make_known(scheduler: SchedulerConfig, *, place: str) -> None:
    """Register somebody's own scheduler, if its program has what is said of it.

    Args:
        scheduler: It.
        place: Where that stands, for messages.

    Raises:
        UsageError: It could not be named; or its program lacks a flag, or does something else unasked.
    """
    _require_flags(scheduler, scheduler.parameters, place=place)
    register(scheduler)


def redefined(
    known: SchedulerConfig, parameters: Mapping[str, Mapping[str, Any]], *, place: str
) -> SchedulerConfig:
    """Return a scheduler with what a user says of its parameters, as far as its program has them.

    What is left out is as it is known. Bounds may be wider than those that are known.

    Args:
        known: The scheduler.
        parameters: As `scheduler_from_mapping` takes them.
        place: Where that stands, for messages.

    Raises:
        UsageError: A parameter that its program lacks, or that is of another type or default there.
    """
    contents: dict[str, Any] = {}
    for name, wanted in parameters.items():
        real = own_name(known, name)
        if real in contents:
            first = next(other for other in parameters if own_name(known, other) == real)
            raise UsageError(
                f"{place}: {first} and {name} are the same parameter of {known.name}",
                hint="leave one of them out",
            )
        contents[real] = (
            _completed(known, name, real, wanted, place) if isinstance(wanted, Mapping) else wanted
        )
    for content in contents.values():
        condition = content.get("condition") if isinstance(content, dict) else None
        if isinstance(condition, dict) and condition.get("parameter") not in contents:
            content["condition"] = None  # what it depends on stays at its default
    found = scheduler_from_mapping({"name": known.name, "parameters": contents}, place=place)
    for name, spec in found.parameters.items():
        old = known.parameters.get(name)
        if old is not None and spec.default != old.default:
            raise UsageError(
                f"{place}: the default of {name} is {old.default} in {known.name}, not {spec.default}",
                hint=f"leave it out: {_UNASKED}",
            )
    _require_flags(
        known, {n: s for n, s in found.parameters.items() if n not in known.parameters}, place=place
    )
    return known.with_parameters(found.parameters)


def _completed(
    known: SchedulerConfig, name: str, real: str, wanted: Mapping[str, Any], place: str
) -> dict[str, Any]:
    """What is said of a parameter, and what is known of it besides."""
    shown = f"`schedtuna schedulers show {known.name}` lists its parameters"
    old = known.parameters.get(real)
    if old is None:
        flag = program_flag(known, real)
        if flag is None and not _may_have(known, wanted.get("command_arg")):
            raise UsageError(
                f"{place}: {known.name} has no parameter {real!r}: {nearest(real, known.parameters)}",
                hint=shown,
            )
        return {**({"command_arg": flag.flag} if flag else {}), **wanted}
    if str(wanted.get("type", old.type)) != old.type:
        reasons = [row.reason for row in older_names(known) if row.name == name]
        meant = "" if name == real else f"{real}, "
        raise UsageError(
            f"{place}: {name} is {meant}{old.type}, not {wanted['type']}",
            hint=reasons[0] if reasons else shown,
        )
    content = {**old.model_dump(mode="json", exclude_defaults=True, exclude={"name"}), **wanted}
    lowest = content.get("min_value")
    content["log"] = wanted.get("log", old.log and isinstance(lowest, int | float) and lowest > 0)
    if content.get("command_arg") != old.command_arg and not _may_have(known, content["command_arg"]):
        raise UsageError(
            f"{place}: {known.name} has no {content['command_arg']}", hint=f"{real} is {old.command_arg}"
        )
    return content


def make_known_again(scheduler: SchedulerConfig) -> None:
    """Register the scheduler of a resumed plan, if its name alone means none here, or another program."""
    if scheduler.name not in names() or scheduler.binary_path not in (None, installed().get(scheduler.name)):
        register(scheduler)


def _require_flags(
    scheduler: SchedulerConfig, parameters: Mapping[str, ParameterSpec], *, place: str
) -> None:
    """Hold parameters against the flags of the program, as far as its --help can be read.

    Raises:
        UsageError: It has no such flag, or one that takes no value, or does something else unasked.
    """
    found = None if scheduler.name in entries() else installed().get(scheduler.name)
    program = scheduler.binary_path or found
    flags = program_flags(scheduler.model_copy(update={"binary_path": program}))
    if flags is None:
        return
    for name, spec in parameters.items():
        arg = command_arg(name, spec)
        flag = _flag(flags, arg)
        if flag is None:
            raise UsageError(
                f"{place}: {name}: {program} has no {arg}",
                hint=f"`schedtuna schedulers probe {program}` lists its flags; command_arg names one",
            )
        if flag.kind in ("switch", "count") and (spec.type is not ParameterType.BOOLEAN or "{value}" in arg):
            raise UsageError(
                f"{place}: {name}: {flag.flag} of {program} takes no value", hint="its type is boolean"
            )
        if _is_another(spec, arg, flag.default):
            raise UsageError(
                f"{place}: {name} is {flag.default} where {program} is not told, "
                f"not {spell_value(spec.default)}",
                hint=f"its default is that: {_UNASKED}",
            )


def _is_another(spec: ParameterSpec, arg: str, printed: str | None) -> bool:
    """Whether a program certainly prints another default than a parameter has."""
    if printed is None:
        return False
    printed = printed.removesuffix(arg.partition("{value}")[2])
    if spec.type in (ParameterType.INTEGER, ParameterType.FLOAT):
        try:
            number = float(int(printed, 16) if printed[:2].lower() == "0x" else printed)
        except ValueError:
            return False
        return number != spec.default
    values = ("true", "false") if spec.type is ParameterType.BOOLEAN else spec.choices
    return printed in values and printed != spell_value(spec.default)


def _may_have(known: SchedulerConfig, arg: Any) -> bool:
    """Whether a program has the flag of a template, as far as its --help can be read."""
    flags = program_flags(known)
    return isinstance(arg, str) and (flags is None or _flag(flags, arg) is not None)


def _flag(flags: Mapping[str, HelpFlag], arg: str) -> HelpFlag | None:
    """The flag of a template, by its long or short name."""
    named = re.split(r"[ =]|{value}", arg)[0]
    return next((flag for flag in flags.values() if named in (flag.flag, flag.short)), None)
