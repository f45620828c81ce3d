"""Which folder does a path mean, when others may put links into it while we look?

A path is walked one name at a time, each opened relative to the folder before it, so that nothing
can be exchanged between the look and the use. Links are followed by hand, and only those of users
whom we trust.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from schedtuna.errors import UntrustedError
from schedtuna.files.trust import is_ours, user_name

_MOST_LINKS = 40  # as the kernel
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER_MODE = 0o755


@dataclass
class Walked:
    """A folder, opened.

    Attributes:
        fd: Its descriptor, which can be read and locked.
        above: The folders that lead to it, and what they are.
        made: Whether it was not there before.
    """

    fd: int
    above: list[tuple[str, os.stat_result]] = field(default_factory=list)
    made: bool = False


def open_folder(path: Path, *, mode: int | None = None) -> Walked:
    """Open a folder, following no link of a stranger's.

    Args:
        path: Where it is.
        mode: What to give it, where it is missing and to be made; None: it is not made. What leads there
            is made, too.

    Raises:
        UntrustedError: A link on the way belongs to somebody else.
        OSError: It is missing, is not a folder, or can't be opened.
    """
    walk = _Walk(at_root=path.is_absolute())
    names = list(reversed(path.parts[path.is_absolute() :]))
    nr_links = 0
    try:
        while names:
            target = walk.step(names.pop(), mode)
            if target is not None:
                nr_links += 1
                names.extend(reversed(walk.turned(target)))
            if nr_links > _MOST_LINKS:
                _fail(errno.ELOOP)
        return Walked(walk.readable(), walk.above, walk.made)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(walk.fd)


class _Walk:
    """Where we are on the way to a folder."""

    def __init__(self, *, at_root: bool) -> None:
        self.made = False
        self._begin("/" if at_root else ".")

    def _begin(self, where: str) -> None:
        # What leads to where we stand may be closed to us: then we stand there all the same.
        self.fd = os.open(where, _LOOK | os.O_DIRECTORY)
        self._shown = str(Path(where).absolute())
        self.above = [] if where == "/" else _parents(self.fd, self._shown)

    def step(self, name: str, mode: int | None) -> str | None:
        """Go into a folder; returns where to go instead if it is a link."""
        below, made = self._look(name, mode)
        try:
            status = os.fstat(below)
            shown = os.path.normpath(os.path.join(self._shown, name))  # noqa: PTH118
            if stat.S_ISLNK(status.st_mode):
                return _follow(below, status, shown)
            if not stat.S_ISDIR(status.st_mode):
                _fail(errno.ENOTDIR)
            self.above.append((self._shown, os.fstat(self.fd)))
            self.fd, below = below, self.fd
            self._shown, self.made = shown, made
        finally:
            os.close(below)
        return None

    def turned(self, target: str) -> tuple[str, ...]:
        """The names of a link's target, once we are where they begin."""
        if not Path(target).is_absolute():
            return Path(target).parts
        os.close(self.fd)
        self._begin("/")
        return Path(target).parts[1:]

    def readable(self) -> int:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)

    def _look(self, name: str, mode: int | None) -> tuple[int, bool]:
        made = False
        if mode is not None:
            # What is there is said to be there, even where nothing could be made.
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=self.fd)
                made = True
        return os.open(name, _LOOK, dir_fd=self.fd), made


def _parents(fd: int, shown: str) -> list[tuple[str, os.stat_result]]:
    """The folders above a folder, as far up as we may look; the topmost comes first."""
    found: list[tuple[str, os.stat_result]] = []
    here = os.dup(fd)
    try:
        with contextlib.suppress(PermissionError):
            while not os.path.samestat(os.fstat(here), os.stat("..", dir_fd=here)):
                above = os.open("..", _LOOK | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = above
                shown = os.path.dirname(shown)  # noqa: PTH120
                found.append((shown, os.fstat(here)))
    finally:
        os.close(here)
    return found[::-1]


def _follow(link: int, status: os.stat_result, shown: str) -> str:
    if not is_ours(status):
        raise UntrustedError(
            f"{shown} is a link that user {user_name(status.st_uid)} put there, which is not followed",
            hint="name the place itself, or remove the link",
        )
    return os.readlink("", dir_fd=link)


def _fail(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))
