"""Where is this user's lab, and which file says that it is set up?"""

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
    variables = os.environ if environment is None else environment
    if override := variables.get(LAB_VARIABLE):
        return Path(override).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/schedtuna/lab")
    base = variables.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "schedtuna" / "lab"
