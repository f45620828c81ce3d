"""Were a run's settings in force? Watches the tasks that they are for, and tells per setting.

A command's tree is told by the kernel as its tasks end, where eBPF may be used, and looked at now and
then elsewhere. A service goes on after the run, so it is looked at. What is not of tasks, a file of the
kernel's or of a control group, is read before and after.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from schedtuna.backend.looks import Groups, Looks, ServiceLooks, attributes_of, tasks_of, tree_below
from schedtuna.errors import KnobError, UnavailableError
from schedtuna.knobs.base import Knob, Scope, Target
from schedtuna.knobs.cgroup_knob import CgroupKnob
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.inforce import (
    Attributes,
    Force,
    Seen,
    SettingFinding,
    expectations,
    file_finding,
    findings,
)
from schedtuna.knobs.kernel_files import FileKnob
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.task_knob import first_task
from schedtuna.machine.tasks import read_stat
from schedtuna.record.ends import TaskEnd, TaskEnds
from schedtuna.space import ParameterValue
from schedtuna.workload.setters import setter
from schedtuna.workload.spec import Workload

EARLY_S = 1.0


@dataclass
class Watched:
    """What a run's watch came to; complete once its context is left.

    Attributes:
        wanted: What tasks should have: see `knobs.inforce.expectations`.
        seen: The tasks, by what they had.
        complete: Whether every task of the run is in `seen`, but for those of `lost_ns`.
        lost_ns: CPU time of tasks of which nothing is known.
        files: What files said before and after, by knob.
    """

    wanted: Mapping[str, Any]
    seen: Sequence[Seen] = ()
    complete: bool = False
    lost_ns: int = 0
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def findings(self, work_ns: int = 0) -> dict[str, SettingFinding]:
        """What became of each setting; `work_ns` is the CPU time that is known to have been used."""
        if self.complete:
            work_ns = sum(row.cpu_ns for row in self.seen) + self.lost_ns
        files = {name: file_finding(*texts) for name, texts in self.files.items()}
        of_tasks = findings(self.wanted, self.seen, work_ns)
        changed = {name: finding for name, finding in files.items() if finding.force is Force.UNDONE}
        return {**files, **of_tasks, **changed}


class SettingsWatch:
    """Watches runs, one at a time.

    Args:
        ends: Whether the kernel is to be asked as tasks end; if it can't be, they are looked at.
        early: Told once, after `EARLY_S`, what a command's tree has so far.
    """

    def __init__(
        self, *, ends: bool = True, early: Callable[[Mapping[str, SettingFinding]], None] | None = None
    ) -> None:
        self._early = early
        self._use_ends = ends
        self._ends: TaskEnds | None = None
        self._finalizer: weakref.finalize[[], SettingsWatch] | None = None

    def close(self) -> None:
        """Unload what is in the kernel; a later run loads it again."""
        if self._finalizer is not None:
            self._finalizer()
        self._ends = None

    @contextmanager
    def watching(self, target: Target, values: Mapping[str, ParameterValue]) -> Iterator[Watched]:
        """Watch while a run is made, from the moment that its settings are applied.

        Args:
            target: What they are applied to; in scope tree the process that waits before its exec.
            values: The settings.
        """
        knobs = [knob_named(name) for name in values]
        groups = _groups(target, knobs)
        files = _files(target, knobs)
        before = {name: _read(file) for name, file in files.items()}
        first = first_task(target)
        wanted = {} if first is None else expectations(list(values), attributes_of(first.tid, groups))
        watched = Watched(wanted)
        timer = self._look_early(target, wanted, groups)
        try:
            with self._tasks(target, groups, watched):
                yield watched
        finally:
            if timer is not None:
                timer.cancel()
        watched.files = {name: (before[name], _read(file)) for name, file in files.items()}

    @contextmanager
    def _tasks(self, target: Target, groups: Groups, watched: Watched) -> Iterator[None]:
        """Watch the tasks by the best way that there is."""
        if target.scope is Scope.MACHINE:
            yield
        elif target.scope is not Scope.TREE:
            with ServiceLooks(lambda: tasks_of(target)) as of_service:
                yield
            watched.seen = of_service.seen()
        elif (ends := self._task_ends()) is not None:
            ends.watch(_parent(target), **_inodes(groups))
            yield
            ended, watched.lost_ns = ends.take()
            watched.seen, watched.complete = [_row(end) for end in ended], True
        else:
            root = _parent(target)
            with Looks(lambda: tree_below(root), groups) as looks:
                yield
            watched.seen = looks.seen()

    def _look_early(
        self, target: Target, wanted: Mapping[str, Any], groups: Groups
    ) -> threading.Timer | None:
        early = self._early
        if early is None or target.scope is not Scope.TREE:
            return None
        root = _parent(target)

        def look() -> None:
            looks = Looks(lambda: tree_below(root), groups)
            looks.look()
            early(findings(wanted, looks.seen()))

        timer = threading.Timer(EARLY_S, look)
        timer.daemon = True
        timer.start()
        return timer

    def _task_ends(self) -> TaskEnds | None:
        if self._ends is None and self._use_ends:
            try:
                self._ends = TaskEnds()
            except UnavailableError:
                self._use_ends = False
            else:
                self._finalizer = weakref.finalize(self, self._ends.close)
        return self._ends


def _parent(target: Target) -> int:
    """The process that the command, and all that it leaves behind, descends from."""
    found = read_stat(f"/proc/{target.model_pid}")
    return 0 if found is None else found.ppid


def _groups(target: Target, knobs: Sequence[Knob]) -> Groups:
    """The control groups that were made for a tree."""
    found = {}
    for knob in knobs:
        if target.scope is Scope.TREE and isinstance(knob, CgroupKnob):
            hierarchy, file = find_hierarchy(knob.controller), knob.file(target)
            if hierarchy is not None and file is not None:
                found[knob.name] = (hierarchy, file.parent)
    return found


def _inodes(groups: Groups) -> dict[str, int]:
    return {f"{hierarchy.controller}_group": path.stat().st_ino for hierarchy, path in groups.values()}


def _row(end: TaskEnd) -> Seen:
    inside = {"cpu_weight", "cpu_quota"} if end.in_cpu_group else set()
    attributes = Attributes(
        policy=end.policy,
        nice=end.nice,
        slice_ns=end.slice_ns,
        slack_ns=end.timer_slack_ns,
        cpus=end.cpus,
        autogroup_nice=end.autogroup_nice,
        inside=frozenset(inside | ({"cpuset"} if end.in_cpuset_group else set())),
    )
    return Seen(end.comm, attributes, end.cpu_time_ns)


def _files(target: Target, knobs: Sequence[Knob]) -> dict[str, Callable[[], str]]:
    """How to read what is not an attribute of tasks, by knob."""
    found: dict[str, Callable[[], str]] = {}
    for knob in knobs:
        if isinstance(knob, FileKnob):
            found[knob.name] = lambda knob=knob: str(knob.show(target))  # type: ignore[misc]  # bound now
        elif isinstance(knob, CgroupKnob) and (file := knob.file(target)) is not None:
            found[knob.name] = partial(knob.text, file)
    return found


def _read(read: Callable[[], str]) -> str:
    try:
        return read()
    except KnobError:
        return "nothing"


def settled(found: Mapping[str, SettingFinding], workload: Workload) -> dict[str, str]:
    """Return findings' texts; what could not be checked is not in force where the command line undoes it."""
    texts = {name: str(finding) for name, finding in found.items()}
    for name, finding in found.items():
        if finding.force is not Force.NOT_CHECKED:
            continue
        by = setter(name, workload.argv, shell=workload.shell)
        # Beside other work it may be for a helper alone, unless it is for the shell itself.
        if by is not None and (by.alone or "$$" in by.own):
            detail = f"`{by}` is in the command line, and too little of the run could be observed"
            texts[name] = str(SettingFinding(Force.UNDONE, detail=detail))
    return texts


def undone(in_force: Mapping[str, str], values: Mapping[str, ParameterValue], workload: Workload) -> str:
    """Return why a run does not count as one under its settings; empty where they were in force.

    Args:
        in_force: What became of each setting: the texts of findings.
        values: The settings.
        workload: What ran; it may name the program that undid them.
    """
    reasons = []
    for name, text in in_force.items():
        if Force.of(text) is Force.UNDONE:
            by = setter(name, workload.argv, shell=workload.shell)
            who = (
                f"`{by}` sets its own {name}"
                if by
                else "the command sets its own, or leaves the setting's reach"
            )
            reasons.append(f"{name}={values.get(name)} was {text}; {who}: drop that, or the knob")
    return "; ".join(reasons)
