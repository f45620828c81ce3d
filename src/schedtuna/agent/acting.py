"""How intents become changes of the machine, and go again: through the knobs, each in the journal first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from schedtuna.agent.contract import ADVICE, Intent, RunsBetween, Standing
from schedtuna.agent.reading import boot_ticks, group_folder, same_thread, value_now
from schedtuna.agent.swap.acting import DEFAULT_ARM, SCHEDULER, SchedulerSwaps
from schedtuna.errors import JournalError, KnobError, SchedtunaError, SpaceError, UsageError
from schedtuna.knobs.base import Scope, Target
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
from schedtuna.machine.tasks import is_alive

YIELDED = "yielded"  # what the journal says of a change that somebody else has made their own


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
            knob, task = knob_named(intent.setting), same_thread(intent.target.tid, intent.target.tgid)
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
        task = same_thread(target.tid, target.tgid)
        if task is None:
            raise KnobError(f"thread {target.tid} is gone")
        now = value_now(intent)
        if intent.old is not None and now != intent.old:
            raise KnobError(f"{knob.name} of thread {target.tid} is {now} now: somebody has just set it")
        return knob.plan_thread(task, intent.new, since_ticks=boot_ticks())
    if target.kind == "cgroup":
        chosen = Target(Scope.CGROUP, cgroup=group_folder(target.cgroup))
    else:
        chosen = Target(Scope.MACHINE)
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
