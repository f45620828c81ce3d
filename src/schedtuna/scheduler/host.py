"""This host as a machine for sched_ext schedulers."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO


class HostMachine:
    """Programs on this host; a `scheduler.scx.Machine`. Signals reach only what it started."""

    def __init__(self) -> None:
        self._processes: dict[int, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        try:
            return Path(path).read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in the background; returns its pid."""
        log = tempfile.TemporaryFile(prefix="schedtuna-")  # noqa: SIM115 - closed by close()
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
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
            handle = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def log(self, pid: int) -> str:
        """What it has printed."""
        file = self._processes[pid][1]
        file.seek(0)
        return file.read().decode(errors="replace")

    def close(self) -> None:
        """Forget the programs, all of which must have ended."""
        for process, log in self._processes.values():
            process.wait()
            log.close()
        self._processes.clear()
