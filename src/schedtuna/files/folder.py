"""How is a file in a folder opened or replaced, so that nothing planted there is ever written to?

Every name is looked up in the opened folder itself, never by a path again; a link is not followed, a
pipe does not hang, and a file of somebody else, or with a second name elsewhere, is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from schedtuna.errors import UntrustedError
from schedtuna.files.trust import (
    is_accepted,
    is_ours,
    others_can_write,
    parent_problem,
    remember_made,
    user_name,
    was_made,
)
from schedtuna.files.walk import FOLDER_MODE, open_folder

FILE_MODE = 0o644
_ELSEWHERE = (
    "choose a new folder or one of your own, or run as this one's owner; where root works for another user, "
    "as in a container, set SUDO_UID=<the user's number>, as sudo does"
)
_SCRATCH = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)
_ACCESS_LIST = "system.posix_acl_access"  # acl(5)
# O_NONBLOCK: opening a FIFO that somebody put here must not hang.
_CAREFULLY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Folder:
    """A folder, opened; close it with `with`.

    Args:
        path: Where it is.
        create: Whether to make it where it is missing.
        mode: Of what is made.
        own: Whether it must be a folder that nobody else can write, or exchange for another of ours.
            Without, files can only be put into it.
        by_path: Whether others are given its path, such as programs that write there: then one that was
            just made must be safe from exchange, too.

    Attributes:
        is_new: Whether it was not there before.

    Raises:
        UntrustedError: Somebody else owns it or can write it, or a stranger's link leads there.
        OSError: It can't be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        mode: int = FOLDER_MODE,
        own: bool = True,
        by_path: bool = False,
    ) -> None:
        self.path = path
        walked = open_folder(path, mode=mode if create else None)
        self._fd = walked.fd
        self._status = os.fstat(self._fd)
        # An empty one: else something was put in its place before it was opened.
        self.is_new = walked.made and not os.listdir(self._fd)  # noqa: PTH208 - the opened folder, not a path
        if self.is_new:
            remember_made(self._status)
        if own and not is_accepted(self._status):
            problem = self._problem(walked.above, by_path=by_path)
            if problem:
                self.close()
                raise UntrustedError(problem, hint=_ELSEWHERE)

    def _problem(self, above: list[tuple[str, os.stat_result]], *, by_path: bool) -> str:
        if not is_ours(self._status):
            return f"{self.path} belongs to user {user_name(self._status.st_uid)}"
        # In a sticky one others may put files, which are looked at one by one, and not take ours away.
        if self._others_can_write() and not self._status.st_mode & stat.S_ISVTX:
            return f"{self.path} can be written by others (chmod go-w {self.path} ends that)"
        # Who can rename in a parent could give us another folder of ours than the one that is meant.
        # One that this process made is known again, and another in its place is looked at as any other.
        if by_path or not was_made(self._status):
            for parent, status in above:
                if problem := parent_problem(status):
                    return f"{self.path}: its parent {parent} {problem}"
        return ""

    def _others_can_write(self) -> bool:
        if others_can_write(self._status):
            return True
        # With an access list, the group's bits are the most that any user in the list may do.
        return bool(self._status.st_mode & stat.S_IWGRP) and _ACCESS_LIST in _attributes(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._fd

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)

    def sync(self) -> None:
        """Wait until the names in it are on disk."""
        os.fsync(self._fd)

    def open(self, name: str, flags: int, *, mode: int = FILE_MODE) -> int:
        """Open a plain file of ours for writing, reading or both; returns its descriptor.

        Raises:
            UntrustedError: It is a link, of another kind or another user, or has a second name.
            OSError: It is missing, or can't be opened.
        """
        truncate = flags & os.O_TRUNC
        try:
            fd = os.open(name, flags & ~truncate | _CAREFULLY, mode, dir_fd=self._fd)
        except OSError as error:
            error.filename = str(self.path / name)
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise self._refused(name, "is a link, which is not followed") from None
            if error.errno == errno.ENXIO:  # a FIFO that nobody reads, a socket
                raise self._refused(name, "is not a plain file") from None
            raise
        try:
            self._require_plain(name, os.fstat(fd))
            if truncate:
                os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _require_plain(self, name: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._refused(name, "is not a plain file")
        if not (is_ours(status) or (is_accepted(self._status) and status.st_uid == self._status.st_uid)):
            raise self._refused(name, f"belongs to user {user_name(status.st_uid)}")
        if status.st_nlink > 1:
            raise self._refused(name, "has a second name elsewhere (a hard link)")

    def _refused(self, name: str, problem: str) -> UntrustedError:
        path = self.path / name
        return UntrustedError(f"{path} {problem}", hint=f"look at it, and remove it: ls -l {path}")

    @contextlib.contextmanager
    def writing(self, name: str, *, mode: int = FILE_MODE) -> Iterator[BinaryIO]:
        """Give a file to write, which takes the place of `name` once it is whole and on disk.

        It has a name that nobody can guess until then. What was there before, a link too, is replaced,
        and stays if this fails.

        Raises:
            OSError: It can't be written.
        """
        scratch = f".{name}.{secrets.token_hex(8)}.tmp"
        try:
            fd = self.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=mode)
            with open(fd, "wb") as file:  # noqa: PTH123
                yield file
                file.flush()
                os.fsync(fd)
            os.rename(scratch, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            self.sync()
        except BaseException as error:
            with contextlib.suppress(OSError):  # it must not hide why the file could not be written
                os.unlink(scratch, dir_fd=self._fd)
            if isinstance(error, OSError):
                self._name(error, scratch, name)
            raise

    def _name(self, error: OSError, scratch: str, name: str) -> None:
        """The scratch file is nobody's business."""
        if str(error.filename).endswith(scratch):
            error.filename, error.filename2 = str(self.path / name), None

    def write(self, name: str, content: bytes, *, mode: int = FILE_MODE) -> None:
        """Write a file whole, or not at all.

        Raises:
            OSError: It can't be written; what was there before stays.
        """
        with self.writing(name, mode=mode) as file:
            file.write(content)

    def append(self, name: str, content: bytes) -> None:
        """Add to a file, and wait until it is on disk.

        Raises:
            UntrustedError: It is not a plain file of ours.
            OSError: It can't be written.
        """
        fd = self.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)

    def move(self, name: str, to: str) -> None:
        """Give a file of this folder another name, in the place of what has that name.

        Raises:
            OSError: It is missing, or the disk refuses.
        """
        os.rename(name, to, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def discard(self, name: str) -> None:
        """Remove a name from this folder, if it is there; what a link leads to stays.

        Raises:
            OSError: The disk refuses.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def clear_scratch(self) -> None:
        """Remove what killed writers left half written; only for who keeps all others out."""
        for name in os.listdir(self._fd):  # noqa: PTH208 - the opened folder, not a path
            if _SCRATCH.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=self._fd)


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError:  # a file system without
        return []


def read_all(fd: int) -> bytes:
    """What is in a file, wherever its descriptor stands.

    It stays there: a process to which the descriptor was handed down writes at the same position.
    """
    chunks = []
    offset = 0
    while chunk := os.pread(fd, 1 << 20, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def write_all(fd: int, content: bytes) -> None:
    """Write all of it."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
