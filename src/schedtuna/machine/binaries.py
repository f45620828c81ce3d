"""Which programs a command really runs, by content: the executable, its interpreters, its files."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

_WHOLE_BYTES = 64 << 20  # larger files (models, disk images) are hashed by size, first and last MiB
_EDGE_BYTES = 1 << 20
_MAX_INTERPRETERS = 4  # the kernel follows as many (fs/exec.c)
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")


def hash_programs(
    argv: Sequence[str], *, folder: Path | None = None, search_path: str | None = None
) -> dict[str, str]:
    """Hash what a command runs and reads.

    Args:
        argv: The command; in ``sh -c TEXT`` the words of TEXT count too.
        folder: Where relative paths start; default: the current directory.
        search_path: PATH for the executable; default: this process's own.

    Returns:
        Real path -> hex SHA-256; ``partial:`` and the SHA-256 of size, first and last MiB for files
        above 64 MiB; ``unreadable`` for files that may be run but not read.
    """
    hashes: dict[str, str] = {}
    for path in _files(list(argv), (folder or Path.cwd()).absolute(), search_path):
        real = os.path.realpath(path)
        if real not in hashes:
            hashes[real] = _hash_file(Path(real))
    return hashes


def _files(argv: list[str], folder: Path, search_path: str | None) -> Iterator[Path]:
    if not argv:
        return
    executable = _executable(argv[0], folder, search_path)
    if executable:
        yield from _with_interpreters(executable, folder, search_path, _MAX_INTERPRETERS)
    for argument in argv[1:]:
        for text in (argument, argument.partition("=")[2]):  # also --file=path
            if text and _is_file(folder / text):
                yield folder / text
    if len(argv) >= 3 and Path(argv[0]).name in _SHELLS and argv[1] == "-c":
        yield from _files(_words(argv[2]), folder, search_path)


def _executable(command: str, folder: Path, search_path: str | None) -> Path | None:
    if "/" in command:
        return folder / command if _is_file(folder / command) else None
    found = shutil.which(command, path=search_path)
    return Path(found) if found else None


def _with_interpreters(script: Path, folder: Path, search_path: str | None, remaining: int) -> Iterator[Path]:
    yield script
    words = _shebang(script)
    if words and Path(words[0]).name == "env":  # #!/usr/bin/env [-S] [NAME=VALUE] interpreter
        yield Path(words[0])
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    interpreter = _executable(words[0], folder, search_path) if words else None
    if interpreter and remaining:
        yield from _with_interpreters(interpreter, folder, search_path, remaining - 1)


def _shebang(script: Path) -> list[str]:
    try:
        with script.open("rb") as file:
            line = file.readline(256)  # the kernel reads as many (BINPRM_BUF_SIZE)
    except OSError:
        return []
    return line[2:].decode(errors="replace").split() if line.startswith(b"#!") else []


def _words(shell_text: str) -> list[str]:
    try:
        return shlex.split(shell_text)
    except ValueError:  # an open quote: the shell will complain
        return []


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # missing, too long, or with a NUL
        return False


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _WHOLE_BYTES:
                return hashlib.file_digest(file, "sha256").hexdigest()
            digest = hashlib.sha256(str(size).encode())
            digest.update(file.read(_EDGE_BYTES))
            file.seek(-_EDGE_BYTES, os.SEEK_END)
            digest.update(file.read(_EDGE_BYTES))
            return f"partial:{digest.hexdigest()}"
    except OSError:
        return "unreadable"
