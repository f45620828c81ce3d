"""How is a program stopped that keeps a sched_ext scheduler in charge, by whoever finds it in the journal?"""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.records import ProcessSubject, Record
from schedtuna.machine.tasks import is_alive

SYSFS = Path("/sys/kernel/sched_ext")
_PATIENCE_S = ((signal.SIGINT, 20.0), (signal.SIGKILL, 20.0))
_POLL_S = 0.01
_MOST_FDS = 256
_HELD = re.compile(r"^link_type:\s*struct_ops$", re.MULTILINE)  # kernel/bpf/syscall.c
_RELEASE = re.compile(r"-v?[0-9][\w.+-]*$")  # behind a program's name, where several are kept
WAY_OUT = "SysRq-S (`echo S > /proc/sysrq-trigger`) brings the kernel's own scheduler back"


class SchedulerProcess:
    """A scheduler that was started to stay.

    Args:
        sysfs: Where the kernel says what is in charge.
    """

    name = "scheduler"

    def __init__(self, sysfs: Path = SYSFS) -> None:
        self._sysfs = sysfs

    def revert(self, record: Record) -> Reverted:
        """Stop the program, and wait until the kernel's own scheduler is back.

        Raises:
            KnobError: It did not stop.
        """
        subject = record.subject
        if not isinstance(subject, ProcessSubject):
            raise KnobError(f"{self.name}: the journal's record {record.id} names no process")
        try:
            handle = os.pidfd_open(subject.pid)
        except ProcessLookupError:
            return Reverted.GONE
        try:
            # The handle first, then the check: it names this very process from here on.
            if not is_alive(subject.pid, subject.start_ticks):
                return Reverted.GONE
            ops = read_sysfs(self._sysfs / "root/ops")
            own = ops if is_of(ops, subject.program, subject.pid, lambda path: read_sysfs(Path(path))) else ""
            for number, patience_s in _PATIENCE_S:
                signal.pidfd_send_signal(handle, number)
                if select.select([handle], [], [], patience_s)[0] and self._left(own, patience_s):
                    return Reverted.RESTORED
        except ProcessLookupError:
            return Reverted.GONE
        finally:
            os.close(handle)
        raise KnobError(
            f"{subject.program} did not stop: process {subject.pid}",
            hint=WAY_OUT,
        )

    def _left(self, own: str, patience_s: float) -> bool:
        """Wait until the scheduler of this ops name is not in charge any more; empty: it is not."""
        deadline = time.monotonic() + patience_s
        while read_sysfs(self._sysfs / "state") not in ("", "disabled"):
            if read_sysfs(self._sysfs / "root/ops") != own:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def is_named(ops: str, program: str) -> bool:
    """Whether an ops name is a program's: ``bpfland_1.1.4_x86_64`` is scx_bpfland's, or scx_bpfland-1.1's."""
    stem = program.removeprefix("scx_")
    stems = (program, stem, _RELEASE.sub("", stem))
    return any(ops == name or ops.startswith(f"{name}_") for name in stems)


def is_of(ops: str, program: str, pid: int, read: Callable[[str], str | None]) -> bool:
    """Whether the scheduler in charge is a running program's: by its name, else by what the program holds.

    Whoever writes a scheduler names its operations, and its file, as he likes. A program that has loaded
    one holds a link of kind struct_ops; and the kernel has one scheduler at a time.

    Args:
        ops: Name of what is in charge.
        program: The program's name.
        pid: Its process.
        read: Reads a file of its machine; empty or None where there is none.
    """
    return is_named(ops, program) or (
        bool(ops) and any(_HELD.search(read(f"/proc/{pid}/fdinfo/{fd}") or "") for fd in range(_MOST_FDS))
    )


def read_sysfs(path: Path) -> str:
    """Return the text of a file; empty where it can't be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
