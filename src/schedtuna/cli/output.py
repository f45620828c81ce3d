"""How commands speak: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from schedtuna.errors import UsageError, naming

DEBUG_VARIABLE = "SCHEDTUNA_DEBUG"  # in the environment: errors show where they came from


def print_json(value: Any) -> None:
    """Print one line of JSON to stdout, for programs: in ASCII, so that nothing in it needs the guard."""
    text = json.dumps(value, allow_nan=False, default=str)
    print(text.replace("\x7f", "\\u007f"), flush=True)  # the one control character that JSON leaves


def print_error(message: str, *, hint: str | None = None) -> None:
    """Print an error, and what to do next, to stderr."""
    print_remark("error", message, file=sys.stderr)
    if hint:
        print_remark("hint", hint, file=sys.stderr)


def print_remark(kind: str, text: str, *, file: TextIO | None = None) -> None:
    """Print a remark such as ``note: ...``; further lines are indented, so that none looks like another one.

    Args:
        kind: The word before the colon.
        text: What is said; parts of it may be of others' choice.
        file: Default: stdout.
    """
    print(f"{kind}: {text}".replace("\n", "\n  "), file=file)


def require_writable(path: Path | None, *, option: str, suffixes: Sequence[str] = ()) -> None:
    """Refuse the file of an option now where it can't be written later, after all the work.

    Raises:
        UsageError: It is a folder, its own folder is missing, or its suffix is none of these.
    """
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {path}: expected {', '.join(suffixes)}")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder", hint="name a file")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}")


@contextmanager
def writing(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a scratch file to write, which becomes `path` once it is whole.

    Raises:
        UsageError: `path` is there already and `force` is not, or its folder is missing.
    """
    if path.exists() and (not force or not path.is_file()):
        hint = "add --force to replace it" if path.is_file() else "choose another name"
        raise UsageError(f"{path} is there already", hint=hint)
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")
    scratch = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        with naming(path):
            yield scratch
            scratch.replace(path)
    except OSError as error:
        if str(error.filename) == str(scratch):
            error.filename = str(path)  # the scratch file is nobody's business
        raise
    finally:
        with suppress(OSError):  # it must not hide why the file could not be written
            scratch.unlink()
