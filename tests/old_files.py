"""Copies of what earlier versions wrote, for tests to open, continue and undo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

OLD = Path(__file__).parent / "data/old"
EARLIER, LATER, LAST = "2026-11-21", "2026-11-29", "2026-11-30-later"
OF_AGENT = "2026-11-30-agent"


def every(pattern: str) -> list[str]:
    """Return the paths below the fixture that match, as texts that name a test."""
    return sorted(str(path.relative_to(OLD)) for path in OLD.glob(pattern))


def copied(name: str, to: Path) -> Path:
    """Copy a folder to where a test may change it."""
    return Path(shutil.copytree(OLD / name, to / Path(name).name))


def as_run_here(folder: Path, **identity: str) -> Path:
    """Have a folder's trials be of this machine, boot and program."""
    log = folder / "trials.jsonl"
    head, _, rest = log.read_text().partition("\n")
    header = json.loads(head)
    header["identity"] |= identity
    log.write_text(f"{json.dumps(header)}\n{rest}")
    return folder
