"""Where is this user's lab, which file says that it is set up, and where are other things that are kept?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

LAB_VARIABLE = "SCHEDTUNA_LAB_DIR"
STATE_NAME = "lab.json"


def lab_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where this user's lab is: SCHEDTUNA_LAB_DIR, /var/cache/schedtuna for root, or the XDG cache.

    Args:
        environment: Default: this process's.
    """
    return cache_directory("lab", LAB_VARIABLE, environment)


def cache_directory(name: str, override: str, environment: Mapping[str, str] | None = None) -> Path:
    """Where this user keeps what can be made again: /var/cache/schedtuna for root, or the XDG cache.

    Args:
        name: Of the folder there.
        override: The variable that names another folder in its place.
        environment: Default: this process's.
    """
    variables = os.environ if environment is None else environment
    if named := variables.get(override):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/schedtuna", name)
    base = variables.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "schedtuna" / name
