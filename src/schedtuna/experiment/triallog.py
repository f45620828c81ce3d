"""Which trials has an experiment run so far? A crash-safe log that survives `kill -9`.

A log is a folder with `trials.jsonl`: one header line, then one line per trial, each on disk
before the next trial starts. The header's identity says what the trials are trials of; a folder is
never continued under another one. Its version is that of every line; a log of a former version is
rewritten before it is continued. What a crash left after the last whole trial is moved to `trials.torn`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.backend.base import Trial
from schedtuna.configfile import parse_json
from schedtuna.errors import FolderTakenError, StudyError
from schedtuna.experiment.identity import Identity, require_same
from schedtuna.experiment.lazily import LazySequence
from schedtuna.files import Folder, open_to_read, read_all
from schedtuna.files.versions import Content, StoredFormat

LOG_NAME = "trials.jsonl"
LOCK_NAME = "trials.lock"
TORN_NAME = "trials.torn"
FORMAT = "schedtuna-trials"


def _without_machines(content: Content) -> Content:
    """Trials of version 1 name no machine: there was one."""
    return content


# Of each line: a header has `identity`, a trial has not.
STORED = StoredFormat(StudyError, {1: _without_machines})

_READ_BYTES = 8192  # of a line at a time: most are shorter
SCHEDULER_PROGRAMS = "scheduler program"  # of an identity; logs that former versions began lack it


class TrialRecord(BaseModel):
    """One trial and its place in the experiment.

    Attributes:
        phase: Which part it belongs to: `baseline`, `search`, `confirmation`, ...
        index: Its place in the phase; each (phase, index) runs once.
        block: Which block of the design, where there is one.
        arm: Which arm of the block.
        machine: Which of several machines made it; empty where there is but one.
        trial: What happened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: str
    index: int = Field(ge=0)
    block: int | None = None
    arm: str | None = None
    machine: str = ""
    trial: Trial


class TrialLog:
    """The trials of one experiment, in a folder that only this process writes.

    Opening a folder that has a log continues it. Of a trial no more is kept in memory than where its line
    begins: there may be a million.

    Args:
        folder: Created where it is missing.
        identity: What the trials are trials of (`space`, `workload`, `machine`, ...), by name.
        manifest_hash: Which manifest describes the machine that they run on; goes into every trial.
        fresh: Whether a folder that has a log is refused.

    Attributes:
        warnings: What was repaired on opening, for people.

    Raises:
        FolderTakenError: Another process has the folder, or has used one that should be fresh.
        StudyError: Another experiment's, of a newer version, damaged before its last trial, or not writable.
        UntrustedError: Somebody else owns the folder, can write it, or has put something into it.
    """

    def __init__(
        self, folder: Path, identity: Identity, manifest_hash: str = "", *, fresh: bool = False
    ) -> None:
        self.folder = folder
        self._stamp = {"manifest_hash": manifest_hash} if manifest_hash else {}
        self.identity = dict(identity)
        self.warnings: list[str] = []
        self._begins: dict[str, dict[int, int]] = {}  # phase -> index -> byte, in the order of the lines
        with _disk_errors(folder, new=not (folder / LOG_NAME).exists()), contextlib.ExitStack() as undo:
            self._place = undo.enter_context(Folder(folder, create=True))
            self._lock_fd = _lock(self._place)
            undo.callback(os.close, self._lock_fd)
            self._place.clear_scratch()
            self._fd = self._place.open(LOG_NAME, os.O_RDWR | os.O_CREAT)
            undo.callback(os.close, self._fd)
            self._end, self._is_open = 0, True
            if fresh and os.fstat(self._fd).st_size:
                raise FolderTakenError(f"{folder} has been used by another process meanwhile")
            self._load()
            undo.pop_all()

    def _load(self) -> None:
        path = self.folder / LOG_NAME
        content = read_all(self._fd)
        log = _parse(path, content)
        if log.intact < len(content):
            self._set_aside(content[log.intact :])
        self._end = log.intact
        if content[: log.intact] and content[log.intact - 1 : log.intact] != b"\n":
            self._write("")
        for record, begin in zip(log.records, log.begins, strict=True):
            self._keep(record, begin)
        if log.identity is None:
            self._write(self._header())
            self._place.sync()
            _sync_folder(self.folder.parent)
        else:
            unsaid = {SCHEDULER_PROGRAMS} - log.identity.keys()
            here = {name: text for name, text in self.identity.items() if name not in unsaid}
            require_same(path, there=log.identity, here=here)
            if log.version != STORED.newest:
                self._rewrite(log.records)

    def _header(self) -> str:
        return json.dumps({"format": FORMAT, STORED.key: STORED.newest, "identity": self.identity})

    def _keep(self, record: TrialRecord, begin: int) -> None:
        self._begins.setdefault(record.phase, {})[record.index] = begin

    def _rewrite(self, records: Sequence[TrialRecord]) -> None:
        """Replace a former version's log by one of this version, whole or not at all."""
        content = f"{self._header()}\n".encode()
        for record in records:
            self._keep(record, len(content))
            content += f"{record.model_dump_json()}\n".encode()
        self._place.write(LOG_NAME, content)
        fd = self._place.open(LOG_NAME, os.O_RDWR)
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._end = len(content)

    def _set_aside(self, torn: bytes) -> None:
        self._place.append(TORN_NAME, torn.rstrip(b"\n") + b"\n")
        self.warnings.append(
            f"the end of {self.folder / LOG_NAME} was unfinished or damaged (a crash or a full disk); "
            f"it was moved to {TORN_NAME}, and what is missing will be run again"
        )

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode()
        written = 0
        try:
            os.ftruncate(self._fd, self._end)
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], self._end + written)
            os.fsync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):  # what stays is repaired on the next open
                os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)

    def append(self, record: TrialRecord) -> None:
        """Add a trial; it is on disk when this returns.

        Raises:
            StudyError: The trial is there already, or the disk is full or gone; the earlier
                trials are intact.
        """
        if (record.phase, record.index) in self:
            raise StudyError(f"trial {record.index} of phase {record.phase!r} is in {self.folder} already")
        record = record.model_copy(update={"trial": record.trial.model_copy(update=self._stamp)})
        begin = self._end
        with _disk_errors(self.folder):
            self._write(record.model_dump_json())
        self._keep(record, begin)

    def __contains__(self, place: tuple[str, int]) -> bool:
        """Whether the trial of a phase and an index was made."""
        phase, index = place
        return index in self._begins.get(phase, ())

    def find(self, phase: str, index: int) -> TrialRecord | None:
        """Return the trial that an earlier run made, or None where it is still to be run.

        Raises:
            StudyError: Somebody else has changed the log.
        """
        begin = self._begins.get(phase, {}).get(index)
        return None if begin is None else self._read(begin)

    def records(self, phase: str | None = None) -> Sequence[TrialRecord]:
        """Return the trials, of one phase or all, in the order in which they ran; each read when needed."""
        phases = self._begins.values() if phase is None else [self._begins.get(phase, {})]
        return LazySequence(sorted(begin for begins in phases for begin in begins.values()), self._read)

    def records_at(self, phase: str, indexes: Iterable[int]) -> Sequence[TrialRecord]:
        """Return the trials of a phase at these indexes, all of which were made; each is read when needed."""
        begins = self._begins.get(phase, {})
        return LazySequence([begins[index] for index in indexes], self._read)

    def trials(self, phase: str, indexes: Iterable[int]) -> Sequence[Trial]:
        """Return what `records_at` does, without their places in the experiment."""
        begins = self._begins.get(phase, {})
        return LazySequence([begins[index] for index in indexes], lambda begin: self._read(begin).trial)

    def _read(self, begin: int) -> TrialRecord:
        try:
            with _disk_errors(self.folder):
                line = _line(self._fd, begin) if self._is_open else self._line_of_closed(begin)
            return TrialRecord.model_validate_json(line)
        except ValidationError:
            raise StudyError(
                f"{self.folder / LOG_NAME} was changed while it was in use",
                hint="restore the file from a backup, or start anew in another folder",
            ) from None

    def _line_of_closed(self, begin: int) -> bytes:
        fd = open_to_read(self.folder / LOG_NAME)
        try:
            return _line(fd, begin)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Give up the folder; what was made can still be read."""
        self._is_open = False
        os.close(self._fd)
        os.close(self._lock_fd)
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_trials(folder: Path) -> tuple[dict[str, str], list[TrialRecord]]:
    """Return the identity and the trials of a log, without locking or repairing it.

    Raises:
        StudyError: There is no log, or it can't be trusted.
    """
    path = folder / LOG_NAME
    if path.is_fifo():
        raise StudyError(f"{path} is a pipe, and not a log", hint="look at who put it there")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(
            f"{folder} has no readable {LOG_NAME}: {error.strerror}",
            hint="name a results folder that `schedtuna tune` or `schedtuna compare` wrote",
        ) from None
    log = _parse(path, content)
    if log.identity is None:
        raise StudyError(f"{path} has no header: no trial was ever started there")
    return log.identity, log.records


@dataclass
class _Parsed:
    """What a log's text says, in today's form.

    Attributes:
        intact: How many bytes of it are whole lines; the last one's newline may be missing.
        identity: None where there is no header yet.
        version: Which the text is of.
        records: The trials.
        begins: The byte at which each one's line begins.
    """

    intact: int
    identity: dict[str, str] | None = None
    version: int = STORED.newest
    records: list[TrialRecord] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)


def _parse(path: Path, content: bytes) -> _Parsed:
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    log = _Parsed(0)
    seen: set[tuple[str, int]] = set()
    for number, line in enumerate(lines, start=1):
        end = min(log.intact + len(line) + 1, len(content))
        try:
            if number == 1:
                log.version, log.identity = _parse_header(path, line)
                log.intact = end
                continue
            record = _parse_record(line, log.version)
        except ValueError as error:  # pydantic's ValidationError is one
            if len(lines) == 1 or (
                number > 1 and not any(_is_record(later, log) for later in lines[number:])
            ):
                return log
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise StudyError(
                f"{path}, line {number} is damaged: {reason}",
                hint="restore the file from a backup, or start anew in another folder",
            ) from None
        if (record.phase, record.index) in seen:
            raise StudyError(
                f"{path}, line {number}: trial {record.index} of {record.phase!r} is listed twice"
            )
        seen.add((record.phase, record.index))
        log.records.append(record)
        log.begins.append(log.intact)
        log.intact = end
    return log


def _is_record(line: bytes, log: _Parsed) -> bool:
    try:
        _parse_record(line, log.version)
    except ValueError:
        return False
    return True


def _parse_record(line: bytes, version: int) -> TrialRecord:
    if version != STORED.newest:
        line = json.dumps(STORED.upgrade_line(parse_json(line), version)).encode()
    return TrialRecord.model_validate_json(line)


def _parse_header(path: Path, line: bytes) -> tuple[int, dict[str, str]]:
    header = parse_json(line)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise StudyError(f"{path} is not a trial log: its first line lacks format {FORMAT!r}")
    version = STORED.version_of(header, path)
    identity = STORED.upgrade_line(header, version).get("identity")
    if not isinstance(identity, dict):
        raise ValueError("the header lacks an identity")  # noqa: TRY004 - the caller names the line
    return version, {str(name): str(value) for name, value in identity.items()}


def _line(fd: int, begin: int) -> bytes:
    line = b""
    while b"\n" not in line:
        more = os.pread(fd, _READ_BYTES, begin + len(line))
        if not more:
            break
        line += more
    return line.partition(b"\n")[0]


def _lock(folder: Folder) -> int:
    fd = folder.open(LOCK_NAME, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise FolderTakenError(
            f"{folder.path} is in use by process {holder}",
            hint="wait until it has finished, or use another folder",
        ) from None
    with contextlib.suppress(OSError):  # the pid is for people; a full disk must not stop a reader
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _disk_errors(folder: Path, *, new: bool = False) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if new:
            raise StudyError(
                f"can't make the results folder {folder}: {error.strerror}",
                hint="free some space, fix the permissions, or choose another folder (--results)",
            ) from None
        raise StudyError(
            f"can't write to {folder}: {error.strerror}; the earlier trials there are intact",
            hint="free some space or fix the permissions, then run the same command again to continue",
        ) from None
