"""Can the settings reach the work at all? A client's own tasks have them; who works for it does not.

Asked before the first run: a comparison of what can't be in force is not begun. A command line that
shows a client beside other work is warned of, and so is one that sets an attribute itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from schedtuna.backend.base import KERNELS_OWN
from schedtuna.errors import StudyError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.kernel_files import FileKnob
from schedtuna.knobs.registry import all_knobs
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.clients import Handover, handover
from schedtuna.workload.setters import setter
from schedtuna.workload.spec import Workload

ALLOW = "--allow-client"


def require_reach(
    workload: Workload, target: Target, schedulers: Sequence[SchedulerConfig], turned: Iterable[str] = ()
) -> list[str]:
    """Return what to know before the first run of a command on this machine.

    Args:
        workload: What runs.
        target: What is tuned.
        schedulers: What it runs under.
        turned: Names of what a search will vary.

    Raises:
        StudyError: The command is a client, so that its settings are in force nowhere.
    """
    if target.scope is not Scope.TREE:
        return []
    own = [one for one in schedulers if one.name in KERNELS_OWN]
    chosen = {name for one in own for name in one.values}
    told = []
    handed = find_handover(workload)
    missed = unreached(handed, chosen | set(turned if own else ()))
    if handed is not None and missed:
        if handed.program.alone and not workload.works_here:
            _refuse(handed, missed)
        told.append(f"{handed}, out of reach of {_listed(missed)}: {way_out(handed)}")
    for name in sorted(chosen):
        by = setter(name, workload.argv, shell=workload.shell)
        if by is not None:
            told.append(
                f"`{by}` in the command sets its own {name} after schedtuna has: a run in which that undoes "
                "the setting fails; drop that, or the knob"
            )
    return told


def find_handover(workload: Workload) -> Handover | None:
    """Return the client that a workload's command line shows."""
    environment = {**os.environ, **workload.environment}
    return handover(workload.argv, shell=workload.shell, environment=environment)


def unreached(handed: Handover | None, settings: Iterable[str]) -> list[str]:
    """Return which settings do not reach those who work for a client."""
    if handed is None:
        return []
    return sorted(settings if handed.client.elsewhere else set(settings) & _of_the_tree())


def way_out(handed: Handover) -> str:
    """What to do instead."""
    if handed.client.elsewhere:
        return (
            "run schedtuna where the work is done; if that is this machine, name what works with "
            "--pid PID or --cgroup DIRECTORY"
        )
    return "name what works with --pid PID or --cgroup DIRECTORY, and let the command be its load"


def _refuse(handed: Handover, settings: Sequence[str]) -> None:
    raise StudyError(
        f"no verdict: {_listed(settings)} would be in force nowhere: {handed}, out of reach of settings of "
        "the command's own processes",
        hint=f"{way_out(handed)}; {ALLOW} if this {handed.name} does the work itself",
    )


def _of_the_tree() -> set[str]:
    """The knobs that are not of the whole machine."""
    return {knob.name for knob in all_knobs() if not isinstance(knob, FileKnob)}


def _listed(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
