"""Which schedulers have a name: those of the shipped data, of other packages, and a user's own?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from schedtuna.configfile import SUFFIXES
from schedtuna.errors import UsageError
from schedtuna.kernel.sched_ext import SUFFIX as OBJECT
from schedtuna.plugins import installed
from schedtuna.scheduler.arguments import command_arg
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.spec import SchedulerConfig

ENTRY_POINTS = "schedtuna.schedulers"  # the group in which other packages name theirs
OWN_HINT = "one of your own is a file: docs/sched-ext.md, section A scheduler of your own"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TAKEN = ("fair", "default")  # the kernel's own, which has no program
_user_schedulers: dict[str, SchedulerConfig] = {}


def register(scheduler: SchedulerConfig) -> None:
    """Make a scheduler known by its name, in place of a shipped one of the same name.

    Raises:
        UsageError: It could not be named, or a parameter of it not be set.
    """
    of_a_file = scheduler.name.lower().endswith((*SUFFIXES, OBJECT))
    if not _NAME.fullmatch(scheduler.name) or of_a_file or scheduler.name in _TAKEN:
        raise UsageError(
            f"a scheduler of your own can't be called {scheduler.name!r}",
            hint=f"take its program's name: letters, digits, _, - and ., and neither {' nor '.join(_TAKEN)}",
        )
    for name, spec in scheduler.parameters.items():
        flag = command_arg(name, spec)
        if spec.default is True and "{value}" not in flag:
            raise UsageError(
                f"{scheduler.name}: {name} is true by default, and {flag} alone can't make it false",
                hint=f"command_arg = '{flag}={{value}}' gives it the word",
            )
    _user_schedulers[scheduler.name] = scheduler


def is_own(name: str) -> bool:
    """Whether a name is a user's or another package's scheduler, and not one of the shipped data's."""
    return name in _user_schedulers or name in installed(ENTRY_POINTS).keys() - entries().keys()


def names() -> Iterator[str]:
    """Iterate over the names of all schedulers but the kernel's own."""
    return iter(sorted({*entries(), *_user_schedulers, *installed(ENTRY_POINTS)}))


def known(name: str) -> SchedulerConfig | None:
    """Return a scheduler that was registered or has shipped data; its newest release."""
    if name in _user_schedulers:
        return _user_schedulers[name]
    return entries()[name].config() if name in entries() else None
