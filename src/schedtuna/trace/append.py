"""A file that grows by whole appends, at little CPU time.

Large appends bypass the page cache (O_DIRECT) where the file system can: that takes a tenth of the CPU
time, and leaves the cache to what is recorded. Blocks that are not whole go the usual way; the two
ways never share a block, so that they agree.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Any

from schedtuna.files import open_for_writing

BLOCK_BYTES = 4096  # no disk's blocks are larger
DIRECT_BYTES = 1 << 16  # appends from which going direct pays
BUFFER_BYTES = 1 << 20


class AppendFile:
    """After an error, the file ends where the last append did that went well.

    Args:
        path: The file; what it holds already stays.

    Raises:
        UntrustedError: It is not a plain file of ours, in a folder of ours.
        OSError: It can't be opened.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT
        self._fd = open_for_writing(path, flags)
        self._size = os.fstat(self._fd).st_size
        self._direct_fd = -1
        with contextlib.suppress(OSError):  # a file system without it
            self._direct_fd = open_for_writing(path, flags | os.O_DIRECT)
        self._buffer = mmap.mmap(-1, BUFFER_BYTES) if self._direct_fd >= 0 else None

    def append(self, data: Any) -> None:
        """Append bytes, all or none.

        Raises:
            OSError: The disk is full, for example.
        """
        view = memoryview(data)
        end = self._size
        try:
            if self._buffer is not None and len(view) >= DIRECT_BYTES:
                head = -end % BLOCK_BYTES
                end = _write(self._fd, view[:head], end)
                view = view[head:]
                whole = len(view) // BLOCK_BYTES * BLOCK_BYTES
                end = self._write_direct(self._buffer, view[:whole], end)
                view = view[whole:]
            end = _write(self._fd, view, end)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size = end

    def close(self) -> None:
        """Close the file; once is enough."""
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._direct_fd = -1

    def _write_direct(self, buffer: mmap.mmap, view: memoryview, at: int) -> int:
        """Write whole blocks by way of memory that is aligned as O_DIRECT wants it."""
        while view:
            size = min(len(view), BUFFER_BYTES)
            buffer[:size] = view[:size]
            try:
                with memoryview(buffer) as aligned:
                    written = os.pwrite(self._direct_fd, aligned[:size], at)
            except OSError as error:
                if error.errno != errno.EINVAL:  # this file system wants something else
                    raise
                return _write(self._fd, view, at)
            written -= written % BLOCK_BYTES
            if not written:  # less than a block: there is hardly any room
                return _write(self._fd, view, at)
            view, at = view[written:], at + written
        return at


def _write(fd: int, view: memoryview, at: int) -> int:
    """Write all of it, and return where it ends."""
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written
    return at
