"""What was changed on this machine, by whom, and what was there before.

The journal is a file of JSON lines in a folder that only its owner can open. A record is on disk
before its change is made; a second line closes it once the change is reverted. So whatever dies
whenever, the open records name every change that may still be in force, and `schedtuna undo`
reverts them.

    begin(changes) -> records      what is about to change, with the old values
    finish({id: outcome})          it is as it was
    open_records(), stale()        what may still be changed; what nobody alive will revert

Once every record is closed the file is emptied, which needs no space on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.errors import JournalError
from schedtuna.knobs.tasks import is_alive, start_ticks

STATE_VARIABLE = "SCHEDTUNA_STATE_DIR"
JOURNAL_NAME = "journal.jsonl"
_REWRITE_BYTES = 1 << 20  # a journal this long with open records is rewritten without the closed ones
_LOCK_PATIENCE_S = 10.0

Step = Callable[[str], None]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSubject(_Data):
    """Threads: one, or all that a process or a tree of processes has when it is reverted.

    Attributes:
        tid: The thread; for a process or a tree, its (first) thread group leader.
        tgid: Its process.
        start_ticks: When `tid` started, so that a stranger with its number is never touched.
        reach: How many threads are meant.
    """

    kind: Literal["task"] = "task"
    tid: int
    tgid: int
    start_ticks: int
    reach: Literal["thread", "process", "tree"]


class GroupTasksSubject(_Data):
    """All threads in a control group and those below it; the inode tells a namesake apart."""

    kind: Literal["group_tasks"] = "group_tasks"
    path: Path
    inode: int


class FileSubject(_Data):
    """A file of the kernel: a sysctl, a debugfs entry, a control group's file."""

    kind: Literal["file"] = "file"
    path: Path
    inode: int | None = None  # of the control group's directory


class NewGroupSubject(_Data):
    """A control group that was made for one process."""

    kind: Literal["new_group"] = "new_group"
    path: Path


Subject = Annotated[
    TaskSubject | GroupTasksSubject | FileSubject | NewGroupSubject, Field(discriminator="kind")
]


class Change(NamedTuple):
    """One change that is about to be made; `old` and `new` are plain JSON, in the knob's own form."""

    knob: str
    subject: TaskSubject | GroupTasksSubject | FileSubject | NewGroupSubject
    old: Any
    new: Any


class Owner(_Data):
    """The process that made a change."""

    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return is_alive(self.pid, self.start_ticks)


class Record(_Data):
    """One change in the journal.

    Attributes:
        version: Of this format.
        id: Names the record in its closing line.
        boot_id: The boot in which the change was made; no change here outlives a boot.
        owner: Who will revert it.
        time: Unix time in seconds.
        knob: Name of the knob.
        subject: What was changed.
        old: What was there, in the knob's own form.
        new: What was set, in the knob's own form.
    """

    version: Literal[1] = 1
    id: str
    boot_id: str
    owner: Owner
    time: float
    knob: str
    subject: Subject
    old: Any
    new: Any


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


def state_directory() -> Path:
    """Where this user's journal lives; SCHEDTUNA_STATE_DIR overrides."""
    if override := os.environ.get(STATE_VARIABLE):
        return Path(override)
    if os.geteuid() == 0:
        return Path("/var/lib/schedtuna")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "schedtuna"


def boot_id() -> str:
    """The kernel's name for the current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Journal:
    """The journal in one folder. Every call locks, reads and writes the file anew.

    Args:
        directory: Its folder, created with mode 0700 by the first change; default `state_directory()`.
        on_step: Called with a name before and after each thing that is done. Tests kill the process here.
    """

    def __init__(self, directory: Path | None = None, *, on_step: Step | None = None) -> None:
        self.directory = directory or state_directory()
        self._on_step = on_step
        self._begun: dict[str, Record] = {}

    def fresh(self) -> Journal:
        """The same journal, for somebody who will revert only what they begin."""
        return Journal(self.directory, on_step=self._on_step)

    @property
    def begun(self) -> list[Record]:
        """The records that were begun through this object and are not closed, oldest first."""
        return list(self._begun.values())

    def step(self, name: str) -> None:
        """Tell the observer what happens next."""
        if self._on_step is not None:
            self._on_step(name)

    def begin(self, changes: Sequence[Change]) -> list[Record]:
        """Write what is about to change to disk, and return the records.

        Raises:
            JournalError: The journal can't be written or trusted, or another process that is alive
                has changed the same subject; then nothing may be changed.
        """
        if not changes:
            return []
        owner = Owner(pid=os.getpid(), start_ticks=start_ticks(os.getpid()) or 0)
        boot, now = boot_id(), time.time()
        records = [
            Record(id=secrets.token_hex(8), boot_id=boot, owner=owner, time=now, **change._asdict())
            for change in changes
        ]
        with self._locked(create=True) as folder:
            for other in self._read(folder):
                _refuse_conflict(other, records, boot)
            self.step("journal: before begin")
            # Before they are on disk: an interrupt in between must not lose them. Reverting what
            # was not changed does no harm.
            self._begun |= {record.id: record for record in records}
            try:
                self._append(folder, [record.model_dump(mode="json") for record in records])
            except JournalError:
                for record in records:
                    del self._begun[record.id]
                raise
            self.step("journal: after begin")
        return records

    def finish(self, outcomes: Mapping[str, str]) -> None:
        """Close records: id -> what became of the change.

        Raises:
            JournalError: The journal can't be written or trusted; the records stay open.
        """
        if not outcomes:
            return
        with self._locked() as folder:
            if folder is None:
                return
            remaining = [record for record in self._read(folder) if record.id not in outcomes]
            self.step("journal: before finish")
            if not remaining:
                self._truncate(folder)
            else:
                now = time.time()
                lines = [{"done": id_, "outcome": text, "time": now} for id_, text in outcomes.items()]
                self._append(folder, lines)
                self._shorten(folder, remaining)
            for id_ in outcomes:
                self._begun.pop(id_, None)
            self.step("journal: after finish")

    def open_records(self) -> list[Record]:
        """The records that are not closed, oldest first.

        Raises:
            JournalError: The journal can't be read or trusted.
        """
        with self._locked() as folder:
            return self._read(folder) if folder is not None else []

    def stale(self) -> list[Record]:
        """The open records of this boot whose owner is dead, oldest first."""
        boot = boot_id()
        return [r for r in self.open_records() if r.boot_id == boot and not r.owner.alive]

    @contextlib.contextmanager
    def undoing(self) -> Iterator[None]:
        """Keep other undos out.

        Raises:
            JournalError: Another undo does not end.
        """
        folder = self._open_folder(create=False)
        if folder is None:
            yield
            return
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                file = os.open(JOURNAL_NAME, flags, dir_fd=folder)
            except FileNotFoundError:
                yield
                return
            try:
                self._lock(file)
                yield
            finally:
                os.close(file)
        finally:
            os.close(folder)

    # The folder and its lock

    @contextlib.contextmanager
    def _locked(self, *, create: bool = False) -> Iterator[Any]:
        """Give the folder's descriptor, locked, or None where there is no folder."""
        folder = self._open_folder(create=create)
        if folder is None:
            yield None
            return
        try:
            self._lock(folder)
            yield folder
        finally:
            os.close(folder)  # and with it the lock

    def _open_folder(self, *, create: bool) -> int | None:
        try:
            if create:
                self.directory.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    self.directory.mkdir(mode=0o700)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            folder = os.open(self.directory, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(f"can't be opened: {error.strerror}", _folder_hint(error)) from error
        status = os.fstat(folder)
        problem = _distrust(status, mode_mask=0o077)
        if problem:
            os.close(folder)
            raise self._error(problem, f"chown {os.geteuid()} {self.directory}; chmod 700 {self.directory}")
        return folder

    def _lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._error(
                        f"is locked by another process for more than {_LOCK_PATIENCE_S:.0f} s",
                        f"see who holds it: fuser -v {self.directory}",
                    ) from None
                time.sleep(0.01)
            else:
                return

    # The file

    def _open_file(self, folder: int, *, create: bool = False) -> int:
        # O_NONBLOCK: opening a FIFO that somebody put here must not hang.
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        if create:
            flags |= os.O_CREAT
        try:
            file = os.open(JOURNAL_NAME, flags, 0o600, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._error(f"can't be opened: {error.strerror}", _folder_hint(error)) from error
        status = os.fstat(file)
        problem = _distrust(status, mode_mask=0o022)
        if not problem and not (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            problem = "is not a plain file of its own"
        if problem:
            os.close(file)
            raise self._error(problem, f"look at {self.directory / JOURNAL_NAME}: something replaced it")
        return file

    def _append(self, folder: int, entries: Sequence[dict[str, Any]]) -> None:
        data = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries).encode()
        file = self._open_file(folder, create=True)
        try:
            whole = _whole_lines(_contents(file))
            os.ftruncate(file, len(whole))  # what a killed writer left: its change was never made
            try:
                _write_all(file, data)
                os.fsync(file)
                if not whole:
                    os.fsync(folder)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, len(whole))
                raise self._error(f"can't be written: {error.strerror}", _folder_hint(error)) from error
        finally:
            os.close(file)

    def _read(self, folder: int) -> list[Record]:
        try:
            file = self._open_file(folder)
        except FileNotFoundError:
            return []
        try:
            data = _whole_lines(_contents(file))
        finally:
            os.close(file)
        records: dict[str, Record] = {}
        for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
            try:
                entry = json.loads(line)
                if "done" in entry:
                    records.pop(entry["done"], None)
                else:
                    record = Record.model_validate(entry)
                    records[record.id] = record
            except (ValueError, TypeError, ValidationError) as error:
                path = self.directory / JOURNAL_NAME
                raise JournalError(
                    f"{path}, line {number}: not a record of this version of Schedtuna: {line[:80]!r}",
                    hint="undo with the version that wrote it, or put things back by hand from its "
                    f"'old' values; then remove {path}",
                ) from error
        return list(records.values())

    def _truncate(self, folder: int) -> None:
        file = self._open_file(folder)
        try:
            os.ftruncate(file, 0)
            os.fsync(file)
        except OSError as error:
            raise self._error(f"can't be emptied: {error.strerror}", _folder_hint(error)) from error
        finally:
            os.close(file)

    def _shorten(self, folder: int, remaining: Sequence[Record]) -> None:
        """Drop closed records from a long journal; a failure leaves it long, which is no harm."""
        new_name = JOURNAL_NAME + ".new"
        with contextlib.suppress(OSError):
            if os.stat(JOURNAL_NAME, dir_fd=folder).st_size < _REWRITE_BYTES:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new_name, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(new_name, flags, 0o600, dir_fd=folder)
            try:
                lines = (json.dumps(record.model_dump(mode="json")) + "\n" for record in remaining)
                _write_all(file, "".join(lines).encode())
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(new_name, JOURNAL_NAME, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def _error(self, problem: str, hint: str) -> JournalError:
        return JournalError(f"the journal of changes in {self.directory} {problem}", hint=hint)


def _refuse_conflict(other: Record, records: Sequence[Record], boot: str) -> None:
    """Two living owners of one subject could not both put back what they found."""
    for record in records:
        same = (other.knob, other.subject) == (record.knob, record.subject)
        if same and other.boot_id == boot and other.owner != record.owner and other.owner.alive:
            raise JournalError(
                f"{record.knob} is already changed by process {other.owner.pid}, which is still running",
                hint="wait for it to end, or stop it",
            )


def _distrust(status: os.stat_result, *, mode_mask: int) -> str:
    """Say why a folder or file may have been written by others; empty where it may not."""
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to user {os.geteuid()}"
    if status.st_mode & mode_mask:
        return f"has mode {stat.S_IMODE(status.st_mode):04o}: others have access to it"
    return ""


def _folder_hint(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return f"it must be a folder of your own, not a link; {STATE_VARIABLE} names another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space and run again"
    return f"{STATE_VARIABLE} names another place"


def _contents(file: int) -> bytes:
    chunks = []
    offset = 0
    while chunk := os.pread(file, 1 << 20, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def _whole_lines(data: bytes) -> bytes:
    """Cut off a last line without its end: its writer died, so its change was never made."""
    return data[: data.rfind(b"\n") + 1]


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
