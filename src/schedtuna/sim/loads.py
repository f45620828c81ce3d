"""What is to run in a simulation: a file of rt-app's JSON or the same as a dict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from schedtuna.errors import UsageError
from schedtuna.sim.native import BadInputError, Workload, parse_rt_app

LoadSource = str | Path | Mapping[str, Any]


def read_load(source: LoadSource) -> tuple[Workload, dict[str, Any]]:
    """Return a workload, and what a manifest says of it: its name, and the hash of its text.

    Raises:
        UsageError: There is no such file, or it can't be simulated; the message names the place.
    """
    if isinstance(source, Mapping):
        name, text = "workload", json.dumps(source)
    else:
        name, text = str(source), _text_of(Path(source))
    try:
        workload = parse_rt_app(text, name)
    except BadInputError as error:
        hint = "docs/workload-files.md says what a file may hold"
        raise UsageError(str(error), hint=hint) from error
    return workload, {"name": name, "sha256": sha256(text.encode()).hexdigest()}


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no workload file {path}", hint="`schedtuna sim list` shows the families that need none"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
