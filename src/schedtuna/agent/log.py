"""What the agent saw, decided and did, in JSON lines that are only added to, within a size.

The file lies beside the journal. When it is full it becomes `agent.jsonl.1`, in the place of the one before.
A row has `time` (Unix, s), `kind` and what belongs to it; the rows of one decision share its `id`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedtuna import __version__
from schedtuna.agent.contract import Intent, Sensed
from schedtuna.configfile import parse_json
from schedtuna.files import Folder, read_all, write_all
from schedtuna.knobs.state import state_directory

LOG_NAME = "agent.jsonl"
OLDER_NAME = "agent.jsonl.1"
DEFAULT_MOST_BYTES = 32 << 20
LOG_VERSION = 1
MOST_RECENT = 100  # rows that are told without reading files
_SUMS = ("snapshot",)  # what sums up, and is no event

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


@dataclass
class AgentLog:
    """The log in one folder, open for writing.

    Args:
        directory: Its folder; default: that of the journal.
        most_bytes: How long both files together may become.
        also: Is given each row, too.
        name: The file's.

    Attributes:
        nr_bytes: Written by this object.
        nr_lost: Rows that could not be written, such as to a full disk.
    """

    directory: Path = field(default_factory=state_directory)
    most_bytes: int = DEFAULT_MOST_BYTES
    also: Callable[[Mapping[str, Any]], None] | None = None
    name: str = LOG_NAME
    nr_bytes: int = 0
    nr_lost: int = 0
    _began_s: float = field(default_factory=time.monotonic)
    _recent: deque[tuple[int, dict[str, Any]]] = field(default_factory=lambda: deque(maxlen=MOST_RECENT))
    _nr_rows: int = 0
    _file: int = -1
    _size: int = 0

    def __post_init__(self) -> None:
        self._folder = Folder(self.directory, create=True, mode=0o700, own=False)
        self._open()

    def write(self, kind: str, **values: Any) -> None:
        """Add a row; one that finds no room is counted."""
        row = {"time": round(time.time(), 3), "kind": kind, **{k: _plain(v) for k, v in values.items()}}
        self._nr_rows += 1
        if kind not in _SUMS:
            self._recent.append((self._nr_rows, row))
        if self.also is not None:
            self.also(row)
        line = (_encode(row) + "\n").encode()
        if self._size + len(line) > self.most_bytes // 2:
            self._turn_over()
        try:
            write_all(self._file, line)
        except OSError:
            self.nr_lost += 1
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)  # no half line
            return
        self._size += len(line)
        self.nr_bytes += len(line)

    def rows_after(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the last rows that this object has written but for sums, with their numbers from 1.

        Args:
            number: Of the last one that is known already; 0: none is.
        """
        return [(at, row) for at, row in self._recent if at > number]

    @property
    def megabytes_per_h(self) -> float:
        """How fast it grows."""
        return self.nr_bytes / 1e6 / max(time.monotonic() - self._began_s, 1e-3) * 3600

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
        self._folder.close()

    def _open(self) -> None:
        self._file = self._folder.open(self.name, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode=0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            write_all(self._file, b"\n")  # what a crash left of a last line is not continued
            self._size += 1

    def _turn_over(self) -> None:
        os.close(self._file)
        self._folder.move(self.name, _older(self.name))
        self._open()


def sensed_row(sensed: Sensed) -> dict[str, Any]:
    """Return what a row says of an interval: of all threads together."""
    return {
        "interval": sensed.number,
        "seconds": sensed.seconds,
        "nr_threads": len(sensed.tasks),
        "scheduler": sensed.scheduler.name,
        "kernel": dict(sensed.kernel),
        "machine": dict(sensed.machine),
        "slos": {one.name: one.value for one in sensed.slos},
    }


def intent_row(intent: Intent) -> dict[str, Any]:
    """Return what a row says of an intent."""
    expected = intent.expected
    return {
        "id": intent.id,
        "policy": intent.policy,
        "version": __version__,
        "target": intent.target.tell(),
        "target_kind": intent.target.kind,
        "tid": intent.target.tid,
        "tgid": intent.target.tgid,
        "start_time_ns": intent.target.start_time_ns,
        "comm": intent.target.comm,
        "cgroup": intent.target.cgroup,
        "setting": intent.setting,
        "kernel": intent.old,
        "chosen": intent.new,
        "reason": intent.reason,
        "features": dict(intent.features),
        "propensity": intent.propensity,
        "expected": None if expected is None else vars(expected),
        "proof": None if intent.proof is None else vars(intent.proof),
    }


def read_log(directory: Path | None = None, name: str = LOG_NAME) -> Iterator[dict[str, Any]]:
    """Give the rows, oldest first; lines that a crash left half written are passed over.

    Args:
        directory: The log's folder; default: that of the journal.
        name: The file's.
    """
    path = directory or state_directory()
    try:
        folder = Folder(path, own=False)
    except FileNotFoundError:
        return
    with folder:
        for one in (_older(name), name):
            try:
                file = folder.open(one, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                data = read_all(file)
            finally:
                os.close(file)
            for line in data.split(b"\n"):
                with contextlib.suppress(ValueError):
                    row = parse_json(line, any_text=True)
                    if isinstance(row, dict):
                        yield row


def _older(name: str) -> str:
    return f"{name}.1"


def _plain(value: Any) -> Any:
    """A value as JSON has it: no NaN, no numpy."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if value == value and abs(value) != float("inf") else None  # noqa: PLR0124
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return float(value) if hasattr(value, "__float__") else str(value)
