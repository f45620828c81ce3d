"""Which trials are there, and what came of them? Kept in a folder, so that a server survives its own end.

A file per trial, replaced whole at each change of its state. A trial is written down as running before its
worker is started: one that is found running at the next start was interrupted, and is never run again. Its
record stays for a day after its end, so that the same submission is known again; what came of it stays until
then, unless room is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schedtuna.configfile import first_fault, parse_json
from schedtuna.errors import StudyError
from schedtuna.files import make_folder, remove, remove_folder, write_text
from schedtuna.files.versions import StoredFormat
from schedtuna.server.refusal import RefusedError
from schedtuna.wire import Submission, TrialOutcome, TrialState, TrialStatus

STORED = StoredFormat(StudyError, key="format_version")
KEPT_S = 86400.0  # how long a submission is known again after its end
MOST_RECORDS = 10_000
_DROPPED = "what came of it was dropped: it was fetched, and room was needed"


class WorkerProcess(BaseModel):
    """Which process runs a trial: its number is another one's after it has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started: int


class TrialEntry(BaseModel):
    """What is kept of a trial.

    Attributes:
        format_version: Of this format.
        submission: What was asked for.
        client: Who asked.
        state, reason: Where it stands.
        submitted_at, started_at, ended_at: Unix seconds.
        fetched_at: When somebody first read what came of it.
        worker: The process that runs it.
        outcome: What came of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    format_version: int = STORED.newest
    submission: Submission
    client: str
    state: TrialState = TrialState.QUEUED
    reason: str = ""
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    fetched_at: float | None = None
    worker: WorkerProcess | None = None
    outcome: TrialOutcome | None = None

    @property
    def id(self) -> str:
        """The submit id."""
        return self.submission.submit_id

    def status(self, *, now: float, nr_before: int = 0) -> TrialStatus:
        """Return what a client is told."""
        return TrialStatus(
            id=self.id,
            state=self.state,
            reason=self.reason,
            nr_before=nr_before,
            submitted_at=self.submitted_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            now=now,
            outcome=self.outcome,
        )


class TrialStore:
    """The trials of a folder.

    Args:
        folder: Made where it is missing.
        quota_bytes: How much all results may take.

    Raises:
        UntrustedError: The folder is not ours alone.
        StudyError: A newer version wrote what is in it, or it is damaged.
        OSError: It can't be read or written.
    """

    def __init__(self, folder: Path, *, quota_bytes: int) -> None:
        make_folder(folder, mode=0o700)
        self.folder = folder
        self._quota_bytes = quota_bytes
        self._entries: dict[str, TrialEntry] = {}
        self._bytes: dict[str, int] = {}
        for path in sorted(folder.glob("*.json")):
            entry = _read(path)
            self._entries[entry.id] = entry
            self._bytes[entry.id] = path.stat().st_size + self._archive_bytes(entry.id)

    def __iter__(self) -> Iterator[TrialEntry]:
        return iter(sorted(self._entries.values(), key=lambda entry: entry.submitted_at))

    def find(self, trial_id: str) -> TrialEntry | None:
        """Return a trial; None: there is none of that id."""
        return self._entries.get(trial_id)

    def put(self, entry: TrialEntry) -> TrialEntry:
        """Write a trial down, in place of what is known of it.

        Raises:
            OSError: It can't be written; what was there before stays.
        """
        text = entry.model_dump_json() + "\n"
        write_text(self.folder / f"{entry.id}.json", text, mode=0o600)
        self._entries[entry.id] = entry
        self._bytes[entry.id] = len(text.encode()) + self._archive_bytes(entry.id)
        return entry

    def archive(self, trial_id: str) -> Path:
        """Return where a trial's trace is, if it has one."""
        return self.folder / f"{trial_id}.tar"

    def scratch(self, trial_id: str) -> Path:
        """Return a folder for a trial's worker, which is new and empty."""
        folder = self.folder / f"{trial_id}.work"
        remove_folder(folder, missing_ok=True)
        make_folder(folder, mode=0o700)
        return folder

    def clear_scratch(self) -> None:
        """Remove what workers have left that are gone."""
        for folder in self.folder.glob("*.work"):
            remove_folder(folder, missing_ok=True)

    def make_room(self, now: float) -> None:
        """Forget what ended a day ago, and drop results that were fetched, as far as room is needed.

        Raises:
            RefusedError: There is none: too many results wait to be fetched.
        """
        ended = [entry for entry in self if entry.state.is_end]
        for entry in ended:
            if now - (entry.ended_at or 0) > KEPT_S:
                self._forget(entry)
        fetched = [entry for entry in ended if entry.fetched_at is not None and entry.id in self._entries]
        for entry in fetched:
            if self.used_bytes <= self._quota_bytes:
                break
            if entry.outcome is not None:
                remove(self.archive(entry.id), missing_ok=True)
                self.put(entry.model_copy(update={"outcome": None, "reason": _DROPPED}))
        if self.used_bytes > self._quota_bytes:
            raise RefusedError(
                507,
                f"the results that wait to be fetched take {self.used_bytes} bytes, and may take "
                f"{self._quota_bytes}",
                hint="fetch them with GET /trials/ID, or start the server with a larger --quota",
            )
        if len(self._entries) >= MOST_RECORDS:
            raise RefusedError(
                429,
                f"{MOST_RECORDS} trials of the last day are kept, the most there may be",
                hint="ask again when the oldest of them is a day old",
                retry_after_s=600,
            )

    @property
    def used_bytes(self) -> int:
        """How much everything takes."""
        return sum(self._bytes.values())

    def _forget(self, entry: TrialEntry) -> None:
        remove(self.archive(entry.id), missing_ok=True)
        remove(self.folder / f"{entry.id}.json", missing_ok=True)
        del self._entries[entry.id], self._bytes[entry.id]

    def _archive_bytes(self, trial_id: str) -> int:
        path = self.archive(trial_id)
        return path.stat().st_size if path.exists() else 0


def content_digest(submission: Submission) -> str:
    """Return what tells a submission from another one with its id: but for the lease, all of it."""
    content: dict[str, Any] = submission.model_dump(mode="json", exclude={"lease_s"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> TrialEntry:
    try:
        return TrialEntry.model_validate(STORED.upgrade(parse_json(path.read_bytes(), any_text=True), path))
    except ValidationError as error:
        raise StudyError(
            f"{path} is damaged: {first_fault(error)}", hint="move it away, and start again"
        ) from None
    except ValueError as error:
        raise StudyError(f"{path} is damaged: {error}", hint="move it away, and start again") from None
