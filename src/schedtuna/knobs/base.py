"""What a knob is: one thing on a machine that can be probed, shown, applied and reverted."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from schedtuna.errors import KnobError, UsageError
from schedtuna.kernel.text import read_lines

if TYPE_CHECKING:  # the command line takes its scopes from here, and should start fast
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.records import Record
    from schedtuna.knobs.turn import Turn
    from schedtuna.space import ParameterSpec, ParameterValue


class Scope(StrEnum):
    """How far a change reaches.

    `tree` is a command that is about to start, and everything that it starts; `pid` a running
    process with its threads and descendants; `cgroup` an existing control group; `machine` all.
    """

    TREE = "tree"
    PID = "pid"
    CGROUP = "cgroup"
    MACHINE = "machine"


@dataclass(frozen=True)
class Target:
    """What is changed.

    Attributes:
        scope: How far changes reach.
        pid: The process (scopes tree and pid). In scope tree it is a child that waits before its
            exec; None stands for a child that this process has yet to start.
        cgroup: The control group's directory (scope cgroup).
        force: Whether it may be what `vital.refuse_vital` refuses: init, or what this process is part of.

    Raises:
        UsageError: The scope needs a process or a control group that is not named or not there.
    """

    scope: Scope = Scope.TREE
    pid: int | None = None
    cgroup: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.scope is Scope.PID and self.pid is None:
            raise UsageError("scope pid needs a process", hint="name it with --pid PID")
        if self.scope is Scope.CGROUP and self.cgroup is None:
            raise UsageError("scope cgroup needs a control group", hint="name it with --cgroup DIRECTORY")
        if self.scope is Scope.PID and not Path(f"/proc/{self.pid}").is_dir():
            raise UsageError(f"there is no process {self.pid}", hint="find it with pgrep")
        if self.scope is Scope.CGROUP and self.cgroup and not is_control_group(self.cgroup):
            raise UsageError(
                f"{self.cgroup} is not a control group",
                hint="name its directory, such as /sys/fs/cgroup/system.slice/NAME.service",
            )

    @property
    def model_pid(self) -> int:
        """The process whose attributes say what is found now (a child inherits this process's)."""
        return os.getpid() if self.pid is None else self.pid


def is_control_group(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a folder is a control group of the kernel's, and not one that just has such files."""
    try:
        device = (folder / "cgroup.procs").stat().st_dev
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = (line.partition(" - ") for line in read_lines(mountinfo))
    return any(
        before.split(" ")[2] == number and after.split(" ")[0] in ("cgroup", "cgroup2")
        for before, _, after in mounts
    )


@dataclass(frozen=True)
class Availability:
    """Whether a knob can be turned here and now.

    Attributes:
        ok: Whether it can.
        reason: Why not; empty where it can.
        hint: What would help, or what to know before using it.
        busy: Whether it is another process that turns it now, and will have put it back.
    """

    ok: bool
    reason: str = ""
    hint: str = ""
    busy: bool = False


class Reverted(StrEnum):
    """What became of a change."""

    RESTORED = "restored"
    ALIKE = "alike"  # it acts as before, but does not read so: the knob's `alike` says why
    GONE = "gone"  # what was changed no longer exists


class Knob(ABC):
    """One thing that can be probed, shown, applied and reverted.

    Attributes:
        name: Name of its parameter, with its unit.
        unit: Unit of its values.
        description: One sentence.
        scopes: The scopes that it works in.
        offered_in: The scopes where a search varies it unasked; elsewhere it is on request.
        alike: Why what it put back may act as before and not read so, for people.
    """

    name: str
    unit: str = ""
    description: str
    scopes: frozenset[Scope]
    offered_in: frozenset[Scope] = frozenset()
    alike: str = ""

    @abstractmethod
    def probe(self, target: Target) -> Availability:
        """Say whether this knob can be turned for the target. Changes nothing that lasts."""

    @abstractmethod
    def spec(self, target: Target) -> ParameterSpec:
        """The parameter: its default is what is found now, its bounds what this user may set.

        Raises:
            KnobError: What is found now can't be read.
        """

    @abstractmethod
    def show(self, target: Target) -> ParameterValue:
        """What is set now, as a value of the parameter.

        Raises:
            KnobError: It can't be read.
        """

    def is_uniform(self, target: Target) -> bool:  # noqa: ARG002
        """Whether what it shows is so everywhere; where not, even the value that it shows has to be set."""
        return True

    @abstractmethod
    def plan(self, target: Target, value: ParameterValue) -> Turn:
        """Note the old state, and say what is to be changed; changes nothing.

        Raises:
            KnobError: There is nothing to change, or what is found now can't be read.
            TargetBusyError: Another process turns it now.
        """

    def apply(self, target: Target, value: ParameterValue, journal: Journal) -> None:
        """Write the old state to the journal, then change it.

        Raises:
            KnobError: The kernel refused; what was changed by then is in the journal.
            JournalError: The journal refused, or another process turns it now; nothing was changed.
        """
        journal.carry_out([self.plan(target, value)])

    @abstractmethod
    def revert(self, record: Record) -> Reverted:
        """Put back what one record of the journal says. May be done twice.

        Raises:
            KnobError: It could not be put back.
        """


def as_int(value: ParameterValue) -> int:
    """A value of an integer parameter as an int.

    Raises:
        KnobError: It is not a number.
    """
    if isinstance(value, (int, float)):
        return int(value)
    raise KnobError(f"{value!r} is not a number")
