"""What was changed on this machine, by whom, and what was there before.

The journal is a file of JSON lines in a folder that only its owner can open. A record is in that file
before its change is made; a second line closes it once the change is reverted. So whatever dies
whenever, the open records name every change that may still be in force, and `schedtuna undo`
reverts them. Changes that a reboot leaves in force are on disk before they are made; the others are
gone with the kernel whose failure could lose their records, so no run waits for a disk.

    carry_out(turns)               what is about to change, with the old values; then it is changed
    begin(changes) -> records      the first half of that
    finish({id: outcome})          it is as it was
    open_records(), stale()        what may still be changed; what nobody alive will revert

Once every record is closed the file is emptied, which needs no space on a full disk.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import JournalError
from schedtuna.knobs.private_file import PrivateFolder
from schedtuna.knobs.records import STORED, Change, NewGroupSubject, Record, this_process
from schedtuna.knobs.state import JOURNAL_NAME, state_directory
from schedtuna.knobs.turn import Step, Turn
from schedtuna.machine.tasks import boot_id

_REWRITE_BYTES = 1 << 20  # a journal this long with open records is rewritten without the closed ones

_encode = json.JSONEncoder(allow_nan=False).encode


class StaleChangesError(JournalError):
    """Changes of a process that died are still in force.

    Attributes:
        records: The open records, oldest first.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        names = ", ".join(sorted({record.knob for record in records}))
        owners = ", ".join(str(pid) for pid in sorted({record.owner.pid for record in records}))
        super().__init__(
            f"changes of a run that was killed (process {owners}) are still in force: {names}",
            hint="schedtuna undo",
        )
        self.records = tuple(records)


class TargetBusyError(JournalError):
    """Another process that is alive is changing the same thing: nobody's value would be the default."""


class Journal:
    """The journal in one folder. Every call locks, reads and writes the file anew.

    Args:
        directory: Its folder, created with mode 0700 by the first change; default `state_directory()`.
        on_step: Called with a name before and after each thing that is done. Tests kill the process here.
        keeps: Whether changes are to stay when this process has ended, until an explicit undo.
    """

    def __init__(
        self, directory: Path | None = None, *, on_step: Step | None = None, keeps: bool = False
    ) -> None:
        self.directory = directory or state_directory()
        self._keeps = keeps
        self._on_step = on_step
        self._begun: dict[str, Record] = {}
        self._written: dict[str, Record] = {}  # those by their lines, to be known again without a parse
        self._undoing = False

    def fresh(self) -> Journal:
        """The same journal, for somebody who will revert only what they begin."""
        return Journal(self.directory, on_step=self._on_step, keeps=self._keeps)

    @property
    def begun(self) -> list[Record]:
        """The records that were begun through this object and are not closed, oldest first."""
        return list(self._begun.values())

    def step(self, name: str) -> None:
        """Tell the observer what happens next."""
        if self._on_step is not None:
            self._on_step(name)

    def carry_out(self, turns: Iterable[Turn]) -> None:
        """Write down all that some turns are about to change, and then make them, in their order.

        Args:
            turns: Planned one by one; each may fail, and then none is made.

        Raises:
            KnobError: One can't be planned, and nothing was changed; or the kernel refused.
            JournalError: As `begin`, or another process turns a knob now; nothing was changed.
        """
        planned: list[Turn] = []
        with contextlib.ExitStack() as cancelling:
            for turn in turns:
                cancelling.callback(turn.cancel)
                planned.append(turn)
            self.begin(_once_per_group([change for turn in planned for change in turn.changes]))
            cancelling.pop_all()
        for turn in planned:
            self.step(f"{turn.knob}: before the change")
            turn.make(self.step)
            self.step(f"{turn.knob}: after the change")

    def begin(self, changes: Sequence[Change]) -> list[Record]:
        """Write down what is about to change, and return the records.

        Raises:
            TargetBusyError: Another process that is alive has changed the same subject.
            JournalError: The journal can't be written or trusted. Either way nothing may be changed.
        """
        if not changes:
            return []
        owner = this_process()
        boot, now = boot_id(), time.time()
        records = [
            Record(
                id=secrets.token_hex(8),
                boot_id=boot,
                owner=owner,
                time=now,
                kept=self._keeps,
                **change._asdict(),
            )
            for change in changes
        ]
        with PrivateFolder(self.directory, create=True) as folder:
            folder.lock()
            for other in self._read(folder):
                _refuse_conflict(other, records, boot)
            self.step("journal: before begin")
            # Before they are written: an interrupt in between must not lose them. Reverting what
            # was not changed does no harm.
            self._begun |= {record.id: record for record in records}
            self._written = {_line(record.model_dump(mode="json")): record for record in records}
            try:
                lines = "".join(self._written).encode()
                folder.append(JOURNAL_NAME, lines, durable=_outlive_boot(records))
            except JournalError:
                for record in records:
                    del self._begun[record.id]
                raise
            self.step("journal: after begin")
        return records

    def finish(self, outcomes: Mapping[str, str]) -> set[str]:
        """Close records: id -> what became of the change.

        Returns:
            Those that an `undo` had closed before, and so had put back.

        Raises:
            JournalError: The journal can't be written or trusted; the records stay open.
        """
        if not outcomes:
            return set()
        with self.undoing(), self._existing_folder() as folder:
            if folder is None:
                return set()
            folder.lock()
            found = self._read(folder)
            closed_before = set(outcomes) - {record.id for record in found}
            remaining = [record for record in found if record.id not in outcomes]
            durable = _outlive_boot(record for record in found if record.id in outcomes)
            self.step("journal: before finish")
            if remaining:
                now = time.time()
                closing = ({"done": id_, "outcome": text, "time": now} for id_, text in outcomes.items())
                folder.append(JOURNAL_NAME, _lines(closing), durable=durable)
                self._shorten(folder, remaining)
            else:
                folder.empty(JOURNAL_NAME, durable=durable)
            for id_ in outcomes:
                self._begun.pop(id_, None)
            self.step("journal: after finish")
            return closed_before

    def open_records(self) -> list[Record]:
        """The records that are not closed, oldest first.

        Raises:
            JournalError: The journal can't be read or trusted.
        """
        with self._existing_folder() as folder:
            if folder is None:
                return []
            folder.lock()
            return self._read(folder)

    def stale(self) -> list[Record]:
        """The open records of this boot that a dead process would have reverted, oldest first."""
        boot = boot_id()
        return [
            record
            for record in self.open_records()
            if record.boot_id == boot and record.owner.is_dead and not record.lasting
        ]

    @contextlib.contextmanager
    def undoing(self) -> Iterator[None]:
        """Keep other undos out; within it is entered again at once.

        Raises:
            JournalError: Another undo does not end.
        """
        if self._undoing:
            yield
            return
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):
                folder = stack.enter_context(PrivateFolder(self.directory, create=False))
                stack.enter_context(folder.locked_file(JOURNAL_NAME))
            self._undoing = True
            try:
                yield
            finally:
                self._undoing = False

    @contextlib.contextmanager
    def _existing_folder(self) -> Iterator[PrivateFolder | None]:
        try:
            folder = PrivateFolder(self.directory, create=False)
        except FileNotFoundError:
            yield None
            return
        with folder:
            yield folder

    def _read(self, folder: PrivateFolder) -> list[Record]:
        records: dict[str, Record] = {}
        path, text = self.directory / JOURNAL_NAME, folder.read(JOURNAL_NAME).decode(errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if own := self._written.get(f"{line}\n"):
                records[own.id] = own
                continue
            try:
                entry = dict(parse_json(line))
                if "done" in entry:
                    records.pop(entry["done"], None)
                else:
                    record = Record.model_validate(STORED.upgrade(entry, f"{path}, line {number}"))
                    records[record.id] = record
            except (ValueError, TypeError, JournalError) as error:  # a ValidationError, too
                if isinstance(error, JournalError) and error.hint:  # of a newer version
                    raise
                raise JournalError(
                    f"{path}, line {number}: not a record of a change: {line[:80]!r}",
                    hint="undo with the version that wrote it, or put things back by hand from its "
                    f"'old' values; then remove {path}",
                ) from error
        return list(records.values())

    def _shorten(self, folder: PrivateFolder, remaining: Sequence[Record]) -> None:
        """Drop closed records from a long journal; a failure leaves it long, which does no harm."""
        if len(folder.read(JOURNAL_NAME)) >= _REWRITE_BYTES:
            with contextlib.suppress(OSError, JournalError):
                folder.replace(JOURNAL_NAME, _lines(record.model_dump(mode="json") for record in remaining))


def _once_per_group(changes: Sequence[Change]) -> list[Change]:
    """Changes without those that make a group that another one makes already."""
    made: set[Path] = set()
    kept = []
    for change in changes:
        if isinstance(change.subject, NewGroupSubject):
            if change.subject.path in made:
                continue
            made.add(change.subject.path)
        kept.append(change)
    return kept


def _outlive_boot(records: Iterable[Record]) -> bool:
    return any(record.outlives_boot for record in records)


def _line(entry: dict[str, Any]) -> str:
    return _encode(entry) + "\n"


def _lines(entries: Iterable[dict[str, Any]]) -> bytes:
    return "".join(map(_line, entries)).encode()


def _refuse_conflict(other: Record, records: Sequence[Record], boot: str) -> None:
    """Two living owners of one subject could not both put back what they found."""
    for record in records:
        same = (other.knob, other.subject) == (record.knob, record.subject)
        if same and other.boot_id == boot and other.owner != record.owner and not other.owner.is_dead:
            raise TargetBusyError(
                f"{record.knob} is already changed by process {other.owner.pid}, which is still running"
                + (", or may be: it is of another namespace" if other.owner.is_stranger else ""),
                hint="wait for it to end, or stop it; `schedtuna undo` tells more",
            )
