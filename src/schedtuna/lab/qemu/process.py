"""A QEMU process: it dies with its parent, and says what it has used and what it printed last."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from schedtuna.machine.children import die_with_parent

_CONSOLE_LINES = 40


def start_bound(argv: Sequence[str], errors: int, *, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this one ends, however it ends."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C is ours to handle
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock of Python's
    )


def used_cpu_s(pid: int) -> float:
    """Seconds of this host's CPUs that a process has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def last_words(text: str) -> str:
    """The end of what QEMU and a guest's kernel printed, as the end of a message."""
    tail = [line.strip() for line in text.splitlines() if line.strip()][-_CONSOLE_LINES:]
    return "; its console ends with:\n" + "\n".join(tail) if tail else "; it printed nothing on its console"
