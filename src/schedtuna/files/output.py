"""How is a single file written that the user names, wherever that is?

The file may lie in anybody's folder, such as /tmp: it is written under a name that nobody can guess and
then takes its place. What is there already is never followed: a file or a link of the user's own is
replaced, anything of somebody else is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from schedtuna.errors import UntrustedError, UsageError, naming
from schedtuna.files.folder import Folder
from schedtuna.files.trust import is_accepted, is_ours, user_name

# What this process has open already: it is written to, not opened again.
_STANDARD = {"-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
_ANOTHER = "choose another name"


def require_replaceable(path: Path) -> None:
    """Refuse what the file of an option would not replace: now, before all the work.

    Raises:
        UntrustedError: It is a file or a link of somebody else.
        UsageError: It is neither a file nor a link to one.
        OSError: Its folder is missing, for example.
    """
    with Folder(path.parent, own=False) as folder:
        _require_replaceable(folder, path.name)


def _require_replaceable(folder: Folder, name: str) -> None:
    path = folder.path / name
    try:
        status = os.lstat(name, dir_fd=folder.fileno())
    except FileNotFoundError:
        return
    around = os.fstat(folder.fileno())
    ours = is_ours(status) or (is_accepted(around) and status.st_uid == around.st_uid)
    is_link = stat.S_ISLNK(status.st_mode)
    if not ours or (is_link and not (is_ours(around) or is_accepted(around))):
        kind = "a link that belongs" if is_link else "there already and belongs"
        raise UntrustedError(f"{path} is {kind} to user {user_name(status.st_uid)}", hint=_ANOTHER)
    if is_link and os.readlink(name, dir_fd=folder.fileno()).startswith("/proc/"):
        raise UsageError(f"{path} leads to what a program has open", hint=_ANOTHER)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not (is_link or stat.S_ISREG(status.st_mode)):
        raise UsageError(f"{path} is not a plain file", hint=_ANOTHER)


@contextlib.contextmanager
def writing_output(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the place of `path` once it is whole and on disk.

    Raises:
        UntrustedError: A file or a link of somebody else is there.
        UsageError: What is there is not a file.
        OSError: It can't be written; what was there before stays.
    """
    with Folder(path.parent, own=False) as folder:
        _require_replaceable(folder, path.name)
        with naming(path), folder.writing(path.name) as file:
            yield file


def write_output(path: Path, content: bytes) -> None:
    """Write a file that the user named, whole or not at all; into a stream, such as a pipe, directly.

    Raises:
        UntrustedError: A file or a link of somebody else is there.
        UsageError: What is there can't be written.
        OSError: It can't be written; a file that was there before stays.
    """
    if (fd := _stream(path)) is None:
        with writing_output(path) as file:
            file.write(content)
        return
    with open(fd, "wb") as stream:  # noqa: PTH123
        stream.write(content)


def is_stream(path: Path) -> bool:
    """Whether a path names our own output, a device or a pipe, which is written to as it is."""
    if str(path) in _STANDARD:
        return True
    status = path.lstat() if os.path.lexists(path) else None
    return status is not None and (stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode))


def _stream(path: Path) -> int | None:
    """Open our own output, a device or a pipe of ours; None for files."""
    if (standard := _STANDARD.get(str(path))) is not None:
        return os.dup(standard)
    with Folder(path.parent, own=False) as folder:
        try:
            status = os.lstat(path.name, dir_fd=folder.fileno())
        except FileNotFoundError:
            return None
        if stat.S_ISCHR(status.st_mode) or (stat.S_ISFIFO(status.st_mode) and is_ours(status)):
            return os.open(
                path.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder.fileno()
            )
    return None
