"""This host as a machine for sched_ext schedulers."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from schedtuna.errors import UnavailableError
from schedtuna.files import make_folder, open_for_writing, read_all
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Change, ProcessSubject
from schedtuna.knobs.scheduler_process import SchedulerProcess
from schedtuna.machine.children import die_with_parent
from schedtuna.machine.tasks import start_ticks


class HostMachine:
    """Programs on this host; a `scheduler.scx.Machine`. Signals reach only what it started.

    What it starts dies with this process, however that ends.
    """

    def __init__(self) -> None:
        self._processes: dict[int, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        return _read(path)

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in the background; returns its pid."""
        log = tempfile.TemporaryFile(prefix="schedtuna-")  # noqa: SIM115 - closed by close()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock of Python's
            )
        except BaseException:
            log.close()
            raise
        self._processes[process.pid] = (process, log)
        return process.pid

    def status(self, pid: int) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        return self._processes[pid][0].poll()

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program that `spawn` started, if it still runs."""
        if self.status(pid) is None:
            _signal(pid, number)

    def log(self, pid: int) -> str:
        """What it has printed."""
        return read_all(self._processes[pid][1].fileno()).decode(errors="replace")

    def close(self) -> None:
        """Forget the programs, all of which must have ended."""
        for process, log in self._processes.values():
            process.wait()
            log.close()
        self._processes.clear()


class LastingMachine:
    """Programs on this host that outlive this process, each in the journal before it runs.

    Args:
        journal: Where they are written down; `undo` ends them.
        label: What is started, for people.
        log: The file that the next one prints to.
        stays: Whether it does outlive this process; else the kernel ends it with this one.
    """

    def __init__(self, journal: Journal, label: str, log: Path, *, stays: bool = True) -> None:
        self._journal = journal
        self._stays = stays
        self._label = label
        self._log = log
        self._ended: dict[int, int | None] = {}  # pid -> exit code, once it is known

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        return _read(path)

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in the background; returns its pid.

        Raises:
            UnavailableError: It can't be run.
            JournalError: It can't be written down; nothing was started.
        """
        if not os.access(argv[0], os.X_OK):
            raise UnavailableError(f"{argv[0]} can't be run", hint="is it there, and executable?")
        make_folder(self._log.parent, mode=0o700)
        output = open_for_writing(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600)
        try:
            pid, gate = _hold(argv, output, stays=self._stays)
        finally:
            os.close(output)
        try:
            subject = ProcessSubject(pid=pid, start_ticks=start_ticks(pid) or 0, program=Path(argv[0]).name)
            what = {"scheduler": self._label, "argv": list(argv)}
            self._journal.begin([Change(SchedulerProcess.name, subject, None, what)])
            self._journal.step("scheduler: before the change")
            os.write(gate, b"g")
            self._journal.step("scheduler: after the change")
        finally:
            os.close(gate)  # a program that was not let go ends here
        self._ended[pid] = None
        return pid

    def status(self, pid: int) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        if self._ended[pid] is None:
            with suppress(ChildProcessError):
                found, status = os.waitpid(pid, os.WNOHANG)
                self._ended[pid] = os.waitstatus_to_exitcode(status) if found else None
        return self._ended[pid]

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program that `spawn` started, if it still runs."""
        if self.status(pid) is None:
            _signal(pid, number)

    def log(self, pid: int) -> str:  # noqa: ARG002 - one program, one file
        """What it has printed."""
        return _read(str(self._log)) or ""


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _signal(pid: int, number: int) -> None:
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _hold(argv: Sequence[str], output: int, *, stays: bool) -> tuple[int, int]:
    """Fork a process that becomes a program once something is written to the returned pipe.

    Should this process die before, the child reads the pipe's end and leaves without having run it.
    """
    waiting, gate = os.pipe()
    pid = os.fork()
    if pid:
        os.close(waiting)
        return pid, gate
    try:
        os.close(gate)
        os.setsid()
        if not stays:
            die_with_parent()
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if os.read(waiting, 1):
            os.execv(argv[0], list(argv))  # noqa: S606 - no shell is wanted
    finally:
        os._exit(127)
