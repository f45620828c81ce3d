"""How does translated C become a library? By this machine's compiler, kept by what it was made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from schedtuna.errors import UnavailableError, naming
from schedtuna.files import make_folder, remove, require_own, require_trusted, write_bytes, write_text
from schedtuna.machine.labfolder import cache_directory
from schedtuna.resources import resource_path

FLAGS: Final = ("-O2", "-shared", "-fPIC", "-fno-strict-aliasing", "-fwrapv", "-fvisibility=hidden", "-w")
KEPT: Final = 128  # libraries, those that were used last: some 20 MB
COVERAGE_FLAG: Final = "-DSCX_COVERAGE"
CACHE_VARIABLE: Final = "SCHEDTUNA_OBJECTS_DIR"
_HEADERS: Final = ("scx_code.h", "scx_object.h")
_PATIENCE_S = 900
_RERUN = "see whether the compiler works: cc --version"


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where libraries are kept: SCHEDTUNA_OBJECTS_DIR, /var/cache/schedtuna for root, or the XDG cache."""
    return cache_directory("objects", CACHE_VARIABLE, environment)


def find_compiler() -> str | None:
    """This machine's C compiler; None where there is none."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


@cache
def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def library_key(digest: str, compiler: str, flags: tuple[str, ...]) -> str:
    """What tells one library from another: translation, headers, compiler and how that is called."""
    headers = [resource_path(f"native/scx/{name}").read_bytes() for name in _HEADERS]
    parts = [digest.encode(), *headers, _version(compiler).encode(), repr(flags).encode()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def find_library(digest: str, compiler: str, *, coverage: bool, folder: Path) -> Path | None:
    """A library that was made before.

    Raises:
        UntrustedError: The folder is not ours alone.
        UnavailableError: This process has privilege, and somebody else could have changed it.
    """
    path = _path(digest, compiler, coverage=coverage, folder=folder)
    if not path.is_file():
        return None
    found = _trusted(path)
    with suppress(OSError):  # somebody else's that we may read
        os.utime(found, ns=(time.time_ns(), found.stat().st_mtime_ns))
    return found


def make_library(source: str, digest: str, compiler: str, *, coverage: bool, folder: Path) -> Path:
    """Compile a translated scheduler, and keep the library.

    Args:
        source: The C.
        digest: Of the translation.
        compiler: The program.
        coverage: Whether it counts what runs.
        folder: Where to keep it.

    Raises:
        UntrustedError: The folder is not ours alone.
        UnavailableError: The compiler refuses.
    """
    path = _path(digest, compiler, coverage=coverage, folder=folder)
    make_folder(folder)
    with tempfile.TemporaryDirectory(prefix="schedtuna-object-") as made:
        work = Path(made)
        write_text(work / "object.c", source)
        _compile(compiler, _flags(coverage=coverage), work)
        with naming(path):
            write_bytes(path, (work / "object.so").read_bytes())
    prune(folder)
    return _trusted(path)


def prune(folder: Path, keep: int = KEPT) -> None:
    """Remove the libraries that were used least recently; a process that has one loaded goes on with it."""
    by_use = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_atime_ns, reverse=True)
    for path in by_use[keep:]:
        remove(path, missing_ok=True)


def _flags(*, coverage: bool) -> tuple[str, ...]:
    return (*FLAGS, COVERAGE_FLAG) if coverage else FLAGS


def _path(digest: str, compiler: str, *, coverage: bool, folder: Path) -> Path:
    return folder / f"{library_key(digest, compiler, _flags(coverage=coverage))[:32]}.so"


def _trusted(path: Path) -> Path:
    require_own(path.parent)
    return require_trusted(path, "as a scheduler's code", hint=f"remove it, or set {CACHE_VARIABLE}")


def _compile(compiler: str, flags: tuple[str, ...], work: Path) -> None:
    headers = resource_path("native/scx/scx_code.h").parent
    command = [compiler, *flags, f"-I{headers}", str(work / "object.c"), "-o", str(work / "object.so")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"{compiler} did not translate the scheduler within {_PATIENCE_S} s", hint=_RERUN
        ) from None
    if done.returncode:
        raise UnavailableError(
            f"{compiler} does not compile the translated scheduler: {done.stderr.strip()[:500]}", hint=_RERUN
        )
