"""Sets what a study chose for a process or a control group that runs, and leaves it so until `undo`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.knobs.autogroup import AutogroupNice
from schedtuna.knobs.base import Knob, Scope, Target
from schedtuna.knobs.cgroup_knob import CgroupKnob
from schedtuna.knobs.claims import claimed
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.session import Changes
from schedtuna.knobs.task_knob import TaskKnob, describe, members
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue, spell_value
from schedtuna.tune.apply import SETS, is_for_the_machine


def keep(scheduler: SchedulerConfig, target: Target) -> tuple[list[str], bool]:
    """Set a scheduler's values for what runs, to stay until they are undone or the machine reboots.

    Args:
        scheduler: The kernel's own, with all values that were named.
        target: A process or a control group.

    Returns:
        What was set, and what it reaches and does not, for people; and whether anything is in force.

    Raises:
        UsageError: It is for the whole machine, or sets nothing.
        UnavailableError: A setting can't be made here.
        KnobError: The kernel refused one; what was changed by then is put back.
        JournalError: Another run is at work on the target, or the journal refuses; nothing was changed.
    """
    if is_for_the_machine(scheduler):
        raise UsageError(
            f"{scheduler.name} is for the whole machine",
            hint="`schedtuna schedulers start`, or apply --system",
        )
    if not scheduler.values:
        raise UsageError(f"{scheduler.name} sets nothing: there is no gain to keep", hint=SETS)
    with claimed(target, turned=scheduler.values):
        changes = Changes(target, Journal(keeps=True))
        changes.apply(scheduler.values)
    if not changes.journal.begun:
        return [f"nothing to set: {describe(target)} has all of it already"], True
    told, held = [], False
    for name, value in scheduler.values.items():
        text, some = _tell(knob_named(name), target, value)
        told.append(f"{name}={spell_value(value)}: {text}")
        held = held or some
    return [*told, *_limits(target, [knob_named(name) for name in scheduler.values])], held


def _tell(knob: Knob, target: Target, value: ParameterValue) -> tuple[str, bool]:
    """What a setting is in force for, and whether for anything."""
    if isinstance(knob, TaskKnob):
        return _threads(knob, target, value)
    held = knob.show(target) == value
    if isinstance(knob, CgroupKnob):
        return f"all that is in {target.cgroup}, now and later", held
    if isinstance(knob, AutogroupNice):
        return f"the session that {describe(target)} leads", held
    return "the whole machine", held


def _threads(knob: TaskKnob[Any], target: Target, value: ParameterValue) -> tuple[str, bool]:
    processes, having, others = set(), 0, 0
    for task in members(target):
        try:
            state = knob.read(task.tid)
        except OSError:  # it has ended
            continue
        if state is not None and knob.to_value(state, target) == value:
            having += 1
            processes.add(task.tgid)
        else:
            others += 1
    text = f"{_counted(having, 'thread')} of {_counted(len(processes), 'process', 'es')}"
    left = f"; {_counted(others, 'thread')} under other policies stay as they are" if others else ""
    return text + left, having > 0


def _limits(target: Target, knobs: list[Knob]) -> Iterator[str]:
    """What the settings do not reach."""
    if any(isinstance(knob, TaskKnob) for knob in knobs):
        yield "what these start inherits it; what others start, such as a restarted service, does not have it"
        if resetting := sum(map(_resets, {task.tid for task in members(target)})):
            yield f"what {_counted(resetting, 'thread')} with SCHED_RESET_ON_FORK start does not inherit it"
    if any(isinstance(knob, CgroupKnob) for knob in knobs) and target.scope is Scope.CGROUP:
        yield "a control group's settings go with the group, as when its service is stopped"
    yield "it stays until `schedtuna undo`, or the next boot"


def _resets(tid: int) -> bool:
    try:
        return bool(os.sched_getscheduler(tid) & os.SCHED_RESET_ON_FORK)
    except OSError:
        return False


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"
