"""May what stands in a folder decide what runs here? Not where others put it, unless the user says so."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from schedtuna.errors import UntrustedError
from schedtuna.files.folder import Folder
from schedtuna.files.trust import accept, is_ours, others_can_write, user_name
from schedtuna.printable import printable

TRUST_OPTION = "--trust-folder"


def require_consent(
    folder: Path, names: Sequence[str], command: Sequence[str], *, trusted: bool, hint: str = ""
) -> None:
    """Refuse a folder that somebody else can have filled, or take the user's word for it.

    Args:
        folder: Of a study, for example.
        names: The files in it that say what to run; those that are missing say nothing.
        command: What would run, to be shown.
        trusted: Whether the user has looked at it and trusts its owner.
        hint: What to do otherwise.

    Raises:
        UntrustedError: Somebody else owns or can write it, and the user did not say that this is fine.
        OSError: The folder is there, and can't be opened.
    """
    if trusted and folder.exists():
        accept(folder)
        return
    problem = _problem(folder, names)
    if problem:
        raise UntrustedError(
            f"{printable(problem)}, who could have written what would run as user {user_name(os.geteuid())}: "
            f"{printable(shlex.join(command))}",
            hint=hint or f"look at it; if you trust who owns it, add {TRUST_OPTION}",
        )


def _problem(folder: Path, names: Sequence[str]) -> str:
    try:
        Folder(folder).close()
    except UntrustedError as error:
        return str(error)
    except FileNotFoundError:
        return ""
    for path in (folder / name for name in names):
        for status in (path.lstat(), path.stat()) if path.exists() else ():
            if not is_ours(status):
                return f"{path} belongs to user {user_name(status.st_uid)}"
        if path.exists() and others_can_write(path.stat()):
            return f"{path} can be written by others"
    return ""
