"""The error tree: one base, one exit code per kind.

A message says what happened and what was expected; the hint says what to do next.
Only `schedtuna.cli` prints errors and exits.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class SchedtunaError(Exception):
    """Base of every error that Schedtuna raises on purpose.

    Args:
        message: What happened, and what was expected.
        hint: What to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SchedtunaError):
    """The request itself is wrong: an option, a file's content, a name, a value."""

    exit_code: ClassVar[int] = 2


class SpaceError(UsageError):
    """A parameter, a value or a whole parameter space is invalid."""


class UnknownParameterError(SpaceError):
    """A space has no parameter of this name.

    Attributes:
        name: What was asked for.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown parameter {name!r}: {nearest(name, known)}")
        self.name = name


class OutOfBoundsError(SpaceError):
    """A number is not within its parameter's bounds.

    Attributes:
        name: The parameter.
        value: What was asked for.
        bounds: What would do, with its unit: ``1 to 10 ms``.
    """

    def __init__(self, name: str, value: float, bounds: str) -> None:
        super().__init__(f"{name}={value}: out of bounds, expected {bounds}")
        self.name, self.value, self.bounds = name, value, bounds


class ConfigFileError(UsageError):
    """A YAML, JSON or TOML file can't be read; the message names the line."""


class UnavailableError(SchedtunaError):
    """The kernel, a privilege or a tool that this needs is not there."""

    exit_code: ClassVar[int] = 3


class NotLoadedError(UnavailableError):
    """No BPF map or program of that name is loaded, by anybody."""


class MissingExtraError(UnavailableError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra '{extra}', which is not installed",
            hint=f"pip install 'schedtuna[{extra}]'",
        )


class WorkloadError(SchedtunaError):
    """A workload can't be run, or ran without giving what was asked of it."""


class MetricError(WorkloadError):
    """A metric can't be read from what the workload printed or wrote."""


class NothingMeasuredError(MetricError):
    """A run ended well and measured nothing: no request, event, sample or operation."""


class UnclearNumberError(MetricError):
    """A number is there, and what it means is not certain: the run is not to blame for that."""


class KnobError(SchedtunaError):
    """A knob can't be shown, applied or reverted."""


class JournalError(SchedtunaError):
    """The journal of changes can't be written, read or trusted."""


class SimulationError(SchedtunaError):
    """A simulation can't go on: its scheduler broke a rule, or its tasks wait for each other."""


class ModelError(SchedtunaError):
    """A model can't be read, built or trusted, or its input is not of the kind it takes."""


class SimulationTimeoutError(SimulationError):
    """A simulation took longer than it was allowed."""


class EvidenceError(SchedtunaError):
    """The observations can't carry the inference that was asked for."""


class StudyError(SchedtunaError):
    """A study's folder or log can't be used."""


class FolderTakenError(StudyError):
    """Another process has a results folder, or had it first."""


class ConformanceError(SchedtunaError):
    """A sampler, a place, a knob or a machine breaks the contract of its kind."""


class UntrustedError(SchedtunaError):
    """Somebody else could have put a file or folder here, or could put another one in its place."""


class TraceError(SchedtunaError):
    """A trace can't be read, written or trusted."""


class BenchError(SchedtunaError):
    """An entry of SchedBench can't be read, or is of another version of it."""


class PolicyError(SchedtunaError):
    """A trained policy can't be read, written, trained on, or used here."""


class DatasetError(SchedtunaError):
    """A dataset can't be built, read or trusted, or has nothing that could be learnt from."""


class IncompleteTraceError(TraceError):
    """Events are missing where a metric needs them all."""


_RUST = re.compile(r"(.*) \(os error (\d+)\)")  # how polars spells the disk's errors, in text alone


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of the disk say what could not be written: a write that fails names no file."""
    try:
        yield
    except OSError as error:
        if error.errno is None and (told := _RUST.fullmatch(str(error))):
            error.strerror, error.errno = told[1], int(told[2])
        if error.filename is None:
            error.filename = str(path)
        raise


_MOST_LISTED = 100  # names in a sentence: a tool's fields, but not every metric


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause that proposes the closest known names, or lists them where they can be read.

    >>> nearest("slice_u", ["slice_us", "nice"])
    'did you mean slice_us?'
    """
    candidates = sorted(known)
    close = difflib.get_close_matches(name, candidates, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(candidates) > _MOST_LISTED:
        return f"none of the {len(candidates)} known ones is like it"
    return f"known: {', '.join(candidates)}" if candidates else "none is known"
