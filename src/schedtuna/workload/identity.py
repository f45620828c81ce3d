"""Who does a command run as, and in which environment?

As who runs schedtuna, in the same environment; or, with `--user`, as somebody whose programs are not
to reach what the caller may do. Then nothing of the caller's environment goes along that is not in
`KEPT`: tokens, agents' sockets, what steers the loader and interpreters. The launcher
(native/launch/launch.c) gives up the privileges.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from schedtuna.errors import UnavailableError, UsageError
from schedtuna.workload.spec import SEED_VARIABLE, Workload

KEPT = ("LANG", "LANGUAGE", "LC_*", "TERM", "TZ")  # of the caller's environment: how, not what it may
LOGIN_DEFS = Path("/etc/login.defs")
# By whether the user is root: the line of login.defs(5), and the path where it has none.
_PATHS = {
    False: ("ENV_PATH", "/usr/local/bin:/usr/bin:/bin"),
    True: ("ENV_SUPATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
}


@dataclass(frozen=True)
class Identity:
    """Who the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def find_identity(user: str) -> Identity | None:
    """Return who a command of this user runs as; None: as we do.

    Raises:
        UsageError: The user is unknown.
        UnavailableError: It is somebody else, and that needs root.
    """
    entry = _entry(user)
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UnavailableError(f"running the workload as {user} needs root", hint="run schedtuna with sudo")
    return Identity(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(user, entry.pw_gid)))


def environment(workload: Workload, seed: int | None = None) -> dict[str, str]:
    """Return the environment that the command gets, the workload's own additions among it.

    Raises:
        UsageError: The user is unknown.
    """
    found = dict(os.environ) if workload.user is None else user_environment(workload.user, os.environ)
    found |= workload.environment
    return found if seed is None else found | {SEED_VARIABLE: str(seed)}


def user_environment(user: str, callers: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a login of the user would begin with.

    Raises:
        UsageError: The user is unknown.
    """
    entry = _entry(user)
    return {name: value for name, value in callers.items() if any(fnmatchcase(name, one) for one in KEPT)} | {
        "HOME": entry.pw_dir,
        "LOGNAME": entry.pw_name,
        "PATH": _login_path(superuser=entry.pw_uid == 0),
        "SHELL": entry.pw_shell or "/bin/sh",
        "USER": entry.pw_name,
    }


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except (KeyError, ValueError):  # a NUL, or what is not UTF-8
        raise UsageError(f"unknown user: {user}", hint="`getent passwd` lists the users") from None


def _login_path(*, superuser: bool) -> str:
    name, path = _PATHS[superuser]
    try:
        lines = LOGIN_DEFS.read_text(errors="replace").splitlines()
    except OSError:
        return path
    for line in lines:
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0] == name:
            path = words[1].strip().removeprefix("PATH=")
    return path
