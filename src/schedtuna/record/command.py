"""Runs a command while something records it, in the foreground: its input and output are its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.machine.children import adopting_orphans
from schedtuna.machine.tasks import descendants, direct_children, read_stat
from schedtuna.priority import as_usual

_POLL_S = 0.05
_GRACE_S = 5.0
_ENDING_S = 0.2  # what ends along with the command takes a moment


@dataclass(frozen=True)
class CommandEnd:
    """What came of a command.

    Attributes:
        code: Its exit code; 128 + the signal's number where one ended it.
        left: Processes that it started and that still run: their numbers and names.
    """

    code: int
    left: dict[int, str]


def run_foreground(
    argv: Sequence[str],
    wait: Callable[[float], bool],
    *,
    timeout_s: float | None = None,
    ours: Callable[[], Iterable[int]] = tuple,
) -> CommandEnd:
    """Run a command until it ends, `wait` says so, or its time is up.

    Ctrl-C reaches the command, as it is in the terminal's foreground, too; this process goes on until
    the command has ended. A command that has to be stopped gets SIGTERM, and SIGKILL after 5 s, and
    so do its children.

    Args:
        argv: The command.
        wait: Sleeps that many seconds; true ends the command.
        timeout_s: Ends the command after this long.
        ours: Children of this process that are none of the command's, at its end.

    Raises:
        UsageError: It can't be started.
    """
    interrupted = signal.signal(signal.SIGINT, _ignore)
    try:
        before = frozenset(direct_children(os.getpid()))
        with adopting_orphans():
            try:
                with as_usual():
                    process = subprocess.Popen(argv)
            except OSError as error:
                raise UsageError(f"can't run {argv[0]}: {os.strerror(error.errno or 0)}") from error
            # Not by how long each wait was to be: where the CPUs are busy, it takes longer.
            end_s = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
            try:
                while process.poll() is None and (left_s := end_s - time.monotonic()) > 0:
                    if wait(min(_POLL_S, left_s)):
                        break
            finally:
                ended_itself = process.poll() is not None
                code = _stop(process)
            left = _left_behind(before.union(ours()), _ENDING_S if ended_itself else _GRACE_S)
    finally:
        signal.signal(signal.SIGINT, interrupted)
    return CommandEnd(128 - code if code < 0 else code, left)


def _left_behind(others: frozenset[int], patience_s: float) -> dict[int, str]:
    """What lives of this process's children but for some, and of theirs, after a while."""
    deadline = time.monotonic() + patience_s
    while (left := _living(others)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return left


def _living(others: frozenset[int]) -> dict[int, str]:
    """Numbers and names; what has ended is reaped."""
    left = {}
    for child in sorted(set(direct_children(os.getpid())) - others):
        for pid in descendants(child):
            if (found := read_stat(f"/proc/{pid}")) is not None and found.state not in "ZX":
                with contextlib.suppress(OSError):
                    left[pid] = Path(f"/proc/{pid}/comm").read_bytes().decode(errors="replace").rstrip("\n")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    return left


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
