"""Machine-wide scheduler settings that are files: sysctls and debugfs entries.

Which one a kernel has depends on its version: until 5.12 most were sysctls, since then they are in
debugfs. Each knob names the places where it may be and takes the first that is there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Availability, Knob, Reverted, Scope, Target
from schedtuna.knobs.file_formats import Format
from schedtuna.knobs.journal import TargetBusyError
from schedtuna.knobs.records import Change, FileSubject, Record
from schedtuna.knobs.turn import Step, Turn
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

DEBUGFS = Path("/sys/kernel/debug/sched")

EVERYWHERE = frozenset(Scope)
MACHINE = frozenset({Scope.MACHINE})
_LOCK_PATIENCE_S = 0.2

# A locked descriptor per change that is in force, by file: `features` belongs to several knobs.
_held: dict[Path, list[int]] = {}


class FileKnob(Knob):
    """A setting of the whole machine that one file shows and takes.

    Args:
        name: Name of its parameter.
        paths: Where it may be; the first that is there counts.
        form: What its text means.
        description: One sentence.
        scopes: Where it may be asked for; it always changes the whole machine.
        offered_in: Where a search varies it unasked.
        token: A word that the file's text must have, for features that not every kernel has.
        acts: Asks whether it does anything on this machine; None where it does on any.
    """

    def __init__(
        self,
        name: str,
        paths: tuple[Path, ...],
        form: Format,
        description: str,
        *,
        scopes: frozenset[Scope] = EVERYWHERE,
        offered_in: frozenset[Scope] = MACHINE,
        token: str = "",
        acts: Callable[[], Availability] | None = None,
    ) -> None:
        self.name = name
        self.unit = form.unit
        self.description = f"{description} (whole machine)"
        self.scopes = scopes
        self.offered_in = offered_in
        self._paths = paths
        self._form = form
        self._token = token
        self._acts = acts

    def probe(self, target: Target) -> Availability:  # noqa: ARG002
        """Say whether its files are there, readable, understood and writable, and whether it acts."""
        files = self.files()
        if not files:
            return self._absent()
        refused = next((found for found in map(self._probe_file, files) if not found.ok), None)
        return refused or (self._acts() if self._acts else Availability(ok=True))

    def _probe_file(self, path: Path) -> Availability:
        try:
            text = path.read_text()
            os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))  # what the kernel checks; writes nothing
            self._value(text, path)
            if not _held.get(path):
                os.close(self._lock(path, fcntl.LOCK_SH))
        except OSError as error:
            return _refused(path, error)
        except TargetBusyError as error:
            return Availability(False, str(error), error.hint or "", busy=True)
        except KnobError as error:
            return Availability(False, str(error), error.hint or "")
        return Availability(ok=True)

    def spec(self, target: Target) -> ParameterSpec:
        """The parameter; its bounds always hold what is set now."""
        text = self._text()
        found = self.show(target)
        form = self._form
        bounds = {}
        if form.low is not None and form.high is not None and isinstance(found, int):
            bounds = {"min_value": min(form.low, found), "max_value": max(form.high, found)}
        return ParameterSpec(
            name=self.name,
            type=form.type,
            default=found,
            choices=form.choices(text),
            log=form.log and bounds.get("min_value", 0) > 0,
            unit=self.unit,
            description=self.description,
            **bounds,
        )

    def show(self, target: Target) -> ParameterValue:  # noqa: ARG002
        """What the file says."""
        return self._value(self._text(), self.path)

    def plan(self, target: Target, value: ParameterValue) -> Turn:  # noqa: ARG002
        """Lock its files, so that what they say now is what will be put back."""
        files = self.files()
        if not files:
            raise KnobError(f"{self.name}: {self._absent().reason}")
        new, changes = self._form.write(value), []
        with ExitStack() as held:
            for path in files:
                self._hold(path)
                held.callback(_release, path)
                old = self._writable(self._read(path), path)
                changes.append(Change(self.name, FileSubject(path=path), old, new))
            return Turn(self.name, changes, partial(self._make, files, value), held.pop_all().close)

    def _make(self, files: Sequence[Path], value: ParameterValue, step: Step) -> None:
        for place, path in enumerate(files):
            if place:
                step(f"{self.name}: between two files")
            new = self._form.write(value)
            self._write(path, new)
            if self._token and self._value(self._read(path), path) != value:
                raise KnobError(f"{self.name}: the kernel took {new!r}, and {path} does not show it")

    def revert(self, record: Record) -> Reverted:
        """Write the old text back, to a path that this knob knows, unless it is there already."""
        path = record.subject.path if isinstance(record.subject, FileSubject) else None
        if path is None or not self.owns(path):
            raise KnobError(f"{self.name}: the journal's record {record.id} names no file of this knob")
        if self._writable(self._read(path), path) != record.old:
            self._write(path, str(record.old))
        _release(path)
        return Reverted.RESTORED

    def files(self) -> list[Path]:
        """The files that it writes; none where this kernel has none, or hides them."""
        return [] if self.path is None else [self.path]

    def owns(self, path: Path) -> bool:
        """Whether a path may be one of its files."""
        return path in self._paths

    @property
    def path(self) -> Path | None:
        """The file that this kernel has; None where it has none, or hides it."""
        for path in self._paths:
            try:
                path.stat()
            except OSError:
                continue
            return path
        return None

    def _hold(self, path: Path) -> None:
        """Keep other processes from changing the file until `_release()`, whatever journal they use.

        Two that change it in turns would each put back what the other one set. The kernel gives the
        lock back when this process dies.
        """
        held = _held.setdefault(path, [])
        held.append(os.dup(held[0]) if held else self._lock(path, fcntl.LOCK_EX))

    def _lock(self, path: Path, operation: int) -> int:
        """Return a descriptor that is locked; who only asks holds theirs for a moment."""
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KnobError(f"{self.name}: reading {path}: {error.strerror}") from error
        while True:
            try:
                fcntl.flock(file, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                os.close(file)
                raise TargetBusyError(
                    f"{self.name} is being changed by another process now",
                    hint=f"see which: fuser -v {path}",
                ) from None
            return file

    def _text(self) -> str:
        path = self.path
        if path is None:
            raise KnobError(f"{self.name}: {self._absent().reason}")
        return self._read(path)

    def _read(self, path: Path) -> str:
        try:
            return path.read_text()
        except OSError as error:
            raise KnobError(f"{self.name}: reading {path}: {error.strerror}") from error

    def _value(self, text: str, path: Path | None) -> ParameterValue:
        if self._token and not {self._token, f"NO_{self._token}"} & set(text.split()):
            raise KnobError(f"this kernel's {self._paths[0].name} has no {self._token}")
        try:
            return self._form.read(text)
        except (ValueError, LookupError):
            raise KnobError(f"{self.name}: {path} says {text.strip()[:60]!r}") from None

    def _writable(self, text: str, path: Path) -> str:
        """What the file shows, in the form that it takes; a number to the last digit."""
        if self._form.type is ParameterType.INTEGER:
            return text.strip()
        return self._form.write(self._value(text, path))

    def _write(self, path: Path, text: str) -> None:
        try:
            write_kernel_file(path, text)
        except OSError as error:
            raise KnobError(f"{self.name}: writing {text!r} to {path}: {error.strerror}") from error

    def _absent(self) -> Availability:
        if any(DEBUGFS in path.parents for path in self._paths):
            if os.geteuid() != 0:
                return Availability(False, "only root sees debugfs", "run as root")
            if not DEBUGFS.is_dir():
                return Availability(
                    False, "debugfs is not mounted", "mount -t debugfs none /sys/kernel/debug"
                )
        path = self._paths[0]
        name = path.relative_to(DEBUGFS) if DEBUGFS in path.parents else path.name
        return Availability(False, f"this kernel has no {name}")


def write_kernel_file(path: Path, text: str) -> None:
    """Write a file of procfs, sysfs, debugfs or cgroupfs in the one write(2) that they expect.

    Raises:
        OSError: The kernel refused; unlike with `Path.write_text`, a missing file is never created.
    """
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


def _release(path: Path) -> None:
    if _held.get(path):
        os.close(_held[path].pop())


def _refused(path: Path, error: OSError) -> Availability:
    if error.errno == errno.EPERM and DEBUGFS in path.parents:
        return Availability(
            False,
            "the kernel is locked down, which closes debugfs",
            "boot without lockdown (or Secure Boot) to use it; see kernel_lockdown(7)",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Availability(False, f"{path} may only be written by root", "run as root")
    if error.errno == errno.EROFS:
        return Availability(False, f"{path} is mounted read-only", "run outside of the container")
    return Availability(False, f"{path}: {error.strerror}")
