"""Who could have put this file here, or can put another one in its place?

We trust ourselves, root, and whoever owns `/`, for they can replace anything. Where we are root by
sudo, the user who called it is trusted, too: what runs now is what that user asked for. Programs,
libraries and configurations that would run with privilege get no such grace: see `distrusted`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from schedtuna.capabilities import Capability, effective_capabilities
from schedtuna.errors import UnavailableError

_SUDO_USER = "SUDO_UID"
# Folders, by device and inode.
_accepted: set[tuple[int, int]] = set()  # whose owner the user trusts
_made: set[tuple[int, int]] = set()  # that this process made


def owners() -> frozenset[int]:
    """The users whose folders and links may lead us somewhere."""
    own = os.geteuid()
    trusted = {0, own, os.stat("/").st_uid}  # noqa: PTH116 - in a user namespace root is an unmapped user
    caller = os.environ.get(_SUDO_USER, "")
    if own == 0 and caller.isdecimal():
        trusted.add(int(caller))
    return frozenset(trusted)


def is_ours(status: os.stat_result) -> bool:
    """Whether something belongs to a user whom we trust."""
    return status.st_uid in owners()


def privileged() -> bool:
    """Whether this process may do what its user may not: it is root, or has a capability."""
    return os.geteuid() == 0 or effective_capabilities() != 0


def writes_anywhere() -> bool:
    """Whether this process may write the files of others."""
    return os.geteuid() == 0 or Capability.DAC_OVERRIDE.within(effective_capabilities())


def user_name(uid: int) -> str:
    """A user's name, or number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def others_can_write(status: os.stat_result) -> bool:
    """Whether users other than the owner may write, counting the owner's private group as the owner."""
    mode = status.st_mode
    if mode & stat.S_IWOTH:
        return True
    return bool(mode & stat.S_IWGRP) and not _is_private(status.st_gid, status.st_uid)


def _is_private(gid: int, uid: int) -> bool:
    """Whether a group is only there for one user, as distributions make one for each."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(uid)
    except KeyError:
        return gid == uid and not _is_known(gid)  # as of a container that runs as a mere number
    return group.gr_name == user.pw_name and user.pw_gid == gid and set(group.gr_mem) <= {user.pw_name}


def _is_known(gid: int) -> bool:
    import grp

    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True


def parent_problem(status: os.stat_result) -> str:
    """Say why others can replace what is in a folder; empty where they can't."""
    if is_accepted(status):
        return ""
    if not is_ours(status):
        return f"belongs to user {user_name(status.st_uid)}"
    if (
        others_can_write(status)
        and not status.st_mode & stat.S_ISVTX
        and (status.st_uid or writes_anywhere())
    ):
        return "can be written by others"
    return ""


def accept(path: Path) -> None:
    """Let the user decide: from now on this folder's owner is trusted with what is in it.

    Links in it are not followed even so.
    """
    _accepted.add(_identity(path.stat()))


def is_accepted(status: os.stat_result) -> bool:
    """Whether the user said that this folder's owner is trusted."""
    return _identity(status) in _accepted


def remember_made(status: os.stat_result) -> None:
    """Know a folder again that this process made, whoever can rename above it."""
    _made.add(_identity(status))


def was_made(status: os.stat_result) -> bool:
    """Whether this process made this very folder."""
    return _identity(status) in _made


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def distrusted(program: Path) -> str:
    """Say why somebody other than root and us could change a file; empty where nobody can.

    Args:
        program: With every link in it resolved.
    """
    try:
        for path in (program, *program.parents):
            status = path.stat()
            if status.st_uid not in (0, os.geteuid()):
                return f"{path} belongs to user {status.st_uid}"
            sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_mode & 0o022 and not sticky:
                return f"{path} can be written by others"
    except OSError as error:
        return f"it can't be read: {error.strerror}"
    return ""


def require_trusted(path: Path, what: str, *, hint: str) -> Path:
    """Return a file with its links resolved, once it is sure that it may act with our privilege.

    Args:
        path: A program, a library, or a configuration that names one.
        what: What it is used as, for people: ``as libbpf``.
        hint: What to do where others can change it.

    Raises:
        UnavailableError: This process has privilege, and somebody else could change the file.
    """
    resolved = path.resolve()
    there = os.path.exists(resolved)  # noqa: PTH110 - False for what no file can be called, too
    if privileged() and there and (problem := distrusted(resolved)):
        raise UnavailableError(f"{path} would be used {what} with privilege, but {problem}", hint=hint)
    return resolved
