"""How is a file of a results, trace or lab folder written, given its path? Whole, and in a folder of ours.

Each call opens the file's folder anew and looks at who can write it; see `Folder`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from schedtuna.files.folder import FILE_MODE, Folder
from schedtuna.files.walk import FOLDER_MODE


def make_folder(path: Path, *, mode: int = FOLDER_MODE) -> None:
    """Make a folder, and what leads there, where it is missing; it must be one that is ours alone.

    Args:
        path: Where.
        mode: Of what is made.

    Raises:
        UntrustedError: Somebody else owns it or can write it.
        OSError: It can't be made.
    """
    Folder(path, create=True, mode=mode).close()


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
    """Write a file of UTF-8 text, whole or not at all.

    Raises:
        UntrustedError: Its folder is not ours alone.
        OSError: It can't be written; what was there before stays.
    """
    write_bytes(path, text.encode(), mode=mode)


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
