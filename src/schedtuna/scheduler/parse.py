"""Which scheduler does a command line or a file mean?

default                          the machine's scheduling as it is
NAME                             a scheduler with its defaults
NAME:param=value,param=value     with values; NAME:policy=FILE where it needs a policy file
FILE.yaml, .json or .toml        {scheduler: NAME, parameters: {param: value}}, which saves settings, or
                                 {name: NAME, parameters: {param: specification}}, which defines a scheduler
module:ATTRIBUTE                 a SchedulerConfig of somebody's own module
FILE.bpf.o                       a bare BPF object with a sched_ext scheduler
FOLDER                           a study's results folder: its best_parameters.json

After a file, an object, a module's attribute or a name may stand `:param=value,...`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schedtuna.configfile import SUFFIXES, load_config
from schedtuna.errors import ConfigFileError, SpaceError, UsageError, nearest
from schedtuna.files.versions import StoredFormat
from schedtuna.kernel.sched_ext import SUFFIX
from schedtuna.scheduler.objects import object_scheduler
from schedtuna.scheduler.own import defined_by, named_in_module
from schedtuna.scheduler.registry import names
from schedtuna.scheduler.settable import require_policy, settable
from schedtuna.scheduler.spec import SchedulerConfig

DEFAULT = "default"
BEST_NAME = "best_parameters.json"
Lookup = Callable[[str], SchedulerConfig]

STORED = StoredFormat(ConfigFileError)  # of a file with parameters; people leave the version out
# What a study adds to its best parameters is for people.
_FILE_KEYS = ("scheduler", "parameters", "verdict", "command", "confirm", STORED.key)
_FILE = re.compile(r"(?P<file>[^=]*?\.(?:yaml|yml|json|toml))(?::(?P<rest>.*))?", re.IGNORECASE | re.DOTALL)
_OBJECT = re.compile(rf"(?P<file>[^=]*?{re.escape(SUFFIX)})(?::(?P<rest>.*))?", re.DOTALL)
_NEXT_PARAMETER = re.compile(r",(?=\s*[A-Za-z_][A-Za-z0-9_]*\s*=)")  # a list's value has commas of its own


def parse_scheduler(
    text: str, lookup: Lookup, *, stated: bool = False, of_model: bool = False
) -> SchedulerConfig:
    """Return the scheduler, with its values, that a text means.

    Args:
        text: See above.
        lookup: Gives the scheduler of a name with all its parameters, or raises UsageError.
        stated: Whether values that are the default's stay in it, too.
        of_model: Whether it is for a model, where a file may hold what was found in one.

    Raises:
        UsageError: No scheduler of this name, no such parameter, or none of its values; or they were found
            in a model.
        ConfigFileError: A file that can't be read or is malformed (with the line).
    """
    text = text.strip()
    if text == DEFAULT:
        return SchedulerConfig(name=DEFAULT, description="the machine's scheduling as it is")
    if found := _OBJECT.fullmatch(text):
        file, rest = found["file"], found["rest"]
        scheduler = object_scheduler(Path(file).absolute(), file)
        with _named(text, shlex.join(["schedtuna", "schedulers", "probe", file])):
            texts = _assigned(text, rest) if rest is not None else {}
            parsed = {key: scheduler.space[key].parse(value) for key, value in texts.items()}
            return scheduler.with_values(parsed, stated=stated)
    named, assignments = _parted(text, lookup)
    values: dict[str, Any] = {}
    if ":" in named and not _names_file(named):
        scheduler = named_in_module(named)
    else:
        scheduler, values = (
            _from_file(Path(named), lookup, of_model=of_model) if _names_file(named) else (lookup(named), {})
        )
    scheduler, values = settable(scheduler, values)
    scheduler, texts = settable(scheduler, _assigned(text, assignments) if assignments is not None else {})
    require_policy(scheduler)
    with _named(text, _shown_by(named, scheduler)):
        parsed = {key: scheduler.space[key].parse(value) for key, value in texts.items()}
        return scheduler.with_values(values | parsed, stated=stated)


def _names_file(text: str) -> bool:
    is_file = text.lower().endswith(SUFFIXES) or "/" in text
    return is_file or bool(text and os.path.isfile(os.path.join(text, BEST_NAME)))  # noqa: PTH113, PTH118


def _parted(text: str, lookup: Lookup) -> tuple[str, str | None]:
    """What names a scheduler, and the values after it; None where there are none."""
    if os.path.exists(text) and _names_file(text):  # noqa: PTH110 - whatever text it is
        return text, None
    if file := _FILE.fullmatch(text):
        return file["file"], file["rest"]
    name, colon, rest = text.partition(":")
    if "/" in name:
        return text, None
    attribute, another, values = rest.partition(":")
    if attribute.isidentifier() and not _is_known(name, lookup):
        return f"{name}:{attribute}", values if another else None
    return name, rest if colon else None


def _is_known(name: str, lookup: Lookup) -> bool:
    try:
        lookup(name)
    except UsageError:
        return False
    return True


def _assigned(text: str, assignments: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for assignment in _NEXT_PARAMETER.split(assignments):
        key, equals, value = (part.strip() for part in assignment.partition("="))
        if not (key and equals):
            raise UsageError(
                f"{text!r}: {assignment!r} sets nothing", hint="write NAME:param=value,param=value"
            )
        if key in texts:
            raise UsageError(f"{text!r} sets {key} twice", hint="leave one of them out")
        texts[key] = value
    return texts


def _from_file(
    path: Path, lookup: Lookup, *, of_model: bool = False
) -> tuple[SchedulerConfig, dict[str, Any]]:
    """The scheduler that a file defines, or the one of its settings, with them."""
    if path.is_dir():
        path = path / BEST_NAME
    elif path.suffix.lower() not in SUFFIXES and path.is_file() and os.access(path, os.X_OK):
        raise UsageError(
            f"{path} is a program: expected a file that defines the scheduler in it",
            hint=f"schedtuna schedulers probe {path} -o {path.name}.toml writes one",
        )
    content = load_config(path)
    if "name" in content and "scheduler" not in content:
        return defined_by(content, path), {}
    content = STORED.upgrade(content, path)
    if "confirm" in content and not of_model:
        raise UsageError(
            f"{path} was found in a model, and on no machine",
            hint=f"this confirms it on this one: {content['confirm']}; then use the settings that it names",
        )
    for key in content:
        if key not in _FILE_KEYS:
            raise UsageError(f"{path}: unknown key {key!r}", hint=nearest(key, _FILE_KEYS[:2]))
    named, values = content.get("scheduler"), content.get("parameters") or {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: 'parameters' must map names to values")
    if isinstance(named, dict):
        return defined_by(named, path), values
    if not isinstance(named, str):
        raise UsageError(
            f"{path}: 'scheduler' must name one, such as 'scheduler: fair'",
            hint="a file that defines one has its 'name' instead: docs/sched-ext.md has both",
        )
    if named == DEFAULT and not values:
        return parse_scheduler(DEFAULT, lookup), {}
    return lookup(named), values


def _shown_by(named: str, scheduler: SchedulerConfig) -> str:
    """The command that has a scheduler's parameters: as they are known, else as its program tells them."""
    program = scheduler.binary_path
    asked = program is not None and named == scheduler.name not in names()
    return shlex.join(["schedtuna", "schedulers", *(["probe", str(program)] if asked else ["show", named])])


@contextmanager
def _named(place: str, shown_by: str) -> Iterator[None]:
    """Name the text or file that a refused value stands in, and where its bounds are."""
    try:
        yield
    except SpaceError as error:
        error.args = (f"{place}: {error}",)  # its class and what it knows stay
        error.hint = error.hint or f"`{shown_by}` has each parameter's values"
        raise
