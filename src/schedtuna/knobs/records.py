"""What a line of the journal says: what was changed, by whom, and what was there before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schedtuna.errors import JournalError
from schedtuna.files.versions import StoredFormat
from schedtuna.machine.tasks import is_alive

STORED = StoredFormat(JournalError)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSubject(_Data):
    """Threads: one, or all that a process or a tree of processes has when it is reverted.

    Attributes:
        tid: The thread; for a process or a tree, its (first) thread group leader.
        tgid: Its process.
        start_ticks: When `tid` started, so that a stranger with its number is never touched.
        reach: How many threads are meant.
    """

    kind: Literal["task"] = "task"
    tid: int
    tgid: int
    start_ticks: int
    reach: Literal["thread", "process", "tree"]


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
    """The process that made a change."""

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return is_alive(self.pid, self.start_ticks)


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

    @property
    def outlives_boot(self) -> bool:
        """Whether a reboot leaves the change in force."""
        return isinstance(self.subject, UnitSubject)

    @property
    def lasting(self) -> bool:
        """Whether the change was meant to outlive who made it: only an explicit undo reverts it."""
        return isinstance(self.subject, (ProcessSubject, LoaderSubject, UnitSubject))

    def tell(self) -> str:
        """What reverting it does, for people."""
        match self.subject:
            case NewGroupSubject(path=path):
                return f"the control group {path}: removed"
            case ProcessSubject(pid=pid):
                return f"{self.new['scheduler']}, process {pid}: stopped"
            case LoaderSubject():
                return f"scx_loader: {self.new['scheduler']} -> {self.old['scheduler']}"
            case UnitSubject(path=path):
                return f"{path}: {'removed' if self.old is None else 'as it was'}"
            case TaskSubject(tid=tid, reach=reach):
                what = f"{'thread' if reach == 'thread' else 'process'} {tid}"
            case GroupTasksSubject(path=path) | FileSubject(path=path):
                what = str(path)
        return f"{what}: {self.new} -> {self.old}"
