"""What a line of the journal says: what was changed, by whom, and what was there before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schedtuna.errors import JournalError
from schedtuna.files.versions import Content, StoredFormat
from schedtuna.machine.namespaces import own_namespaces, proc_is_own, process_in
from schedtuna.machine.tasks import is_alive, start_ticks


def _with_namespaces(content: Content) -> Content:
    """Version 1 did not say in which namespaces a change was made; they count as those of its reader."""
    return {**content, "owner": {**content["owner"], "namespaces": {}}}


def _without_keeping(content: Content) -> Content:
    """Version 2 knew no setting of a task or a file that is meant to stay."""
    return {**content, "kept": False}


def _without_heirs(content: Content) -> Content:
    """Version 3 knew no thread whose heirs are put back with it; what it has is as it was."""
    return content


def _without_parameters(content: Content) -> Content:
    """Version 4 knew no parameter of a running scheduler; what it has is as it was."""
    return content


def _without_autogroups(content: Content) -> Content:
    """Version 5 did not say which autogroup a session was; it is found by its leader alone."""
    return content


STORED = StoredFormat(
    JournalError,
    {
        1: _with_namespaces,
        2: _without_keeping,
        3: _without_heirs,
        4: _without_parameters,
        5: _without_autogroups,
    },
)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSubject(_Data):
    """Threads: one, or all that a process or a tree of processes has when it is reverted.

    Attributes:
        tid: The thread; for a process or a tree, its (first) thread group leader.
        tgid: Its process.
        start_ticks: When `tid` started, so that a stranger with its number is never touched.
        reach: How many threads are meant. `heirs`: the thread, and what its process and that one's
            descendants have forked since, as far as it has the new value still.
        since_ticks: When it was changed, in clock ticks since boot (heirs); 0: unknown.
        autogroup: The number of its session's autogroup, which no other gets until the next boot; 0: unknown.
    """

    kind: Literal["task"] = "task"
    tid: int
    tgid: int
    start_ticks: int
    reach: Literal["thread", "process", "tree", "heirs"]
    since_ticks: int = 0
    autogroup: int = 0


class GroupTasksSubject(_Data):
    """All threads in a control group and those below it; the inode tells a namesake apart."""

    kind: Literal["group_tasks"] = "group_tasks"
    path: Path
    inode: int


class FileSubject(_Data):
    """A file of the kernel: a sysctl, a debugfs entry, a control group's file."""

    kind: Literal["file"] = "file"
    path: Path
    inode: int | None = None  # of the control group's directory


class NewGroupSubject(_Data):
    """A control group that was made for one process."""

    kind: Literal["new_group"] = "new_group"
    path: Path


class ProcessSubject(_Data):
    """A program that keeps a sched_ext scheduler in charge while it runs."""

    kind: Literal["process"] = "process"
    pid: int
    start_ticks: int
    program: str


class SchedulerParameterSubject(_Data):
    """A parameter of a sched_ext scheduler that is set while it runs.

    Attributes:
        scheduler: The scheduler's name.
        parameter: Which one.
        pid, start_ticks: The process that keeps it in charge; both end together.
    """

    kind: Literal["scheduler_parameter"] = "scheduler_parameter"
    scheduler: str
    parameter: str
    pid: int
    start_ticks: int


class LoaderSubject(_Data):
    """The scheduler that the service scx_loader runs."""

    kind: Literal["scx_loader"] = "scx_loader"


class UnitSubject(_Data):
    """A unit file of systemd."""

    kind: Literal["unit"] = "unit"
    path: Path


AnySubject = (
    TaskSubject
    | GroupTasksSubject
    | FileSubject
    | NewGroupSubject
    | ProcessSubject
    | SchedulerParameterSubject
    | LoaderSubject
    | UnitSubject
)
Subject = Annotated[AnySubject, Field(discriminator="kind")]


class Change(NamedTuple):
    """One change that is about to be made; `old` and `new` are plain JSON, in the knob's own form."""

    knob: str
    subject: AnySubject
    old: Any
    new: Any


class Owner(_Data):
    """The process that made a change.

    Attributes:
        pid: Its number, in its own PID namespace.
        start_ticks: When it started, in its own time namespace.
        namespaces: The inodes of its namespaces, by kind.
    """

    pid: int
    start_ticks: int
    namespaces: dict[str, int] = Field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether it is seen to run (a zombie does not)."""
        return is_alive(self.pid, self.start_ticks)

    def differs(self, *kinds: str) -> list[str]:
        """Those of some kinds of namespaces that this process does not share with it."""
        own = own_namespaces()
        return [kind for kind in kinds if self.namespaces.get(kind, own.get(kind)) != own.get(kind)]

    @property
    def is_stranger(self) -> bool:
        """Whether its number means nothing here, and it may run unseen."""
        differing = self.differs("pid", "time")
        if differing == ["pid"]:  # with its last process a namespace ends
            found, everybody = process_in("pid", self.namespaces["pid"])
            return found is not None or not everybody
        return bool(differing)

    @property
    def is_dead(self) -> bool:
        """Whether it is sure that it does not run any more."""
        return not self.alive and not self.is_stranger


def this_process() -> Owner:
    """The process that asks.

    Raises:
        JournalError: /proc shows the processes of another PID namespace.
    """
    require_own_proc()
    pid = os.getpid()
    return Owner(pid=pid, start_ticks=start_ticks(pid) or 0, namespaces=own_namespaces())


def require_own_proc() -> None:
    """Raise where the numbers in /proc are not those that system calls take.

    Raises:
        JournalError: /proc shows the processes of another PID namespace.
    """
    if not proc_is_own():
        raise JournalError(
            "/proc shows the processes of another PID namespace: who is alive can't be told",
            hint="mount one of this namespace: mount -t proc proc /proc (unshare --mount-proc does it)",
        )


class Record(_Data):
    """One change in the journal.

    Attributes:
        version: Of this format.
        id: Names the record in its closing line.
        boot_id: The boot in which the change was made.
        owner: Who will revert it.
        time: Unix time in seconds.
        knob: Name of the knob.
        subject: What was changed.
        old: What was there, in the knob's own form.
        new: What was set, in the knob's own form.
        kept: Whether it is to stay when its owner has ended.
    """

    version: int = STORED.newest
    id: str
    boot_id: str
    owner: Owner
    time: float
    knob: str
    subject: Subject
    old: Any
    new: Any
    kept: bool = False

    @property
    def outlives_boot(self) -> bool:
        """Whether a reboot leaves the change in force."""
        return isinstance(self.subject, UnitSubject)

    @property
    def lasting(self) -> bool:
        """Whether the change was meant to outlive who made it: only an explicit undo reverts it."""
        return self.kept or isinstance(self.subject, (ProcessSubject, LoaderSubject, UnitSubject))

    @property
    def is_of_many_threads(self) -> bool:
        """Whether reverting it sets threads that have records of their own, which are reverted after it."""
        subject = self.subject
        return isinstance(subject, GroupTasksSubject) or (
            isinstance(subject, TaskSubject) and subject.reach in ("process", "tree")
        )

    def tell(self) -> str:
        """What reverting it does, for people."""
        match self.subject:
            case NewGroupSubject(path=path):
                return f"the control group {path}: removed"
            case ProcessSubject(pid=pid):
                return f"{scheduler_of(self.new)}, process {pid}: stopped"
            case SchedulerParameterSubject(scheduler=scheduler, parameter=parameter):
                what = f"{parameter} of {scheduler}"
            case LoaderSubject():
                return f"scx_loader: {scheduler_of(self.new)} -> {scheduler_of(self.old)}"
            case UnitSubject(path=path):
                return f"{path}: {'removed' if self.old is None else 'as it was'}"
            case TaskSubject(tid=tid, reach=reach):
                what = f"{'thread' if reach in ('thread', 'heirs') else 'process'} {tid}"
            case GroupTasksSubject(path=path) | FileSubject(path=path):
                what = str(path)
        return f"{what}: {self.new} -> {self.old}"


def scheduler_of(state: Any) -> str:
    """The scheduler's name in what a record has of one; of a damaged one, all of it."""
    return str(state.get("scheduler", state) if isinstance(state, dict) else state)
