"""What is not to be tuned by mistake: what everything here descends from, and this run itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.machine.tasks import read_stat, thread_group

_INIT = 1


def refuse_vital(target: Target) -> None:
    """Refuse a process or a control group whose tuning reaches init, the kernel or this process.

    Raises:
        UsageError: It does, and `target.force` is not set.
    """
    if target.force:
        return
    reason = None
    if target.scope is Scope.PID and target.pid is not None:
        reason = _vital_process(target.pid)
    elif target.scope is Scope.CGROUP and target.cgroup is not None:
        reason = _vital_group(target.cgroup)
    if reason:
        raise UsageError(
            reason, hint="name the process or the control group of the service itself, or give --force"
        )


def _vital_process(pid: int) -> str | None:
    process = thread_group(pid) or pid
    found = read_stat(f"/proc/{process}")
    if process == _INIT:
        return f"process {pid} is init: all that runs here descends from it, and would be tuned with it"
    if found is not None and found.is_kernel_thread:
        return f"process {pid} is a thread of the kernel"
    if process == os.getpid():
        return f"process {pid} is this very run, which would tune itself"
    if process in _ancestors(os.getpid()):
        return f"process {pid} is what this run descends from: it would tune itself, too"
    return None


def _vital_group(folder: Path) -> str | None:
    names = {_INIT: f"process {_INIT}, init", os.getpid(): "this very run, which would tune itself"}
    return next((f"{folder} holds {names[pid]}" for pid in _members(folder) if pid in names), None)


def _ancestors(pid: int) -> Iterator[int]:
    while (found := read_stat(f"/proc/{pid}")) is not None and found.ppid:
        pid = found.ppid
        yield pid


def _members(folder: Path) -> Iterator[int]:
    """The processes in a control group and in those below it."""
    for group, _, _ in os.walk(folder):
        try:
            text = Path(group, "cgroup.procs").read_text()
        except OSError:  # removed meanwhile; ENOTSUP where only threads are in it
            continue
        yield from map(int, text.split())
