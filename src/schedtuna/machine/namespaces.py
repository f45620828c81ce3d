"""Which namespaces is this process in, and who is in those of another?

What a number of a process, a path or a control group means depends on the namespaces of who says it.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from schedtuna.capabilities import status_field

# Kind in /proc/PID/ns -> what it is called, and nsenter's option for it.
KINDS = {
    "pid": ("PID", "--pid"),
    "time": ("time", "--time"),
    "mnt": ("mount", "--mount"),
    "cgroup": ("cgroup", "--cgroup"),
}
# The inodes of the namespaces that the kernel itself starts with: include/linux/proc_ns.h.
INITIAL = {"cgroup": 0xEFFFFFFB, "ipc": 0xEFFFFFFF, "pid": 0xEFFFFFFC, "uts": 0xEFFFFFFE}


@cache
def own_namespaces() -> dict[str, int]:
    """The inodes of this process's namespaces, by kind; what the kernel does not have is left out."""
    found = {kind: _inode("self", kind) for kind in KINDS}
    return {kind: inode for kind, inode in found.items() if inode is not None}


def in_initial(kind: str) -> bool:
    """Whether this process is in the kernel's first namespace of a kind, or the kernel has none of it."""
    return own_namespaces().get(kind, INITIAL[kind]) == INITIAL[kind]


def in_initial_pid_namespace() -> bool:
    """Whether the kernel's process numbers are this process's, too."""
    return in_initial("pid")


def proc_is_own() -> bool:
    """Whether /proc shows processes by this process's numbers, and not by another namespace's."""
    return Path("/proc/self").readlink() == Path(str(os.getpid()))


def process_in(kind: str, inode: int) -> tuple[int | None, bool]:
    """Look for a process in a namespace.

    Returns:
        Its number, None where none was seen; and whether every process of the machine was looked at.
    """
    everybody = in_initial_pid_namespace()
    for name in os.listdir("/proc"):  # noqa: PTH208 - a name is all that is needed
        if not name.isdecimal():
            continue
        try:
            if _inode(name, kind) == inode:
                return int(name), everybody
        except PermissionError:
            everybody = everybody and kind == "pid" and _has_one_number(name)
    return None, everybody


def _has_one_number(process: str) -> bool:
    """Whether a process is in the PID namespace of /proc itself: anybody may read that."""
    try:
        status = Path(f"/proc/{process}/status").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return len(status_field(status, "NSpid").split()) == 1


def _inode(process: str, kind: str) -> int | None:
    try:
        return os.stat(f"/proc/{process}/ns/{kind}").st_ino  # noqa: PTH116 - called for every process
    except (FileNotFoundError, ProcessLookupError):
        return None
