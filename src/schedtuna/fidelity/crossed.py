"""How far were replays off across a change: recorded under one scheduler, and then under another one?

`sim replay --real TRACE` measures it; what this machine has measured is kept in the state folder, and stands
beside every later answer about the same change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.configfile import parse_json
from schedtuna.errors import ConfigFileError
from schedtuna.files import make_folder, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.knobs.state import state_directory

STORED = StoredFormat(ConfigFileError, key="format_version")
FILE_NAME = "simulator-cross-errors.json"
_MOST = 200  # measurements that are kept


class Crossing(BaseModel):
    """One measurement.

    Attributes:
        change: From which scheduler to which: ``fair -> fair:base_slice_us=3000``.
        topology: Of the machine, as LLCSxCORESxTHREADS.
        errors: Per figure (replayed - real) / real; None: one of them has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: str
    topology: str
    errors: dict[str, float | None]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    crossings: tuple[Crossing, ...] = ()


@dataclass(frozen=True)
class MeasuredChange:
    """What was measured of a figure: the median error, signed, and how often."""

    error: float
    nr_runs: int


def default_path() -> Path:
    """Where this machine's measurements are."""
    return state_directory() / FILE_NAME


def remember(crossing: Crossing, path: Path | None = None) -> None:
    """Keep a measurement; the oldest make room.

    Raises:
        ConfigFileError: What is there is no such file.
    """
    path = path or default_path()
    kept = _Kept(crossings=(*_read(path), crossing)[-_MOST:])
    make_folder(path.parent)
    write_text(path, json.dumps(kept.model_dump(mode="json"), indent=1) + "\n")


def measured(change: str, topology: str, path: Path | None = None) -> Mapping[str, MeasuredChange]:
    """Return what was measured of a change on such a machine, by figure; empty: nothing.

    Raises:
        ConfigFileError: What is there is no such file.
    """
    found: dict[str, list[float]] = {}
    for crossing in _read(path or default_path()):
        if (crossing.change, crossing.topology) == (change, topology):
            for name, error in crossing.errors.items():
                if error is not None:
                    found.setdefault(name, []).append(error)
    return {name: MeasuredChange(median(errors), len(errors)) for name, errors in found.items()}


def _read(path: Path) -> tuple[Crossing, ...]:
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise ConfigFileError(f"{path} can't be read: {error}", hint="remove it") from error
    try:
        return _Kept.model_validate(STORED.upgrade(content, path)).crossings
    except ValidationError as error:
        raise ConfigFileError(f"{path} holds no measurements of replays", hint="remove it") from error
