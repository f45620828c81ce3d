"""How intents become changes of the machine, and go again: through the knobs, each in the journal first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from schedtuna.agent.contract import ADVICE, ChangeTarget, Intent, RunsBetween, Standing
from schedtuna.agent.limits import ThreadFacts
from schedtuna.agent.swap.acting import DEFAULT_ARM, SCHEDULER, SchedulerSwaps
from schedtuna.errors import JournalError, KnobError, SchedtunaError, SpaceError, UsageError
from schedtuna.kernel.text import lines_of
from schedtuna.knobs.affinity import Affinity
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import (
    Change,
    ProcessSubject,
    Record,
    SchedulerParameterSubject,
    TaskSubject,
)
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.scheduler_parameter import SchedulerParameter, is_same
from schedtuna.knobs.task_knob import TaskKnob
from schedtuna.knobs.turn import Turn
from schedtuna.knobs.undo import UndoResult, revert_records
from schedtuna.machine.tasks import Task, is_alive, read_stat
from schedtuna.space import ParameterValue

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
YIELDED = "yielded"  # what the journal says of a change that somebody else has made their own
_DELEGATE = ("trusted.delegate", "user.delegate")  # systemd.resource-control(5), Delegate=


class ActResult(StrEnum):
    """What became of an intent."""

    MADE = "made"
    ADVISED = "advised"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Act:
    """One intent and what became of it.

    Attributes:
        intent: As the policy said it.
        result: What became of it.
        reason: Why not; empty where it was made.
    """

    intent: Intent
    result: ActResult
    reason: str = ""


@dataclass
class _Held:
    standing: Standing
    records: list[Record]
    service: RunsBetween | None = None


@dataclass(frozen=True)
class Undone:
    """A change that was put back, or found gone.

    Attributes:
        standing: As it was in force.
        result: Of the journal.
        reason: Why it could not be put back; empty where it was.
    """

    standing: Standing
    result: UndoResult
    reason: str = ""


@dataclass
class Actor:
    """Makes changes and puts them back.

    Attributes:
        journal: Where they are written down first.
        service: What the policy in charge has to run between intervals; None: nothing.
    """

    journal: Journal
    service: RunsBetween | None = None
    _held: dict[str, _Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.swaps = SchedulerSwaps(self.journal)

    @property
    def standing(self) -> dict[str, Standing]:
        """What is in force, by `Intent.key`."""
        return {key: held.standing for key, held in self._held.items()}

    def make(self, intents: Sequence[Intent]) -> list[Act]:
        """Make changes: all are written down, then each is made; one that fails leaves the others.

        Raises:
            JournalError: They can't be written down; none was made.
        """
        planned: list[tuple[Intent, Turn]] = []
        by_own_ways = {SCHEDULER: self._swap, ADVICE: self._serve}  # not by knobs
        acts = [by_own_ways[one.setting](one) for one in intents if one.setting in by_own_ways]
        for intent in intents:
            if intent.setting in by_own_ways:
                continue
            try:
                planned.append((intent, _plan(intent)))
            except (KnobError, UsageError, SpaceError) as error:
                acts.append(Act(intent, ActResult.FAILED, str(error)))
        try:
            records = self.journal.begin([change for _, turn in planned for change in turn.changes])
        except BaseException:
            for _, turn in planned:
                turn.cancel()
            raise
        place = 0
        for intent, turn in planned:
            own = records[place : place + len(turn.changes)]
            place += len(own)
            acts.append(self._make_one(intent, turn, own))
        return acts

    def _make_one(self, intent: Intent, turn: Turn, records: list[Record]) -> Act:
        self.journal.step(f"{turn.knob}: before the change")
        try:
            turn.make(self.journal.step)
        except (SchedtunaError, OSError) as error:
            revert_records(records, self.journal)
            return Act(intent, ActResult.FAILED, str(error))
        self.journal.step(f"{turn.knob}: after the change")
        held = self._held.get(intent.key)
        kept = [] if held is None else held.records
        found = intent.old if held is None else held.standing.found
        self._held[intent.key] = _Held(Standing(intent, time.monotonic_ns(), found), [*kept, *records])
        return Act(intent, ActResult.MADE)

    def _swap(self, intent: Intent) -> Act:
        """Put another scheduler in charge, by way of the kernel's own, which else stays."""
        began_s, key = time.monotonic(), intent.key
        disable_s = 0.0
        if key in self._held:
            (stopped,) = self.put_back([key])
            if key in self._held:
                return Act(intent, ActResult.FAILED, f"the one before does not stop: {stopped.reason}")
            disable_s = time.monotonic() - began_s
        try:
            records = self.swaps.start(str(intent.new), disable_s=disable_s)
        except JournalError:
            raise
        except SchedtunaError as error:
            return Act(intent, ActResult.FAILED, str(error))
        self._held[key] = _Held(Standing(intent, time.monotonic_ns(), DEFAULT_ARM), records)
        return Act(intent, ActResult.MADE)

    def _serve(self, intent: Intent) -> Act:
        """Begin what runs between intervals; it ends by itself with this process, so no journal knows it."""
        if self.service is None:
            return Act(intent, ActResult.FAILED, "the policy has nothing that would answer")
        if held := self._held.pop(intent.key, None):
            _end(held)
        try:
            self.service.start()
        except SchedtunaError as error:
            return Act(intent, ActResult.FAILED, str(error))
        self._held[intent.key] = _Held(Standing(intent, time.monotonic_ns(), intent.old), [], self.service)
        return Act(intent, ActResult.MADE)

    def adopt(self, intents: Sequence[Intent]) -> list[Act]:
        """Write down what threads have inherited, to be put back with the rest; nothing is changed.

        Raises:
            JournalError: It can't be written down.
        """
        acts = []
        for intent in intents:
            knob, task = knob_named(intent.setting), _same_thread(intent.target.tid, intent.target.tgid)
            if task is None or not isinstance(knob, TaskKnob):
                continue
            place = Target(Scope.TREE, pid=task.tid)
            old = 0 if intent.old is None else intent.old  # the default slice
            subject = TaskSubject(**task._asdict(), reach="heirs", since_ticks=boot_ticks())
            states = knob.to_state(old, place), knob.to_state(intent.new, place)
            records = self.journal.begin([Change(knob.name, subject, *states)])
            held = self._held.get(intent.key)
            kept = [] if held is None else held.records
            self._held[intent.key] = _Held(
                Standing(intent, time.monotonic_ns(), intent.old), [*kept, *records]
            )
            acts.append(Act(intent, ActResult.MADE))
        return acts

    def put_back(self, keys: Iterable[str]) -> list[Undone]:
        """Put changes back, the newest first; what can't be stays in force and in the journal.

        Raises:
            JournalError: It can't be written; what was put back stays in it.
        """
        chosen = [key for key in self._held if key in set(keys)]
        records = [record for key in chosen for record in self._held[key].records]
        outcomes = {one.record.id: one for one in revert_records(records, self.journal)} if records else {}
        undone = []
        for key in chosen:
            held = self._held[key]
            if held.service is not None:
                del self._held[key]
                undone.append(_end(held))
                continue
            own = [outcomes[record.id] for record in held.records]
            failed = next((one for one in own if not one.closed), None)
            worst = failed or own[0]
            undone.append(Undone(held.standing, worst.result, worst.unwritten or worst.reason))
            if failed is None:
                del self._held[key]
                if held.standing.intent.setting == SCHEDULER:
                    self.swaps.stopped()
        return undone

    def let_go(self, keys: Iterable[str], outcome: str = YIELDED) -> None:
        """Take changes out of the journal as they are: somebody else has set the same since.

        Raises:
            JournalError: It can't be written.
        """
        chosen = [key for key in self._held if key in set(keys)]
        self.journal.finish({record.id: outcome for key in chosen for record in self._held[key].records})
        for key in chosen:
            del self._held[key]

    def find(self, name: str) -> list[str]:
        """Return the keys of what is in force by an id (of an intent or the journal) or a thread's number."""
        return [
            key
            for key, held in self._held.items()
            if held.standing.intent.id == name
            or any(record.id.startswith(name) for record in held.records)
            or name in (str(held.standing.intent.target.tid), str(held.standing.intent.target.tgid))
        ]

    def ended(self) -> list[str]:
        """Return the keys of what has ended: a service, a scheduler, parameters of one whose process has."""
        return [
            key
            for key, held in self._held.items()
            if (held.service is not None and not held.service.runs)
            or any(
                isinstance(record.subject, SchedulerParameterSubject | ProcessSubject)
                and not is_alive(record.subject.pid, record.subject.start_ticks)
                for record in held.records
            )
            or (held.standing.intent.setting == SCHEDULER and not self.swaps.runs)
        ]

    def record_ids(self) -> dict[str, list[str]]:
        """Return the journal's ids of what is in force, by `Intent.key`."""
        return {key: [record.id for record in held.records] for key, held in self._held.items()}


def _end(held: _Held) -> Undone:
    if held.service is not None:
        held.service.stop()
    return Undone(held.standing, UndoResult.RESTORED)


def _plan(intent: Intent) -> Turn:
    target = intent.target
    if target.kind == "scheduler":
        return _plan_parameter(intent)
    knob = knob_named(intent.setting)
    if target.kind == "thread":
        if not isinstance(knob, TaskKnob):
            raise UsageError(f"{knob.name} is not a setting of a thread")
        task = _same_thread(target.tid, target.tgid)
        if task is None:
            raise KnobError(f"thread {target.tid} is gone")
        now = value_now(intent)
        if intent.old is not None and now != intent.old:
            raise KnobError(f"{knob.name} of thread {target.tid} is {now} now: somebody has just set it")
        return knob.plan_thread(task, intent.new, since_ticks=boot_ticks())
    chosen = _place(target)
    if chosen is None:
        raise KnobError(f"{target.tell()} is gone")
    found = knob.probe(chosen)
    if not found.ok:
        raise KnobError(f"{knob.name} can't be changed: {found.reason}", hint=found.hint or None)
    return knob.plan(chosen, knob.spec(chosen).validate_value(intent.new))


def _plan_parameter(intent: Intent) -> Turn:
    turn = SchedulerParameter().plan(intent.target.scheduler, intent.setting, intent.new)
    now = turn.changes[0].old
    if intent.old is not None and not is_same(now, intent.old):
        raise KnobError(
            f"{intent.setting} of {intent.target.scheduler} is {now} now: somebody has just set it"
        )
    return turn


def is_in_force(intent: Intent, now: ParameterValue) -> bool:
    """Return whether a value that was read is the one that an intent has set."""
    if intent.target.kind == "scheduler":
        return is_same(now, intent.new)
    knob = knob_named(intent.setting)
    if isinstance(knob, Affinity):
        return knob.is_same(now, intent.new, Target(Scope.TREE, pid=intent.target.tid))
    return now == intent.new


def value_now(intent: Intent) -> ParameterValue | None:
    """Return what a setting has now; None where its target is gone, or has no such attribute.

    Raises:
        KnobError: It can't be read.
    """
    target = intent.target
    if target.kind == "scheduler":
        return SchedulerParameter().show(target.scheduler, intent.setting)
    knob = knob_named(intent.setting)
    if target.kind == "thread" and isinstance(knob, TaskKnob):
        try:
            state = knob.read(target.tid)
        except ProcessLookupError:
            return None
        except OSError as error:
            raise KnobError(f"{knob.name} of thread {target.tid}: {error.strerror}") from error
        return None if state is None else knob.to_value(state, Target(Scope.TREE, pid=target.tid))
    place = _place(target)
    return None if place is None else knob.show(place)


def _place(target: ChangeTarget) -> Target | None:
    """Where a session's, a control group's or the machine's settings are; None where that is gone."""
    if target.kind == "session":
        leader = _same_thread(target.tid, target.tid)
        return None if leader is None else Target(Scope.PID, pid=leader.tid)
    if target.kind == "cgroup":
        folder = group_folder(target.cgroup)
        return Target(Scope.CGROUP, cgroup=folder) if folder.is_dir() else None
    return Target(Scope.MACHINE)


def group_folder(cgroup: str) -> Path:
    """Return the folder of a control group of the cpu controller's hierarchy.

    Raises:
        KnobError: There is no such hierarchy.
    """
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        raise KnobError("no control group hierarchy has the cpu controller")
    return hierarchy.mount / cgroup.lstrip("/")


def is_there(cgroup: str) -> bool:
    """Return whether there is a control group; where that can't be told, it is."""
    try:
        return group_folder(cgroup).is_dir()
    except KnobError:
        return True


def _same_thread(tid: int, tgid: int) -> Task | None:
    found = read_stat(f"/proc/{tgid}/task/{tid}")
    return None if found is None else Task(tid, tgid, found.start_ticks)


def boot_ticks() -> int:
    """Return the time since boot in the kernel's clock ticks, as /proc tells start times."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICKS_PER_S // 10**9


def thread_facts(tid: int, tgid: int, sensed_ns: int) -> ThreadFacts | None:
    """Read what limits are judged by; None where the thread is gone, or another one has its number.

    Args:
        tid: The thread.
        tgid: Its process.
        sensed_ns: When it was sensed (CLOCK_MONOTONIC): what started later is another one.
    """
    folder = f"/proc/{tgid}/task/{tid}"
    found = read_stat(folder)
    if found is None:
        return None
    age_ns = time.monotonic_ns() - sensed_ns
    if found.start_ticks > boot_ticks() - age_ns * _TICKS_PER_S // 10**9 + 1:
        return None
    try:
        policy = os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK
    except OSError:
        return None
    return ThreadFacts(tgid, found.is_kernel_thread, policy, cgroup_of(folder))


def cgroup_of(folder: str) -> str:
    """Return the path of the control group that a folder of /proc names; empty where it can't be read."""
    try:
        text = Path(folder, "cgroup").read_text()
    except OSError:
        return ""
    named: Mapping[str, str] = {
        controllers: path
        for _, controllers, path in (line.split(":", 2) for line in lines_of(text) if line.count(":") >= 2)
    }
    cpu = next((path for names, path in named.items() if "cpu" in names.split(",")), None)
    return cpu if cpu is not None else named.get("", "")


def is_delegated(cgroup: str) -> bool:
    """Return whether systemd has given a control group, or one above it, to somebody else."""
    try:
        folder = group_folder(cgroup)
        root = group_folder("/")
    except KnobError:
        return False
    for group in [folder, *folder.parents]:
        if group in (root, root.parent):
            break
        for name in _DELEGATE:
            try:
                if os.getxattr(group, name) == b"1":
                    return True
            except OSError:
                continue
    return False
