"""How open records of the journal are reverted: by who made them, or after they died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from schedtuna.errors import JournalError, SchedtunaError
from schedtuna.knobs.base import Knob, Reverted
from schedtuna.knobs.journal import Journal, StaleChangesError
from schedtuna.knobs.records import (
    ProcessSubject,
    Record,
    SchedulerParameterSubject,
    TaskSubject,
    require_own_proc,
)
from schedtuna.knobs.registry import reverter
from schedtuna.machine.namespaces import KINDS, process_in
from schedtuna.machine.tasks import boot_id, is_alive, start_ticks


class UndoResult(StrEnum):
    """What became of a record."""

    RESTORED = "restored"
    GONE = "gone"  # what was changed no longer exists
    OTHER_BOOT = "other_boot"  # a boot ended the change
    RUNNING = "running"  # its owner runs and will revert it
    ELSEWHERE = "elsewhere"  # it was made in a namespace that can't be seen into from here
    FAILED = "failed"
    WOULD_RESTORE = "would_restore"  # dry run


_CLOSING = frozenset({UndoResult.RESTORED, UndoResult.GONE, UndoResult.OTHER_BOOT})
_OF_PROCESS = (ProcessSubject, SchedulerParameterSubject)  # what ends with a process
_FAILURES = frozenset({UndoResult.FAILED, UndoResult.ELSEWHERE})


@dataclass(frozen=True)
class UndoOutcome:
    """One record and what became of it.

    Attributes:
        record: Of the journal.
        result: What became of the change.
        reason: Why, for people.
        unwritten: Why the journal could not be told, so that the record stays open; empty where it could.
        before: Whether another undo had put it back before.
    """

    record: Record
    result: UndoResult
    reason: str = ""
    unwritten: str = ""
    before: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing remains to be done."""
        return self.result in _CLOSING and not self.unwritten

    @property
    def failed(self) -> bool:
        """Whether the record stays open though nobody who runs will see to it."""
        return self.result in _FAILURES or bool(self.unwritten)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        record = self.record
        return {
            "result": str(self.result),
            "reason": self.reason,
            "closed": self.closed,
            "knob": record.knob,
            "subject": record.subject.model_dump(mode="json"),
            "old": record.old,
            "new": record.new,
            "owner_pid": record.owner.pid,
            "time": record.time,
            "id": record.id,
        }


def undo(
    journal: Journal,
    *,
    force: bool = False,
    dry_run: bool = False,
    lasting: bool = True,
    owner: int | None = None,
    only: str = "",
) -> list[UndoOutcome]:
    """Revert what dead processes left changed, newest first.

    Args:
        journal: Whose open records are looked at.
        force: Also revert what processes that still run, or may run in other namespaces, have changed;
            what is not there from here is taken to be gone.
        dry_run: Only say what would be done.
        lasting: Also revert what was meant to outlive who made it.
        owner: Look at nothing but what this process has changed; it may have ended.
        only: Look at nothing but records whose id begins so.

    Raises:
        JournalError: The journal can't be read or trusted, or /proc is another PID namespace's. Where it
            can't be written, the outcomes say so.
    """
    require_own_proc()
    with journal.undoing():
        boot = boot_id()
        outcomes, to_revert = [], []
        for record in reversed(journal.open_records()):
            if record.lasting and not lasting:
                continue
            if owner not in (None, record.owner.pid) or not record.id.startswith(only):
                continue
            if record.boot_id != boot and not record.outlives_boot:
                outcomes.append(UndoOutcome(record, UndoResult.OTHER_BOOT, "ended by a reboot"))
            elif not force and record.owner.is_stranger:
                outcomes.append(_elsewhere(record, "pid", "time"))
            elif not force and record.owner.alive:
                outcomes.append(
                    UndoOutcome(record, UndoResult.RUNNING, f"process {record.owner.pid} still runs")
                )
            elif dry_run:
                outcomes.append(_foreseen(record))
            else:
                to_revert.append(record)
        if not dry_run:
            outcomes += _revert_all(to_revert, journal, force=force)
            try:
                journal.finish({o.record.id: o.result for o in outcomes if o.closed})
            except JournalError as error:
                outcomes = [replace(o, unwritten=str(error)) if o.closed else o for o in outcomes]
        return outcomes


def put_back_stale(journal: Journal) -> list[str]:
    """Revert what killed runs have left, and return what people should know of it.

    Raises:
        StaleChangesError: Some of it could not be put back.
        JournalError: The journal can't be read, written or trusted.
    """
    stale = journal.stale()
    if not stale:
        return []
    outcomes = undo(journal, lasting=False)
    kept = [outcome for outcome in outcomes if not outcome.closed]
    if kept:
        raise StaleChangesError([outcome.record for outcome in kept])
    names = ", ".join(sorted({record.knob for record in stale}))
    return [f"an earlier run was killed; what it had changed was put back first: {names}", *remarks(outcomes)]


def remarks(outcomes: Sequence[UndoOutcome]) -> list[str]:
    """Return what people should know of what was put back."""
    told = [one for one in outcomes if one.result is UndoResult.RESTORED and one.reason]
    return list(dict.fromkeys(f"{one.record.knob} was put back: {one.reason}" for one in told))


def revert_records(records: Sequence[Record], journal: Journal) -> list[UndoOutcome]:
    """Revert records given oldest first, newest first, and close those that could be.

    Raises:
        JournalError: They were reverted, but can't be closed.
    """
    outcomes = _revert_all(records[::-1], journal)
    before = journal.finish({outcome.record.id: outcome.result for outcome in outcomes if outcome.closed})
    return [replace(outcome, before=outcome.record.id in before) for outcome in outcomes]


def _revert_all(records: Sequence[Record], journal: Journal, *, force: bool = False) -> list[UndoOutcome]:
    """Revert records given newest first.

    What refuses a value may be a change that is older and so put back later: no thread goes to a CPU that its
    cpuset lacks. So a knob that failed is put back once more after the others: all of it, as the record of a
    process or a target overrides those of single threads. For the same reason these stay open where it fails.
    """
    outcomes = {record.id: _revert_one(record, journal, force=force) for record in records}
    failed = {record.knob for record in records if outcomes[record.id].result is UndoResult.FAILED}
    if any(record.knob not in failed for record in records):
        again = [record for record in records if record.knob in failed]
        outcomes |= {record.id: _revert_one(record, journal, force=force) for record in again}
    overriding: dict[str, str] = {}
    for record in records:
        outcome = outcomes[record.id]
        if outcome.result is UndoResult.FAILED and record.is_of_many_threads:
            overriding[record.knob] = outcome.reason
        elif outcome.result is UndoResult.RESTORED and record.knob in overriding:
            reason = f"to be put back after what failed: {overriding[record.knob]}"
            outcomes[record.id] = UndoOutcome(record, UndoResult.FAILED, reason)
    return [outcomes[record.id] for record in records]


def _revert_one(record: Record, journal: Journal, *, force: bool) -> UndoOutcome:
    journal.step(f"{record.knob}: before the revert")
    outcome = _revert(record)
    if outcome.result is UndoResult.GONE and not force and _may_be_elsewhere(record):
        outcome = _elsewhere(record, "mnt", "cgroup")
    journal.step(f"{record.knob}: after the revert")
    return outcome


def close_pointless(journal: Journal) -> list[Record]:
    """Close stale records whose threads have ended or whose boot is over; return the other stale ones.

    Raises:
        JournalError: The journal can't be read, written or trusted.
    """
    boot, pointless, stale = boot_id(), {}, []
    for record in journal.open_records():
        if record.outlives_boot:
            continue
        if record.boot_id != boot:
            pointless[record.id] = UndoResult.OTHER_BOOT
        elif record.owner.is_dead:
            if _foreseen(record).result is UndoResult.GONE:
                pointless[record.id] = UndoResult.GONE
            elif not record.lasting:
                stale.append(record)
    journal.finish(pointless)
    return stale


def still_changed(journal: Journal) -> list[Record]:
    """Return the stale records of what has not ended since.

    Raises:
        JournalError: The journal can't be read or trusted.
    """
    return [record for record in journal.stale() if _foreseen(record).result is not UndoResult.GONE]


def _revert(record: Record) -> UndoOutcome:
    try:
        knob = reverter(record.knob)
        reverted = knob.revert(record)
    except (SchedtunaError, OSError) as error:
        return UndoOutcome(record, UndoResult.FAILED, str(error))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        return UndoOutcome(record, UndoResult.FAILED, f"its record is damaged: {error!r}")
    if reverted is Reverted.GONE:
        return UndoOutcome(record, UndoResult.GONE, "it no longer exists")
    if reverted is Reverted.ALIKE and isinstance(knob, Knob):
        return UndoOutcome(record, UndoResult.RESTORED, knob.alike)
    return UndoOutcome(record, UndoResult.RESTORED)


def _may_be_elsewhere(record: Record) -> bool:
    """Whether what is missing here may be there where the record was made."""
    return not isinstance(record.subject, (TaskSubject, *_OF_PROCESS)) and bool(
        record.owner.differs("mnt", "cgroup")
    )


def _elsewhere(record: Record, *kinds: str) -> UndoOutcome:
    """Say that a record was made in another namespace of some kinds, and where `undo` can see to it."""
    kind = record.owner.differs(*kinds)[0]
    inode = record.owner.namespaces[kind]
    inside, _ = process_in(kind, inode)
    enter = "in it"
    if inside is not None:
        options = " ".join(KINDS[other][1] for other in record.owner.differs(*KINDS))
        enter = f"there: nsenter --target {inside} {options} schedtuna undo"
    return UndoOutcome(
        record,
        UndoResult.ELSEWHERE,
        f"made in another {KINDS[kind][0]} namespace ({inode}); run `schedtuna undo` {enter}; "
        "where that has ended, --force takes what is not here to be gone",
    )


def _foreseen(record: Record) -> UndoOutcome:
    subject = record.subject
    gone = isinstance(subject, TaskSubject) and not is_alive(subject.tid, subject.start_ticks)
    if isinstance(subject, TaskSubject) and subject.reach == "heirs":
        gone = gone and start_ticks(subject.tgid) is None
    if isinstance(subject, TaskSubject) and gone:
        return UndoOutcome(record, UndoResult.GONE, f"thread {subject.tid} has ended")
    if isinstance(subject, _OF_PROCESS) and not is_alive(subject.pid, subject.start_ticks):
        return UndoOutcome(record, UndoResult.GONE, f"process {subject.pid} has ended")
    return UndoOutcome(record, UndoResult.WOULD_RESTORE)
