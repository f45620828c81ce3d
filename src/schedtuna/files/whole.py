"""How is a file of a results, trace or lab folder written, given its path? Whole, and in a folder of ours.

Each call opens the file's folder anew and looks at who can write it; see `Folder`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from schedtuna.errors import UntrustedError
from schedtuna.files.folder import FILE_MODE, Folder
from schedtuna.files.walk import FOLDER_MODE


def make_folder(path: Path, *, mode: int = FOLDER_MODE, by_path: bool = False) -> None:
    """Make a folder, and what leads there, where it is missing; it must be one that is ours alone.

    Args:
        path: Where.
        mode: Of what is made.
        by_path: Whether others are given the path, as programs that write there.

    Raises:
        UntrustedError: Somebody else owns it or can write it.
        OSError: It can't be made.
    """
    Folder(path, create=True, mode=mode, by_path=by_path).close()


@contextlib.contextmanager
def removing_empty(path: Path) -> Iterator[None]:
    """Remove, at the end, those folders on a path that were missing before and have nothing in them."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        yield
    finally:
        for one in missing:  # the lowest first
            with contextlib.suppress(OSError, UntrustedError), Folder(one.parent, own=False) as above:
                os.rmdir(one.name, dir_fd=above.fileno())


def require_own(path: Path) -> None:
    """Refuse a folder that somebody else owns, can write or can exchange for another.

    Raises:
        UntrustedError: It is such a one.
        OSError: It can't be opened.
    """
    Folder(path).close()


@contextlib.contextmanager
def writing(path: Path, *, mode: int = FILE_MODE) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the place of `path` once it is whole and on disk.

    Raises:
        UntrustedError: Its folder is not ours alone.
        OSError: It can't be written; what was there before stays.
    """
    with Folder(path.parent) as folder, folder.writing(path.name, mode=mode) as file:
        yield file


def write_bytes(path: Path, content: bytes, *, mode: int = FILE_MODE) -> None:
    """Write a file, whole or not at all.

    Raises:
        UntrustedError: Its folder is not ours alone.
        OSError: It can't be written; what was there before stays.
    """
    with writing(path, mode=mode) as file:
        file.write(content)


def write_text(path: Path, text: str, *, mode: int = FILE_MODE) -> None:
    """Write a file of UTF-8 text, whole or not at all; what else a name holds, as `printable` spells it.

    Raises:
        UntrustedError: Its folder is not ours alone.
        OSError: It can't be written; what was there before stays.
    """
    write_bytes(path, text.encode(errors="backslashreplace"), mode=mode)


def copy_file(source: Path, path: Path, *, mode: int = FILE_MODE) -> None:
    """Copy a file's content, whole or not at all.

    Raises:
        UntrustedError: The folder that it goes to is not ours alone.
        OSError: It can't be read or written; what was there before stays.
    """
    with source.open("rb") as content, writing(path, mode=mode) as file:
        shutil.copyfileobj(content, file, 1 << 20)


def move(source: Path, path: Path) -> None:
    """Rename a file or folder, replacing a file that is there.

    Raises:
        UntrustedError: One of the two folders is not ours alone.
        OSError: It can't be renamed.
    """
    with Folder(source.parent) as there, Folder(path.parent) as here:
        os.rename(source.name, path.name, src_dir_fd=there.fileno(), dst_dir_fd=here.fileno())
        here.sync()


def remove(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a file, or a link itself.

    Raises:
        UntrustedError: Its folder is not ours alone.
        OSError: It can't be removed.
    """
    try:
        with Folder(path.parent) as folder:
            os.unlink(path.name, dir_fd=folder.fileno())
    except FileNotFoundError:
        if not missing_ok:
            raise


def remove_folder(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a folder and all that is in it, and nothing that a path leads to meanwhile.

    Raises:
        UntrustedError: It is not ours alone.
        OSError: It is missing, or can't be removed.
    """
    try:
        _remove_folder(path)
    except FileNotFoundError:
        if not missing_ok:
            raise


def _remove_folder(path: Path) -> None:
    with Folder(path.parent, own=False) as parent:
        if stat.S_ISLNK(os.lstat(path.name, dir_fd=parent.fileno()).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        with Folder(path) as folder:
            with os.scandir(folder.fileno()) as entries:
                inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_folder in inside:
                if is_folder:
                    shutil.rmtree(name, dir_fd=folder.fileno())
                else:
                    os.unlink(name, dir_fd=folder.fileno())
        os.rmdir(path.name, dir_fd=parent.fileno())


def append_to(path: Path, content: bytes) -> None:
    """Add to a file, and wait until it is on disk.

    Raises:
        UntrustedError: It is not a plain file of ours, in a folder of ours.
        OSError: It can't be written.
    """
    with Folder(path.parent) as folder:
        folder.append(path.name, content)


def open_for_writing(path: Path, flags: int = os.O_WRONLY | os.O_CREAT, *, mode: int = FILE_MODE) -> int:
    """Open a file that stays open, such as a log or a lock; returns its descriptor.

    Raises:
        UntrustedError: It is not a plain file of ours, in a folder of ours.
        OSError: It can't be opened.
    """
    with Folder(path.parent) as folder:
        return folder.open(path.name, flags, mode=mode)


def open_to_read(path: Path) -> int:
    """Open a file, not a link and waiting for nobody, in whosever folder; returns its descriptor.

    Raises:
        OSError: It can't be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
