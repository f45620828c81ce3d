"""What do tasks have while they run, and how much CPU time do they use? Looks at /proc, now and then.

It needs no privilege, and is what can be had of processes that do not end with the run. OVERHEAD: a look
costs about 40 us per thread on another CPU, and the next one waits a hundred times as long, so looking
takes a CPU at most 1% of its time. What lives shorter than from one look to the next is not seen.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Self

from schedtuna.capabilities import read_kernel_file
from schedtuna.kernel.syscalls import sched_getattr
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import Hierarchy
from schedtuna.knobs.inforce import Attributes, Seen
from schedtuna.knobs.task_attributes import read_slack_ns
from schedtuna.knobs.task_knob import members
from schedtuna.machine.tasks import process_tree, threads

FIRST_S = 0.005
_GROWTH = 0.3  # the next look comes after this part of the time that has passed
_LONGEST_S = 0.1  # but no later than this: a command may use most of its CPU time in a burst at its end
_REST = 100  # nor before so many times what the last one took

Groups = Mapping[str, tuple[Hierarchy, Path]]  # knob of a control group -> where the tasks should be


class Looks:
    """Looks at tasks from entering the context to leaving it, in a thread of its own.

    Args:
        tasks: Lists the threads that are there now.
        groups: The control groups that they should be in.
    """

    def __init__(self, tasks: Callable[[], Iterable[int]], groups: Groups | None = None) -> None:
        self._tasks = tasks
        self._groups = groups or {}
        self._used_ns: dict[int, int] = {}  # by thread, up to the last look
        self._seen: dict[tuple[str, Attributes], int] = {}
        self._first = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="schedtuna-look", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Look a last time, and no more; once is enough."""
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()

    def seen(self) -> list[Seen]:
        """What was seen so far; threads that used no CPU time count as little as can be."""
        rows = dict(self._seen)  # the other thread may add to it meanwhile
        return [Seen(name, attributes, max(ns, 1)) for (name, attributes), ns in rows.items()]

    def _look_on(self) -> None:
        begun, pause_s = time.monotonic(), FIRST_S
        while True:
            ended = self._stop.wait(pause_s)
            before_s = time.thread_time()
            self.look()
            if ended:
                return
            cost_s = time.thread_time() - before_s
            pause_s = max(FIRST_S, min(_GROWTH * (time.monotonic() - begun), _LONGEST_S), _REST * cost_s)

    def look(self) -> None:
        """Look once, now."""
        for tid in self._tasks():
            with contextlib.suppress(OSError, ValueError):  # it ended meanwhile
                self._look_at(tid)
        self._first = False

    def _look_at(self, tid: int) -> None:
        used_ns = _cpu_ns(tid)
        name = read_kernel_file(f"/proc/{tid}/comm").strip()
        row = (name, attributes_of(tid, self._groups))
        before_ns = self._used_ns.get(tid, 0)
        self._used_ns[tid] = used_ns
        self._seen[row] = self._seen.get(row, 0) + max(0, used_ns - before_ns)


class ServiceLooks(Looks):
    """The same of processes that ran before: what they used before the first look is not the run's."""

    def _look_at(self, tid: int) -> None:
        if self._first:
            self._used_ns[tid] = _cpu_ns(tid)
        super()._look_at(tid)


def attributes_of(tid: int, groups: Groups | None = None) -> Attributes:
    """Return what a thread has now.

    Raises:
        OSError: It is gone.
    """
    found = sched_getattr(tid)
    return Attributes(
        policy=found.policy,
        nice=os.getpriority(os.PRIO_PROCESS, tid),
        slice_ns=found.runtime_ns,
        slack_ns=_slack_ns(tid),
        cpus=tuple(sorted(os.sched_getaffinity(tid))),
        autogroup_nice=_autogroup_nice(tid),
        inside=frozenset(knob for knob, where in (groups or {}).items() if _is_inside(tid, *where)),
    )


def tree_below(root: int) -> Iterator[int]:
    """The threads of a process's descendants, without its own."""
    if not _tells_children():
        yield from (task.tid for process in process_tree(root)[1:] for task in threads(process))
        return
    todo = [root]
    while todo:
        process = todo.pop()
        for tid in _tids(process):
            if process != root:
                yield tid
            with contextlib.suppress(OSError):  # it ended meanwhile
                todo += map(int, read_kernel_file(f"/proc/{process}/task/{tid}/children").split())


@cache
def _tells_children() -> bool:
    """Whether the kernel has CONFIG_PROC_CHILDREN; without it all processes have to be read."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").exists()


def tasks_of(target: Target) -> Iterator[int]:
    """The threads of a process that runs, with its descendants, or of a control group."""
    assert target.scope in (Scope.PID, Scope.CGROUP)
    return (task.tid for task in members(target))


def _tids(process: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{process}/task")]  # noqa: PTH208 - it is hot
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_ns(tid: int) -> int:
    return int(read_kernel_file(f"/proc/{tid}/schedstat").split()[0])


def _autogroup_nice(tid: int) -> int | None:
    try:
        words = read_kernel_file(f"/proc/{tid}/autogroup").split()  # "/autogroup-14 nice 0"
    except FileNotFoundError:
        return None
    return int(words[-1]) if words else 0


def _slack_ns(tid: int) -> int | None:
    try:
        return read_slack_ns(tid)
    except PermissionError:
        return None


def _is_inside(tid: int, hierarchy: Hierarchy, group: Path) -> bool:
    found = hierarchy.group_of(tid)
    return found is not None and found.is_relative_to(group)
