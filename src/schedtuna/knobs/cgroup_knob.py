"""How a file of a control group is changed and put back, in version 1 and 2.

A tree gets a group of its own for as long as it runs, made where its process is; the group is
what the journal holds, and its settings go with it. An existing group (scope cgroup) keeps its
processes: only its file changes.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Availability, Knob, Reverted, Scope, Target
from schedtuna.knobs.hierarchies import (
    PREFIX,
    Hierarchy,
    find_hierarchy,
    make_group,
    parent_for,
    remove_group,
    same_group,
    transient_name,
)
from schedtuna.knobs.kernel_files import write_kernel_file
from schedtuna.knobs.records import Change, FileSubject, NewGroupSubject, Record
from schedtuna.knobs.turn import Step, Turn
from schedtuna.machine.tasks import start_ticks
from schedtuna.space import ParameterValue


class CgroupKnob(Knob):
    """A knob whose state is one file of a control group."""

    controller: str
    file_names: tuple[str, str]  # in version 1 and in version 2
    scopes = frozenset({Scope.TREE, Scope.CGROUP})

    @abstractmethod
    def to_value(self, text: str, group: Path) -> ParameterValue:
        """The value that the file's text means."""

    @abstractmethod
    def to_text(self, value: ParameterValue, group: Path, version: int) -> str:
        """The text that sets a value."""

    @abstractmethod
    def untouched(self) -> ParameterValue:
        """The value of a command that gets no group of its own."""

    def probe(self, target: Target) -> Availability:
        """Say whether there is a group to change, or a place to make one."""
        hierarchy = find_hierarchy(self.controller)
        if hierarchy is None:
            return Availability(
                False,
                f"no control group hierarchy has the {self.controller} controller",
                "mount cgroup2, or see the kernel's command line for cgroup_disable",
            )
        if target.scope is Scope.CGROUP:
            return self._probe_file(hierarchy, target)
        if parent_for(hierarchy, target.model_pid) is None:
            return Availability(
                False,
                f"no group can be made here that has the {self.controller} controller",
                "run as root, or under systemd-run --user --scope -p Delegate=yes; "
                f"'{self.controller}' must be in the parent's cgroup.subtree_control",
            )
        return Availability(ok=True)

    def show(self, target: Target) -> ParameterValue:
        """What the group's file says; for a tree without a group of its own, the neutral value."""
        path = self.file(target)
        return self.untouched() if path is None else self.to_value(self.text(path), path.parent)

    def plan(self, target: Target, value: ParameterValue) -> Turn:
        """Make the tree's group, or note the existing group's text; then write the value."""
        hierarchy = self._hierarchy()
        group = self._group(hierarchy, target)
        changes: list[Change] = []
        if group is None:
            changes = [self._new_group(hierarchy, target)]
        elif target.scope is Scope.CGROUP:  # what is set in a tree's own group goes with the group
            path = group / self._name(hierarchy)
            subject = FileSubject(path=path, inode=group.stat().st_ino)
            new = self.to_text(value, group, hierarchy.version)
            changes = [Change(self.name, subject, self.text(path), new)]

        def make(step: Step) -> None:
            inside = group or self._group(hierarchy, target)
            if inside is None:  # no other knob has made it meanwhile
                inside = self._make(hierarchy, target, Path(changes[0].new), step)
            self._write(inside / self._name(hierarchy), self.to_text(value, inside, hierarchy.version))

        return Turn(self.name, changes, make)

    def revert(self, record: Record) -> Reverted:
        """Remove the group that was made, or write the old text back."""
        subject = record.subject
        if isinstance(subject, NewGroupSubject):
            if not subject.path.name.startswith(PREFIX) or not self._inside(subject.path):
                raise KnobError(f"{self.name}: {subject.path} is not a group that Schedtuna makes")
            if not subject.path.is_dir():
                return Reverted.GONE
            origin = Path(str(record.old))
            remove_group(subject.path, origin if origin.is_dir() else subject.path.parent)
            return Reverted.RESTORED
        if not isinstance(subject, FileSubject) or subject.path.name not in self.file_names:
            raise KnobError(f"{self.name}: the journal's record {record.id} names no file of this knob")
        if not self._inside(subject.path):
            raise KnobError(f"{self.name}: {subject.path} is in no control group")
        group = subject.path.parent
        if not group.is_dir() or group.stat().st_ino != subject.inode:
            return Reverted.GONE
        if self.text(subject.path) == record.old:
            return Reverted.RESTORED
        return self._put_back(subject.path, str(record.old))

    def _put_back(self, path: Path, old: str) -> Reverted:
        self._write(path, old)
        return Reverted.RESTORED

    def _hierarchy(self) -> Hierarchy:
        hierarchy = find_hierarchy(self.controller)
        if hierarchy is None:
            raise KnobError(f"{self.name}: no control group hierarchy has the {self.controller} controller")
        return hierarchy

    def _name(self, hierarchy: Hierarchy) -> str:
        return self.file_names[hierarchy.version - 1]

    def _inside(self, path: Path) -> bool:
        mount = self._hierarchy().mount
        return mount in path.parents and ".." not in path.parts

    def _group(self, hierarchy: Hierarchy, target: Target) -> Path | None:
        """The target's group; for a tree only one that was made for it."""
        if target.scope is Scope.CGROUP:
            assert target.cgroup is not None
            return same_group(hierarchy, target.cgroup)
        own = hierarchy.group_of(target.model_pid)
        started = start_ticks(target.model_pid)
        if own is None or started is None or own.name != transient_name(target.model_pid, started):
            return None
        return own

    def group_or_future(self, target: Target) -> Path:
        """The target's group, or a path where one would be made."""
        hierarchy = self._hierarchy()
        parent = parent_for(hierarchy, target.model_pid) or hierarchy.mount
        return self._group(hierarchy, target) or parent / PREFIX

    def file(self, target: Target) -> Path | None:
        """The file that holds the target's state; None for a tree without a group of its own."""
        hierarchy = self._hierarchy()
        group = self._group(hierarchy, target)
        return None if group is None else group / self._name(hierarchy)

    def _new_group(self, hierarchy: Hierarchy, target: Target) -> Change:
        pid = target.pid
        started = None if pid is None else start_ticks(pid)
        parent = None if pid is None else parent_for(hierarchy, pid)
        origin = None if pid is None else hierarchy.group_of(pid)
        if pid is None or started is None or parent is None or origin is None:
            raise KnobError(f"{self.name}: there is no process, or no place, to make a group for")
        group = parent / transient_name(pid, started)
        return Change(self.name, NewGroupSubject(path=group), str(origin), str(group))

    def _make(self, hierarchy: Hierarchy, target: Target, group: Path, step: Step) -> Path:
        assert target.pid is not None  # _new_group
        step(f"{self.name}: before making the group")
        try:
            make_group(hierarchy, group, target.pid)
        except OSError as error:
            raise KnobError(
                f"{self.name}: making {group} for process {target.pid}: {error.strerror}"
            ) from error
        step(f"{self.name}: after making the group")
        return group

    def _probe_file(self, hierarchy: Hierarchy, target: Target) -> Availability:
        group = self._group(hierarchy, target)
        if group is None or not group.is_dir():
            where = f"below {hierarchy.mount}"
            return Availability(False, f"{target.cgroup} is not a control group {where}", f"name one {where}")
        path = group / self._name(hierarchy)
        if not path.exists():
            return Availability(
                False,
                f"{group} has no {path.name}",
                f"'{self.controller}' must be in its parent's cgroup.subtree_control; the root has none",
            )
        if not os.access(path, os.W_OK):
            return Availability(False, f"{path} may not be written by this user", "run as root")
        return Availability(ok=True)

    def text(self, path: Path) -> str:
        """A file's text without its end of line.

        Raises:
            KnobError: It can't be read.
        """
        try:
            return path.read_text().strip()
        except OSError as error:
            raise KnobError(f"{self.name}: reading {path}: {error.strerror}") from error

    def _write(self, path: Path, text: str) -> None:
        try:
            write_kernel_file(path, text)
        except OSError as error:
            raise KnobError(f"{self.name}: writing {text!r} to {path}: {error.strerror}") from error
