"""Where this user's journal, claims and logs are. Imports next to nothing: every command looks here first."""

from __future__ import annotations

import os
from pathlib import Path

STATE_VARIABLE = "SCHEDTUNA_STATE_DIR"
JOURNAL_NAME = "journal.jsonl"


def state_directory() -> Path:
    """Where this user's journal lives; SCHEDTUNA_STATE_DIR overrides."""
    if override := os.environ.get(STATE_VARIABLE):
        return Path(override).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/schedtuna")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "schedtuna"


def may_have_left_something() -> bool:
    """Does a journal have records? The one look that costs nothing where there is none."""
    try:
        return os.stat(state_directory() / JOURNAL_NAME).st_size > 0  # noqa: PTH116 - 10 us
    except (OSError, RuntimeError):  # no home
        return False
