"""What makes a folder one of a trace: its manifest, who writes it now, and how it is removed."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schedtuna import files
from schedtuna.configfile import parse_json
from schedtuna.errors import TraceError, UsageError
from schedtuna.trace import parts
from schedtuna.trace.schema import STORED

FORMAT = "schedtuna-trace"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a trace's folder.

    Raises:
        TraceError: There is none, or it is not one of a trace.
    """
    path = folder / parts.MANIFEST
    if not path.is_file():
        raise TraceError(
            f"{folder} is not a trace: it has no {parts.MANIFEST}",
            hint="a trace is a folder made by `schedtuna record -o` or `schedtuna import -o`",
        )
    try:
        manifest = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TraceError(f"{path} is damaged: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise TraceError(f"{folder} is not a trace: its {parts.MANIFEST} is another program's")
    return STORED.upgrade(manifest, path)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest of a trace's folder."""
    text = json.dumps(manifest, indent=2, default=str)
    files.write_text(folder / parts.MANIFEST, text + "\n")


def prepare_folder(folder: Path, *, force: bool) -> None:
    """Make the folder for a new trace; with `force`, remove the trace that is there.

    Raises:
        UsageError: It is a file, or holds something, and not (or without `force`) a trace.
        UntrustedError: Somebody else owns the folder or can write it.
    """
    try:
        files.make_folder(folder)
    except NotADirectoryError as error:
        raise UsageError(
            f"{folder} can't be a folder: a file is in its place", hint="choose another"
        ) from error
    if not any(folder.iterdir()):
        return
    if not (folder / parts.MANIFEST).exists():
        raise UsageError(f"{folder} is not empty and not a trace", hint="choose another folder")
    if not force:
        raise UsageError(f"{folder} already has a trace", hint="choose another folder, or add --force")
    read_manifest(folder)
    if is_being_written(folder):
        raise UsageError(f"{folder} is being recorded right now", hint="choose another folder")
    _remove_files(folder)


def remove_trace(folder: Path) -> None:
    """Remove a trace, and its folder if nothing else is in it.

    Raises:
        TraceError: There is none.
    """
    read_manifest(folder)
    discard(folder)


def discard(folder: Path) -> None:
    """Remove a trace's files, and the folder if nothing else is in it."""
    _remove_files(folder)
    if not any(folder.iterdir()):
        folder.rmdir()


def _remove_files(folder: Path) -> None:
    for path in parts.own_files(folder):
        files.remove(path)


def is_being_written(folder: Path) -> bool:
    """Whether a writer holds the folder."""
    try:
        with os.fdopen(files.open_to_read(folder / parts.LOCK), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
