"""Runs a command while something records it, in the foreground: its input and output are its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence

from schedtuna.errors import UsageError
from schedtuna.machine.tasks import descendants

_POLL_S = 0.05
_GRACE_S = 5.0


def run_foreground(
    argv: Sequence[str], wait: Callable[[float], bool], *, timeout_s: float | None = None
) -> int:
    """Run a command until it ends, `wait` says so, or its time is up; return its exit code.

    Ctrl-C reaches the command, as it is in the terminal's foreground, too; this process goes on until
    the command has ended. A command that has to be stopped gets SIGTERM, and SIGKILL after 5 s, and
    so do its children; the code of one that a signal ended is 128 + the signal's number.

    Args:
        argv: The command.
        wait: Sleeps that many seconds; true ends the command.
        timeout_s: Ends the command after this long.

    Raises:
        UsageError: It can't be started.
    """
    interrupted = signal.signal(signal.SIGINT, _ignore)
    try:
        try:
            process = subprocess.Popen(argv)
        except OSError as error:
            raise UsageError(f"can't run {argv[0]}: {os.strerror(error.errno or 0)}") from error
        left_s = float("inf") if timeout_s is None else timeout_s
        try:
            while process.poll() is None and left_s > 0 and not wait(min(_POLL_S, left_s)):
                left_s -= _POLL_S
        finally:
            code = _stop(process)
    finally:
        signal.signal(signal.SIGINT, interrupted)
    return 128 - code if code < 0 else code


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command that has ended; end one that has not, with all that it started."""
    if process.poll() is not None:
        return process.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=_GRACE_S)
    return process.wait()


def _ignore(_number: int, _frame: object) -> None:
    """Unlike SIG_IGN, a handler is not inherited by the command."""
