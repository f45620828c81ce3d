"""Where are a study's runs made, and what do its knobs turn? The plan keeps it, so that a resume knows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from schedtuna.backend.vm import GuestChoice
from schedtuna.errors import StudyError
from schedtuna.knobs.base import Scope, Target
from schedtuna.machine.tasks import boot_id, start_ticks


class Place(BaseModel):
    """This machine or a guest of the lab, and there a command, a running service, or all.

    Attributes:
        scope: How far changes reach.
        pid: The process (scope pid).
        pid_is: Which process that was: its boot and its start, since numbers are used again.
        cgroup: The control group's directory (scope cgroup).
        backend: ``host`` or ``vm``.
        kernel: With `vm`: version; None for the lab's default.
        cpus: With `vm`: virtual CPUs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Scope = Scope.TREE
    pid: int | None = None
    pid_is: str = ""
    cgroup: Path | None = None
    backend: Literal["host", "vm"] = "host"
    kernel: str | None = None
    cpus: int = 2

    @classmethod
    def of(cls, target: Target, guest: GuestChoice | None = None) -> Self:
        """Return the place of a target, on this machine or in a guest."""
        where = {} if guest is None else {"backend": "vm", "kernel": guest.kernel, "cpus": guest.cpus}
        who = "" if target.pid is None else _identity(target.pid)
        return cls.model_validate(
            {"scope": target.scope, "pid": target.pid, "pid_is": who, "cgroup": target.cgroup, **where}
        )

    def target(self) -> Target:
        """Return what the knobs turn.

        Raises:
            StudyError: The process has ended.
            UsageError: The control group is gone.
        """
        if self.pid is not None and _identity(self.pid) != self.pid_is:
            raise StudyError(
                f"process {self.pid}, which is tuned, has ended",
                hint="start anew; --cgroup names a service for longer than one process lives",
            )
        return Target(self.scope, pid=self.pid, cgroup=self.cgroup)

    def guest(self) -> GuestChoice | None:
        """Return which guest runs the command; None for this machine."""
        return GuestChoice(self.kernel, self.cpus) if self.backend == "vm" else None

    @property
    def is_service(self) -> bool:
        """Whether something is tuned that runs already, and not what the command starts."""
        return self.scope in (Scope.PID, Scope.CGROUP)

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name it; none for a command on this machine."""
        if self.backend == "vm":
            kernel = () if self.kernel is None else ("--kernel", self.kernel)
            cpus = () if self.cpus == GuestChoice.cpus else ("--cpus", str(self.cpus))
            return ("--backend", "vm", *kernel, *cpus)
        if self.is_service:
            return (f"--{self.scope}", str(self.pid or self.cgroup))
        return () if self.scope is Scope.TREE else ("--scope", str(self.scope))


def _identity(pid: int) -> str:
    return f"{boot_id()} {start_ticks(pid)}"
