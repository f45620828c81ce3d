"""A file of lines that only its owner can have written, that survives crashes and full disks.

It lies in a folder of mode 0700. Nothing that somebody else could have put there is followed: no
links, no other owner, no other kind of file. A line survives its process when `append` returns, and a power
failure where it is to be durable; what a crash left of a last line is not seen by `read` and is cut off by
the next `append`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from schedtuna.errors import JournalError, UntrustedError
from schedtuna.files import Folder, read_all, write_all

LOCK_PATIENCE_S = 10.0
_LOOK_ELSEWHERE = "SCHEDTUNA_STATE_DIR names another place"


class PrivateFolder:
    """A folder of one user, opened; close it with `with`, which also gives the lock back.

    Args:
        path: Where it is.
        create: Whether to make it where it is missing.

    Raises:
        FileNotFoundError: It is missing.
        JournalError: It can't be opened or trusted.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        try:
            if path.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))  # noqa: TRY301
            # What may be in it is stricter than in other folders, and is looked at here.
            self._folder = Folder(path, create=create, mode=0o700, own=False)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._refused("can't be opened", error) from error
        except UntrustedError as error:
            raise self._error(f"can't be opened: {error}", _LOOK_ELSEWHERE) from error
        self._descriptor = self._folder.fileno()
        problem = _distrust(os.fstat(self._descriptor), mode_mask=0o077)
        if problem:
            self.close()
            raise self._error(problem, f"chown {os.geteuid()} {path}; chmod 700 {path}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it, and give the lock back."""
        self._folder.close()

    def lock(self) -> None:
        """Wait until no other process has it locked, and lock it.

        Raises:
            JournalError: Another process keeps it locked.
        """
        self._lock(self._descriptor)

    @contextlib.contextmanager
    def locked_file(self, name: str) -> Iterator[None]:
        """Hold a lock on a file of the folder, apart from the folder's own.

        Raises:
            FileNotFoundError: It is missing.
            JournalError: It can't be trusted, or another process keeps it locked.
        """
        with self._opened(name, to_read=True) as file:
            self._lock(file)
            yield

    def read(self, name: str) -> bytes:
        """The whole lines of a file; none where it is missing.

        Raises:
            JournalError: It can't be opened or trusted.
        """
        try:
            with self._opened(name, to_read=True) as file:
                return _whole_lines(read_all(file))
        except FileNotFoundError:
            return b""

    def append(self, name: str, lines: bytes, *, durable: bool = True) -> None:
        """Add lines to a file: all of them or none.

        Args:
            name: The file.
            lines: What is added.
            durable: Whether to wait until they are on disk, and would survive a power failure.

        Raises:
            JournalError: They can't be written.
        """
        with self._opened(name, os.O_CREAT) as file:
            data = read_all(file)
            whole = _whole_lines(data)
            if len(whole) < len(data):  # else ext4 would wait for the disk at the next cut
                os.ftruncate(file, len(whole))
            try:
                write_all(file, lines)
                if durable:
                    os.fsync(file)
                    if not whole:
                        os.fsync(self._descriptor)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, len(whole))
                raise self._refused("can't be written", error) from error

    def empty(self, name: str, *, durable: bool = True) -> None:
        """Make a file empty, for which a full disk has room.

        Args:
            name: The file.
            durable: Whether to wait until it is empty on disk, too.

        Raises:
            JournalError: It can't be emptied.
        """
        with self._opened(name) as file:
            try:
                os.ftruncate(file, 0)
                if durable:
                    os.fsync(file)
            except OSError as error:
                raise self._refused("can't be emptied", error) from error

    def replace(self, name: str, lines: bytes) -> None:
        """Put a new file in the place of a file; after a crash it is either the old or the new one.

        Raises:
            OSError: It can't be written; the old one is still there.
        """
        self._folder.clear_scratch()  # the lock keeps other writers out
        self._folder.write(name, lines, mode=0o600)

    @contextlib.contextmanager
    def _opened(self, name: str, extra_flags: int = 0, *, to_read: bool = False) -> Iterator[int]:
        look = f"look at {self.path / name}: something replaced it"
        # Some file systems (NFS) lock only what is open for writing.
        read_only = to_read and bool(os.fstatvfs(self._descriptor).f_flag & os.ST_RDONLY)
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_APPEND | extra_flags
        try:
            file = self._folder.open(name, flags, mode=0o600)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._refused("can't be opened", error) from error
        except UntrustedError as error:
            raise self._error(f"can't be opened: {error}", look) from error
        try:
            if problem := _distrust(os.fstat(file), mode_mask=0o022):
                raise self._error(problem, look)
            yield file
        finally:
            os.close(file)

    def _lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._error(
                        f"has been locked by another process for more than {LOCK_PATIENCE_S:.0f} s",
                        f"see who holds it: fuser -v {self.path}",
                    ) from None
                time.sleep(0.01)
            else:
                return

    def _refused(self, what: str, error: OSError) -> JournalError:
        hint = _LOOK_ELSEWHERE
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            hint = f"it must be a folder of your own, not a link; {_LOOK_ELSEWHERE}"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space and run again"
        return self._error(f"{what}: {error.strerror}", hint)

    def _error(self, problem: str, hint: str) -> JournalError:
        return JournalError(f"the journal of changes in {self.path} {problem}", hint=hint)


def _distrust(status: os.stat_result, *, mode_mask: int) -> str:
    """Say why a folder or file may have been written by others; empty where it may not."""
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to user {os.geteuid()}"
    if status.st_mode & mode_mask:
        return f"has mode {stat.S_IMODE(status.st_mode):04o}: others have access to it"
    return ""


def _whole_lines(data: bytes) -> bytes:
    """A file's content without a last line that lacks its end: its writer died while writing it."""
    return data[: data.rfind(b"\n") + 1]
