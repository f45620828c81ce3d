"""Which scheduler does a command line or a file mean?

default                          the machine's scheduling as it is
NAME                             a scheduler with its defaults
NAME:param=value,param=value     with values; NAME:policy=FILE where it needs a policy file
FILE.yaml, .json or .toml        {scheduler: NAME, parameters: {param: value}}
FILE.bpf.o                       a bare BPF object with a sched_ext scheduler, for guests
FOLDER                           a study's results folder: its best_parameters.json
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schedtuna.configfile import SUFFIXES, load_config
from schedtuna.errors import ConfigFileError, SpaceError, UsageError, nearest
from schedtuna.files.versions import StoredFormat
from schedtuna.kernel.sched_ext import SUFFIX, scheduler_name
from schedtuna.scheduler.settable import require_policy, settable
from schedtuna.scheduler.spec import SchedulerConfig

DEFAULT = "default"
BEST_NAME = "best_parameters.json"
Lookup = Callable[[str], SchedulerConfig]

STORED = StoredFormat(ConfigFileError)  # of a file with parameters; people leave the version out
# What a study adds to its best parameters is for people.
_FILE_KEYS = ("scheduler", "parameters", "verdict", "command", STORED.key)
_NEXT_PARAMETER = re.compile(r",(?=\s*[A-Za-z_][A-Za-z0-9_]*\s*=)")  # a list's value has commas of its own


def parse_scheduler(text: str, lookup: Lookup) -> SchedulerConfig:
    """Return the scheduler, with its values, that a text means.

    Args:
        text: See above.
        lookup: Gives the scheduler of a name with all its parameters, or raises UsageError.

    Raises:
        UsageError: No scheduler of this name, no such parameter, or none of its values.
        ConfigFileError: A file that can't be read or is malformed (with the line).
    """
    text = text.strip()
    if text == DEFAULT:
        return SchedulerConfig(name=DEFAULT, description="the machine's scheduling as it is")
    if text.endswith(SUFFIX):
        path = Path(text).absolute()
        return SchedulerConfig(
            name=scheduler_name(path), binary_path=path, description=f"the BPF object {text}"
        )
    name, colon, assignments = text.partition(":")
    is_file = text.lower().endswith(SUFFIXES) and "=" not in assignments  # NAME:policy=FILE.json is none
    if "/" in name or is_file or (text and Path(text, BEST_NAME).is_file()):
        return _from_file(Path(text), lookup)
    scheduler = lookup(name)
    if not colon:
        require_policy(scheduler)
        return scheduler
    texts: dict[str, str] = {}
    for assignment in _NEXT_PARAMETER.split(assignments):
        key, equals, value = (part.strip() for part in assignment.partition("="))
        if not (key and equals):
            raise UsageError(
                f"{text!r}: {assignment!r} sets nothing", hint="write NAME:param=value,param=value"
            )
        if key in texts:
            raise UsageError(f"{text!r} sets {key} twice")
        texts[key] = value
    scheduler, texts = settable(scheduler, texts)
    require_policy(scheduler)
    with _named(text):
        return scheduler.with_values({key: scheduler.space[key].parse(value) for key, value in texts.items()})


def _from_file(path: Path, lookup: Lookup) -> SchedulerConfig:
    if path.is_dir():
        path = path / BEST_NAME
    content = STORED.upgrade(load_config(path), path)
    for key in content:
        if key not in _FILE_KEYS:
            raise UsageError(f"{path}: unknown key {key!r}", hint=nearest(key, _FILE_KEYS[:2]))
    name, values = content.get("scheduler"), content.get("parameters") or {}
    if not isinstance(name, str):
        raise UsageError(f"{path}: 'scheduler' must name one, such as 'scheduler: fair'")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: 'parameters' must map names to values")
    if name == DEFAULT and not values:
        return parse_scheduler(DEFAULT, lookup)
    scheduler, values = settable(lookup(name), values)
    require_policy(scheduler)
    with _named(str(path)):
        return scheduler.with_values(values)


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Name the text or file that a refused value stands in."""
    try:
        yield
    except SpaceError as error:
        error.args = (f"{place}: {error}",)  # its class and what it knows stay
        raise
