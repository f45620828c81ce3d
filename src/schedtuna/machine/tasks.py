"""Which threads and processes there are, and whether one is still the one that was meant.

A number alone does not name a thread: numbers are reused. With the start time (field 22 of
/proc/PID/stat, in clock ticks since boot) it does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from schedtuna.capabilities import Capability, effective_capabilities, read_kernel_file, status_field

_CHILDREN_LISTS = Path("/proc/thread-self/children")
_PF_KTHREAD = 0x00200000  # include/linux/sched.h


class Task(NamedTuple):
    """A thread."""

    tid: int
    tgid: int
    start_ticks: int


class TaskStat(NamedTuple):
    """What /proc/PID/stat says of a thread that matters here."""

    state: str
    ppid: int
    start_ticks: int
    is_kernel_thread: bool


def read_stat(folder: str) -> TaskStat | None:
    """Parse the `stat` file of a folder such as ``/proc/1``; None where the thread is gone."""
    try:
        text = read_kernel_file(f"{folder}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name in parentheses may contain anything
    return TaskStat(
        state=fields[0],
        ppid=int(fields[1]),
        start_ticks=int(fields[19]),
        is_kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
    )


@cache
def boot_id() -> str:
    """The kernel's name for the current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(tid: int) -> int | None:
    """When a thread started, in clock ticks since boot; None where there is none."""
    found = read_stat(f"/proc/{tid}")
    return None if found is None else found.start_ticks


def is_alive(tid: int, started: int) -> bool:
    """Whether the thread that started then still runs; a leader counts while its threads do."""
    found = read_stat(f"/proc/{tid}")
    if found is None or found.start_ticks != started:
        return False
    return found.state not in "ZX" or len(list(threads(tid))) > 1


def threads(tgid: int) -> Iterator[Task]:
    """The threads of a process, leader first where it is there; none where it is gone."""
    try:
        tids = sorted(
            (int(entry.name) for entry in os.scandir(f"/proc/{tgid}/task")), key=lambda t: (t != tgid, t)
        )
    except (FileNotFoundError, ProcessLookupError):
        return
    for tid in tids:
        found = read_stat(f"/proc/{tgid}/task/{tid}")
        if found is not None:
            yield Task(tid, tgid, found.start_ticks)


def process_tree(root: int) -> list[int]:
    """The process and its descendants, parents before children, as of one scan of /proc.

    It costs a look at every process of the machine, and needs no option of the kernel.
    """
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and (found := read_stat(entry.path)) is not None:
            children.setdefault(found.ppid, []).append(int(entry.name))
    order, queue = [], deque([root])
    while queue:
        order.append(queue[0])
        queue.extend(children.get(queue.popleft(), ()))
    return order


def descendants(pid: int) -> list[int]:
    """Return a process and all its living descendants, by the lists of children that the kernel keeps.

    What it costs depends on the tree, not on how many processes there are, as with `process_tree`, which
    is used where the kernel lacks the lists (CONFIG_PROC_CHILDREN). What is forked meanwhile may be missed.
    """
    if not _CHILDREN_LISTS.exists():
        return process_tree(pid)
    found, todo = [], [pid]
    while todo:
        process = todo.pop()
        found.append(process)
        todo += direct_children(process)
    return found


def direct_children(pid: int) -> list[int]:
    """The children of a process: of each of its threads; none where it is gone, or goes meanwhile."""
    if not _CHILDREN_LISTS.exists():
        parents = {process: read_stat(f"/proc/{process}") for process in process_tree(pid)}
        return [process for process, found in parents.items() if found is not None and found.ppid == pid]
    try:
        tids = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names, not paths
    except (FileNotFoundError, ProcessLookupError):
        return []
    children: list[int] = []
    for tid in tids:
        try:
            children += map(int, read_kernel_file(f"/proc/{pid}/task/{tid}/children").split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread is gone
    return children


def group_tasks(directory: Path) -> Iterator[Task]:
    """The threads in a control group and in those below it; the kernel's own are left out."""
    for folder, _, files in os.walk(directory):
        name = "cgroup.threads" if "cgroup.threads" in files else "tasks"
        try:
            tids = [int(line) for line in Path(folder, name).read_text().split()]
        except (FileNotFoundError, OSError):  # removed meanwhile; ENOTSUP in a threaded v2 group's parent
            continue
        for tid in tids:
            tgid = thread_group(tid)
            found = None if tgid is None else read_stat(f"/proc/{tgid}/task/{tid}")
            if tgid is not None and found is not None and not found.is_kernel_thread:
                yield Task(tid, tgid, found.start_ticks)


def thread_group(tid: int) -> int | None:
    """The process of a thread; None where the thread is gone."""
    value = _status_field(tid, "Tgid")
    return int(value) if value else None


def may_schedule(tid: int) -> bool:
    """Whether the kernel lets this process set a thread's scheduling (check_same_owner() in the kernel)."""
    if may_schedule_all():
        return True
    uids = _status_field(tid, "Uid").split()
    return str(os.geteuid()) in uids[:2]


def may_schedule_all() -> bool:
    """Whether this process may set the scheduling of any thread, in any way (CAP_SYS_NICE)."""
    return Capability.SYS_NICE.within(effective_capabilities())


def _status_field(tid: int, name: str) -> str:
    try:
        status = read_kernel_file(f"/proc/{tid}/status")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return status_field(status, name)
