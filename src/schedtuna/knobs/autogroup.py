"""The weight of a command's session against other sessions, where autogroup is on.

With autogroup each session (setsid(2)) is one scheduling group. `nice` then only shares out what
the session gets; this is the knob that says how much that is. A session is changed only through
its leader: the group of a whole terminal is not ours to weigh.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from schedtuna.capabilities import read_kernel_file
from schedtuna.errors import KnobError
from schedtuna.knobs.base import Availability, Knob, Reverted, Scope, Target, as_int
from schedtuna.knobs.kernel_files import write_kernel_file
from schedtuna.knobs.records import Change, Record, TaskSubject
from schedtuna.knobs.task_attributes import autogroup_enabled, may_have_nice
from schedtuna.knobs.turn import Turn
from schedtuna.machine.tasks import is_alive, may_schedule, start_ticks
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

# Without CAP_SYS_ADMIN the kernel takes one change per 100 ms (proc_sched_autogroup_set_nice()).
_PATIENCE_S = 1.0


class AutogroupNice(Knob):
    """Nice of a session's autogroup."""

    name = "autogroup_nice"
    description = "weight of the command's session against other sessions (autogroup)"
    scopes = frozenset({Scope.TREE, Scope.PID})
    offered_in = frozenset({Scope.TREE})

    def probe(self, target: Target) -> Availability:
        """Say whether the target leads a session whose group can be weighed."""
        if not Path("/proc/self/autogroup").exists():
            return Availability(False, "this kernel has no autogroups", "it needs CONFIG_SCHED_AUTOGROUP")
        if not autogroup_enabled():
            return Availability(False, "autogroup is off", "sysctl kernel.sched_autogroup_enabled=1")
        if target.pid is None:
            return self._may_return(0)  # a command that is to be started leads its own session
        if start_ticks(target.pid) is None:
            return Availability(False, f"there is no process {target.pid}")
        if not _leads_session(target):
            return Availability(
                False,
                f"process {target.pid} does not lead its session, so its autogroup has other members",
                "use nice within the session, or a control group's cpu_weight",
            )
        if not may_schedule(target.pid):
            return Availability(False, f"process {target.pid} belongs to another user", "run as root")
        return self._may_return(_read(target.pid)) if target.scope is Scope.PID else Availability(ok=True)

    def spec(self, target: Target) -> ParameterSpec:
        """-20 to 19; unprivileged users from what they may set."""
        found = as_int(self.show(target))
        lowest = next(value for value in range(-20, 20) if value >= 0 or may_have_nice(value))
        return ParameterSpec(
            name=self.name,
            type=ParameterType.INTEGER,
            default=found,
            min_value=min(found, lowest),
            max_value=19,
            description=self.description,
        )

    def show(self, target: Target) -> ParameterValue:
        """The session's nice; 0 for one that is to be made."""
        return 0 if target.pid is None else _read(target.pid)

    def plan(self, target: Target, value: ParameterValue) -> Turn:
        """Weigh the session that the target leads."""
        pid = target.pid
        started = None if pid is None else start_ticks(pid)
        if pid is None or started is None:
            raise KnobError(f"{self.name}: there is no process to change")
        number, found = _group(pid)
        subject = TaskSubject(tid=pid, tgid=pid, start_ticks=started, reach="process", autogroup=number)
        change = Change(self.name, subject, found, as_int(value))
        return Turn(self.name, [change], lambda _step: _write(pid, as_int(value)))

    def revert(self, record: Record) -> Reverted:
        """Weigh it as before, by its leader, or by any process that is left of it."""
        subject = record.subject
        if not isinstance(subject, TaskSubject):
            raise KnobError(f"{self.name}: the journal's record {record.id} names no process")
        pid: int | None = subject.tid
        if not is_alive(subject.tid, subject.start_ticks):
            pid = _member_of(subject.autogroup)
        if pid is None:
            return Reverted.GONE
        if _read(pid) != record.old:
            _write(pid, int(record.old))
        return Reverted.RESTORED

    def _may_return(self, found: int) -> Availability:
        if not may_have_nice(found) and found < 0:
            return Availability(False, "without privilege it can be raised but not put back", "run as root")
        return Availability(ok=True)


def _leads_session(target: Target) -> bool:
    """Whether the process leads its session; one that is being started gets a moment to do so."""
    pid = target.model_pid
    deadline = time.monotonic() + (_PATIENCE_S if target.scope is Scope.TREE else 0.0)
    while os.getsid(pid) != pid:
        if time.monotonic() > deadline or pid == os.getpid():
            return False
        time.sleep(0.005)
    return True


def _read(pid: int) -> int:
    return _group(pid)[1]


def _group(pid: int) -> tuple[int, int]:
    """Number and nice value of a process's autogroup; zeros before the session's first thread has run."""
    try:
        text = read_kernel_file(f"/proc/{pid}/autogroup")  # "/autogroup-14 nice 0"
    except OSError as error:
        raise KnobError(f"autogroup_nice: reading it from process {pid}: {error.strerror}") from error
    found = re.search(r"autogroup-(\d+) nice (-?\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _member_of(number: int) -> int | None:
    """A process of an autogroup; None: nothing is left of it, or its number is not known."""
    for name in os.listdir("/proc") if number else ():  # noqa: PTH208  # 5 times as fast as Path
        if name.isdecimal():
            with contextlib.suppress(KnobError):  # it is gone
                if _group(int(name))[0] == number:
                    return int(name)
    return None


def _write(pid: int, nice: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            write_kernel_file(Path(f"/proc/{pid}/autogroup"), str(nice))
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise KnobError(
                    f"autogroup_nice: the kernel accepts no change for process {pid} now"
                ) from None
            time.sleep(0.1)
        except OSError as error:
            raise KnobError(f"autogroup_nice: setting it for process {pid}: {error.strerror}") from error
        else:
            return
