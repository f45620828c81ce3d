"""What happened in a study, and when? `experiment.log`, one line per run, for people."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from schedtuna.backend.base import Trial, Validity
from schedtuna.errors import SchedtunaError
from schedtuna.files import open_for_writing
from schedtuna.history.outcome import BASELINE
from schedtuna.printable import number, percent_change
from schedtuna.space import spell_assignment
from schedtuna.tune.search import SearchProgress, StudyEvent

LOG_NAME = "experiment.log"
LOGGER = logging.getLogger("schedtuna.tune")  # what programs attach their own handlers to
LOGGER.addHandler(logging.NullHandler())  # or Python would print warnings of its own accord


class _File(logging.StreamHandler[TextIO]):
    """A log file whose failure ends nothing: a full disk is the trial log's to report."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Let the line go."""


class ExperimentLog:
    """Lines to a study's log file, whatever level programs choose, and to Python's logging.

    Args:
        folder: The study's.
        debug: Whether each run's every number is logged, too.
    """

    def __init__(self, folder: Path, *, debug: bool = False) -> None:
        fd = open_for_writing(folder / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._file = _File(os.fdopen(fd, "a", encoding="utf-8"))
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._least = logging.DEBUG if debug else logging.INFO
        self._opened_at = time.time()

    def say(self, message: str, *, level: int = logging.INFO, told: bool = False) -> None:
        """Write one line; `told` marks what the command line says in its own words."""
        if level < self._least and not LOGGER.isEnabledFor(level):
            return
        record = LOGGER.makeRecord(LOGGER.name, level, "", 0, message, (), None, extra={"told": told})
        if level >= self._least:
            self._file.handle(record)
        if LOGGER.isEnabledFor(level):
            LOGGER.handle(record)

    def show(self, event: StudyEvent) -> None:
        """Write what one run of a study came to."""
        record = event.record
        trial: Trial = record.trial
        if trial.started_at < self._opened_at:
            return  # a resumed study's: the session that ran it has written it
        part = f"{record.phase} {record.index + 1}" + (f" ({record.arm})" if record.arm else "")
        settings = spell_assignment(trial.values) or "default"
        outcome = str(trial.validity)
        if isinstance(event, SearchProgress) and event.cost is not None and record.phase != BASELINE:
            outcome += f", cost {percent_change(math.exp(event.cost))}"
        line = f"{part}: {settings}: {outcome}, {number(trial.duration_s, digits=3)} s"
        if trial.validity is Validity.OK:
            self.say(line)
        elif trial.validity is Validity.TIMEOUT:  # its last words are about being ended: not for the screen
            self.say(f"{line}: {trial.reason}", level=logging.WARNING)
            self.say(f"{part}: its last lines:\n{trial.output_tail}".rstrip())
        else:
            self.say(f"{line}: {trial.reason}\n{trial.output_tail}".rstrip(), level=logging.WARNING)
        self.say(f"{part}: metrics {trial.metrics} covariates {trial.covariates}", level=logging.DEBUG)
        if not isinstance(event, SearchProgress) and event.result is not None:
            self.say(f"judged after {event.done} runs: {event.told_verdict}", told=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SchedtunaError):
            self.say(str(error), level=logging.ERROR)
        with contextlib.suppress(OSError):
            self._file.stream.close()
