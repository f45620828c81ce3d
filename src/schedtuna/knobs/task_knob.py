"""How an attribute of threads is changed for a process tree or a control group, and put back.

Threads start and end while they are walked. A new thread inherits from one that either has the
new value already or is still to be visited, so passes are repeated until one meets no stranger.

The journal gets one record for each thread that differs from its process's leader, one for each
process, and one for the whole target, in this order. They are reverted in reverse: the target's
record puts its value on everything that is there now, including what was born under the change;
then each process and each thread gets what it had.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Availability, Knob, Reverted, Scope, Target
from schedtuna.knobs.records import Change, GroupTasksSubject, Record, TaskSubject
from schedtuna.knobs.turn import Step, Turn
from schedtuna.machine.tasks import (
    Task,
    descendants,
    group_tasks,
    is_alive,
    may_schedule,
    process_tree,
    read_stat,
    start_ticks,
    threads,
)
from schedtuna.space import ParameterValue

_MAX_PASSES = 20  # every pass leaves at most the children of the last; more means a fork bomb

State = TypeVar("State")  # plain JSON, as the journal keeps it


class TaskKnob(Knob, Generic[State]):
    """A knob whose state is one small JSON value per thread."""

    scopes = frozenset({Scope.TREE, Scope.PID, Scope.CGROUP})
    offered_in = scopes

    @abstractmethod
    def read(self, tid: int) -> State | None:
        """A thread's state; None where the knob does not concern it (another class of policy)."""

    @abstractmethod
    def write(self, tid: int, state: State) -> None:
        """Set a thread's state."""

    @abstractmethod
    def to_state(self, value: ParameterValue, target: Target) -> State:
        """The state that a value of the parameter means."""

    @abstractmethod
    def to_value(self, state: State, target: Target) -> ParameterValue:
        """The value of the parameter that describes a state."""

    def may_change(self, state: State | None) -> bool:
        """Whether a thread in this state is changed; if not it still gets a record."""
        return state is not None

    def supported(self) -> Availability:
        """Whether this kernel and this user have the knob at all."""
        return Availability(ok=True)

    def probe(self, target: Target) -> Availability:
        """Say whether the target's threads can be changed, and put back afterwards."""
        supported = self.supported()
        if not supported.ok:
            return supported
        first = first_task(target)
        if first is None:
            return Availability(
                False, f"{describe(target)} has no threads of user space", "name a program that runs"
            )
        if not may_schedule(first.tid):
            return Availability(
                False, f"{describe(target)} belongs to another user", "run as root, or grant CAP_SYS_NICE"
            )
        try:
            state = self.read(first.tid)
        except OSError as error:
            return Availability(False, f"reading it from thread {first.tid}: {error.strerror}")
        if state is None or not self.may_change(state):
            return Availability(
                False,
                f"thread {first.tid} is in a scheduling class that has no such attribute",
                "see its policy: chrt -p PID",
            )
        return supported

    def state_now(self, target: Target) -> State:
        """The state of the target's first thread, which stands for all.

        Raises:
            KnobError: It can't be read.
        """
        first = first_task(target)
        try:
            state = None if first is None else self.read(first.tid)
        except OSError as error:
            raise KnobError(f"{self.name}: reading it from {describe(target)}: {error.strerror}") from error
        if state is None:
            raise KnobError(f"{self.name}: {describe(target)} has no thread with such an attribute")
        return state

    def show(self, target: Target) -> ParameterValue:
        """The value of the target's first thread."""
        return self.to_value(self.state_now(target), target)

    def is_uniform(self, target: Target) -> bool:
        """Whether every thread that is changed is in the first one's state."""
        first = self.state_now(target)
        return all(state == first or not self.may_change(state) for state in self._read_all(target).values())

    def plan(self, target: Target, value: ParameterValue) -> Turn:
        """Change every thread of the target."""
        if target.scope is Scope.TREE and target.pid is None:
            raise KnobError(f"{self.name}: there is no process to change yet")
        state = self.to_state(value, target)
        found = self._read_all(target)
        if not found:
            raise KnobError(f"{self.name}: {describe(target)} has no threads left")
        spared = {task for task, old in found.items() if not self.may_change(old)}

        def make(step: Step) -> None:
            errors = self._sweep(lambda: members(target), state, spared, step)
            if errors:
                raise errors[0]

        return Turn(self.name, self._changes(target, found, state), make)

    def revert(self, record: Record) -> Reverted:
        """Put a thread's, a process's or a whole target's threads back."""
        subject = record.subject
        if isinstance(subject, GroupTasksSubject):
            if not subject.path.is_dir() or subject.path.stat().st_ino != subject.inode:
                return Reverted.GONE
            errors = self._sweep(lambda: group_tasks(subject.path), record.old, set())
        elif isinstance(subject, TaskSubject):
            if subject.reach == "heirs":
                return self._revert_heirs(subject, record)
            if not is_alive(subject.tid, subject.start_ticks):
                return Reverted.GONE
            errors = self._sweep(lambda: _reached(subject), record.old, set())
        else:
            raise KnobError(f"{self.name}: the journal's record {record.id} names no threads")
        if errors:
            raise errors[0]
        return Reverted.RESTORED

    def why_no_return(self, tid: int, old: State, new: State) -> str:  # noqa: ARG002
        """Say why this user could not put a thread back to what it had; empty: it could."""
        return ""

    def plan_thread(self, task: Task, value: ParameterValue, *, since_ticks: int) -> Turn:
        """Change one thread; what it forks from then on inherits the value, and is put back with it.

        Args:
            task: The thread.
            value: Of the parameter.
            since_ticks: The time, in clock ticks since boot.

        Raises:
            KnobError: It is gone, it can't be read, it has no such attribute, or this user could not put it
                back.
        """
        try:
            old = self.read(task.tid)
        except OSError as error:
            raise self._refused(task.tid, "read", error) from error
        if old is None or not self.may_change(old) or not is_alive(task.tid, task.start_ticks):
            raise KnobError(f"{self.name}: thread {task.tid} is gone, or has no such attribute")
        new = self.to_state(value, Target(Scope.TREE, pid=task.tid))
        if why := self.why_no_return(task.tid, old, new):
            raise KnobError(why, hint="run as root")
        subject = TaskSubject(**task._asdict(), reach="heirs", since_ticks=since_ticks)

        def make(step: Step) -> None:
            errors = self._sweep(lambda: [task], new, set(), step)
            if errors:
                raise errors[0]

        return Turn(self.name, [Change(self.name, subject, old, new)], make)

    def _revert_heirs(self, subject: TaskSubject, record: Record) -> Reverted:
        """Put back what still has the value that was set; what somebody set since is theirs."""
        found, errors = False, []
        for _ in range(_MAX_PASSES):
            changed = 0
            for task in _with_heirs(subject):
                found = True
                try:
                    if self.read(task.tid) == record.new != record.old:
                        self.write(task.tid, record.old)
                        changed += 1
                except ProcessLookupError:
                    continue
                except OSError as error:
                    errors.append(self._refused(task.tid, "set", error))
            if errors:
                raise errors[0]
            if not changed:
                break
        return Reverted.RESTORED if found else Reverted.GONE

    def _read_all(self, target: Target) -> dict[Task, State | None]:
        found: dict[Task, State | None] = {}
        for task in members(target):
            try:
                found[task] = self.read(task.tid)
            except ProcessLookupError:
                continue
            except OSError as error:
                raise self._refused(task.tid, "read", error) from error
        return found

    def _changes(self, target: Target, found: Mapping[Task, State | None], new: State) -> list[Change]:
        leaders = {task.tgid: state for task, state in found.items() if task.tid == task.tgid}
        changes = []
        for task, state in found.items():
            if state is not None and task.tid != task.tgid and state != leaders.get(task.tgid):
                changes.append(Change(self.name, TaskSubject(**task._asdict(), reach="thread"), state, new))
        processes = [task for task in found if task.tid == task.tgid and found[task] is not None]
        root = None
        if target.scope is not Scope.CGROUP and processes and processes[0].tid == target.pid:
            root = processes.pop(0)
        # Parents come first in `found`; the outermost process is to be reverted first.
        for task in reversed(processes):
            subject = TaskSubject(**task._asdict(), reach="process")
            changes.append(Change(self.name, subject, found[task], new))
        if root is not None:
            subject = TaskSubject(**root._asdict(), reach="tree")
            changes.append(Change(self.name, subject, found[root], new))
        if target.scope is Scope.CGROUP and processes:
            assert target.cgroup is not None
            group = GroupTasksSubject(path=target.cgroup, inode=target.cgroup.stat().st_ino)
            usual = _most_common(found[task] for task in processes)
            changes.append(Change(self.name, group, usual, new))
        return changes

    def _sweep(
        self,
        list_tasks: Callable[[], Iterable[Task]],
        state: State,
        spared: set[Task],
        step: Step = lambda _: None,
    ) -> list[KnobError]:
        """Write the state to every thread, until a pass meets no new one; collect what is refused."""
        seen, errors = set(spared), []
        for _ in range(_MAX_PASSES):
            new = [task for task in list_tasks() if task not in seen]
            if not new:
                break
            for task in new:
                seen.add(task)
                try:
                    now = self.read(task.tid)
                    if now is not None and now != state:
                        self.write(task.tid, state)
                        step(f"{self.name}: changed a thread")
                except ProcessLookupError:
                    continue
                except OSError as error:
                    errors.append(self._refused(task.tid, "set", error))
        return errors

    def _refused(self, tid: int, verb: str, error: OSError) -> KnobError:
        return KnobError(
            f"{self.name}: the kernel refused to {verb} it for thread {tid}: {error.strerror}",
            hint=self.hint_of_refusal(tid, error),
        )

    def hint_of_refusal(self, tid: int, error: OSError) -> str | None:  # noqa: ARG002
        """What helps where the kernel refused to change a thread."""
        return "run as root, or grant CAP_SYS_NICE" if isinstance(error, PermissionError) else None


def first_task(target: Target) -> Task | None:
    """The thread that stands for all of a target; None where there is none."""
    if target.scope is Scope.CGROUP:
        assert target.cgroup is not None
        return next(iter(group_tasks(target.cgroup)), None)
    pid = target.model_pid
    found = read_stat(f"/proc/{pid}")
    return None if found is None or found.is_kernel_thread else Task(pid, pid, found.start_ticks)


def members(target: Target) -> Iterator[Task]:
    """The target's threads as of now, the target process's own first."""
    if target.scope is Scope.CGROUP:
        assert target.cgroup is not None
        yield from group_tasks(target.cgroup)
    elif target.scope is Scope.TREE and target.pid is not None:
        yield from threads(target.pid)  # it waits before its exec, so it has no children yet
    elif target.pid is not None:
        for tgid in process_tree(target.pid):
            yield from threads(tgid)


def describe(target: Target) -> str:
    """Name the target for people."""
    if target.scope is Scope.CGROUP:
        return f"control group {target.cgroup}"
    if target.scope is Scope.MACHINE:
        return "this machine"
    return f"process {target.model_pid}" if target.pid != os.getpid() else "this process"


def _reached(subject: TaskSubject) -> Iterator[Task]:
    if subject.reach == "thread":
        yield Task(subject.tid, subject.tgid, subject.start_ticks)
        return
    for tgid in process_tree(subject.tgid) if subject.reach == "tree" else [subject.tgid]:
        yield from threads(tgid)


def _with_heirs(subject: TaskSubject) -> Iterator[Task]:
    """A thread, and what its process and the descendants of that have forked since it was changed."""
    leader = start_ticks(subject.tgid)
    if leader is None or leader > subject.since_ticks:
        return  # with its process it is gone, and its children have others as parents
    for tgid in descendants(subject.tgid):
        for task in threads(tgid):
            own = task.tid == subject.tid and task.start_ticks == subject.start_ticks
            if own or task.start_ticks >= subject.since_ticks:
                yield task


def _most_common(states: Iterable[State]) -> State:
    """The state that most have (states may be lists, which can't be counted as they are)."""
    counted = [(repr(state), state) for state in states]
    name = Counter(text for text, _ in counted).most_common(1)[0][0]
    return next(state for text, state in counted if text == name)
