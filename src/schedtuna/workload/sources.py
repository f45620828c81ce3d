"""Reads one number from text that a workload printed or wrote: by regex, JSON path or CSV column."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedtuna.configfile import json_values, parse_json
from schedtuna.errors import MetricError, NothingMeasuredError, UsageError, nearest
from schedtuna.workload.measured import empty_count, is_count, is_rate, tells_failures
from schedtuna.workload.numerals import number, whole
from schedtuna.workload.patterns import in_time, last_match
from schedtuna.workload.terminal import plain_lines

_MAX_FILE_BYTES = 64 << 20
_CLOCK_TICK_S = 0.02  # file times come from a coarse clock
_WILDCARD = re.compile(r"[*?\[]")
_MOST_LABELS = 64
# What has more digits in a row is drawn at random, or a time, as what has a colon between digits is.
_LABEL = re.compile(r"[A-Za-z](?!.*(?:\d{5}|\d:\d))")
_CELL = re.compile(r"\s*[-+]?[\d.,]*\s*$")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?\d+)\]|\[\"([^\"]*)\"\]")


@dataclass(frozen=True)
class Found:
    """A number that was found in a text.

    Attributes:
        value: The number.
        unit: The unit that it was printed in, where the value leaves that out.
        parts: Of what it is the mean, where that has names.
    """

    value: float
    unit: str = ""
    parts: tuple[str, ...] = ()


def written_file(pattern: Path, *, folder: Path, not_before: float) -> Path:
    """Return the file that a run wrote, of those that a pattern such as ``log_*.csv`` matches.

    Args:
        pattern: Its path, which is taken as it is without ``*``, ``?`` or ``[``, or where it exists.
        folder: From where that is; its own name is no pattern, whatever is in it.
        not_before: Unix time in seconds at which the run began.

    Raises:
        MetricError: The run wrote none of them, or several.
    """
    path, parts = folder / pattern, pattern.parts
    nr_plain = next((at for at, part in enumerate(parts) if _WILDCARD.search(part)), None)
    if nr_plain is None or path.exists():
        return path
    matching = Path(folder, *parts[:nr_plain]).glob(str(Path(*parts[nr_plain:])))
    times = {file: _modified(file) for file in matching}
    fresh = sorted(file for file, time in times.items() if time >= not_before - _CLOCK_TICK_S)
    if len(fresh) == 1:
        return fresh[0]
    if fresh:
        names = ", ".join(str(file) for file in fresh[:3]) + (", ..." if len(fresh) > 3 else "")
        raise MetricError(
            f"the run wrote {len(fresh)} files that match {path}: {names}",
            hint="narrow the pattern to the one to read, such as log_*[0-9].csv",
        )
    newest = max(times, key=lambda file: times[file], default=None)
    older = f"are only older ones, of which {newest} is the newest" if newest else "is none"
    raise MetricError(f"the run wrote no file that matches {path}: there {older}")


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def read_file(path: Path, *, not_before: float, owner: int | None = None) -> str:
    """Return the text of a file that a run wrote.

    Args:
        path: The file.
        not_before: Unix time in seconds at which the run began.
        owner: Whose it must be, where the run was another user's: through a link we would read for that
            user what only we may read.

    Raises:
        MetricError: The run did not write it, or it is not a regular file, somebody else's, or huge.
    """
    try:
        # A FIFO that nobody writes to must not block, nor a device be read.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise MetricError(f"can't read {path}, which the workload should write: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MetricError(f"{path} is not a regular file")
        if owner is not None and status.st_uid != owner:
            raise MetricError(
                f"{path} belongs to user {status.st_uid}, not to the command's user {owner}",
                hint="have the command make a file of its own",
            )
        if status.st_mtime < not_before - _CLOCK_TICK_S:
            raise MetricError(f"{path} is older than the run", hint="does the workload write it every time?")
        if status.st_size > _MAX_FILE_BYTES:
            raise MetricError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return plain_lines(file.read(_MAX_FILE_BYTES).decode(errors="replace"))
    finally:
        os.close(descriptor)


def _read_regex(pattern: str, text: str) -> Found:
    last = last_match(pattern, text)
    if last is None:
        raise MetricError(f"the pattern {pattern!r} matches nothing")
    if (last[1] if last.re.groups else last[0]) is None:
        raise MetricError(f"group 1 of the pattern {pattern!r} matches nothing")
    with in_time(pattern):
        found = whole(last)
    return Found(found.value, found.unit)


def json_steps(path: str) -> list[str | int]:
    """Return the keys and indices of a path such as ``a.b[0]["key with dots"]``.

    Raises:
        UsageError: Malformed.
    """
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise UsageError(f"{path!r} is not a JSON path", hint='write a.b[0].c, or a["key with dots"]')
        key, index, quoted = match.groups()
        steps.append(int(index) if index else key if key is not None else quoted)
        position = match.end()
    return steps


def _read_json(path: str, text: str) -> Found:
    value = _last_json(text)
    so_far = ""
    around: list[dict[str, Any]] = []
    of_failures = False
    for step in json_steps(path):
        if isinstance(value, dict) and not of_failures:
            around.append(value)
        of_failures = of_failures or tells_failures(step)
        try:
            value = value[step]
        except (LookupError, TypeError):
            known = list(value) if isinstance(value, dict) else []
            what = f"; {nearest(str(step), known)}" if known else ""
            raise MetricError(
                f"the JSON has no {step!r} {'in ' + so_far if so_far else 'at its top'}{what}"
            ) from None
        so_far += f"[{step}]" if isinstance(step, int) else f".{step}" if so_far else step
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MetricError(f"{path} is {json.dumps(value)[:80]}, not a number")
    for depth, document in enumerate(reversed(around)):
        # Further out an empty list may be anything; a number is what it is called.
        if reason := empty_count(document, lists=depth == 0 and not of_failures):
            raise NothingMeasuredError(f"nothing was measured: beside {path}, {reason}")
    try:
        return Found(float(value))
    except OverflowError:
        raise MetricError(f"{path} is too large a number") from None


def _last_json(text: str) -> Any:
    """The whole text as JSON, else the last value that begins a line."""
    try:
        return parse_json(text, any_text=True)
    except ValueError:
        pass
    found = deque(json_values(text), maxlen=1)
    if not found:
        raise MetricError("there is no JSON")
    return found[0]


def _read_csv(column: str, text: str) -> Found:
    """The mean of a column, whose header is the first line that has it."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        for delimiter in ",;\t|":
            header = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
            if column in header and (len(header) > 1 or line.strip() == column):
                rows = list(_csv_rows(lines[at + 1 :], delimiter, len(header)))
                return _csv_mean(header, rows, header.index(column))
    raise MetricError(f"no table has the column {column!r}")


def _csv_rows(lines: Sequence[str], delimiter: str, width: int) -> Iterator[list[str]]:
    """The table's rows; what is printed behind it is not one, but between them a cut one is missing."""
    odd: list[str] | None = None
    for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter):
        if len(row) != width:
            odd = row if 1 < len(row) < width and all(map(_CELL.match, row[1:])) else odd
            continue
        if odd is not None:
            raise MetricError(
                f"a row of the table has {len(odd)} cells, where {width} were expected: "
                f"{delimiter.join(odd)[:80]}"
            )
        yield [cell.strip() for cell in row]


def _csv_mean(header: Sequence[str], rows: Sequence[Sequence[str]], index: int) -> Found:
    if not rows:
        raise NothingMeasuredError("the table has no rows")
    mean = math.fsum(number(row[index]) for row in rows) / len(rows)
    # Seconds without a request are a part of a rate of requests, as long as there are others.
    counts_itself = mean > 0 and (is_count(header[index]) or is_rate(header[index], ""))
    for row in () if counts_itself or tells_failures(header[index]) else rows:
        if reason := empty_count(dict(zip(header, row, strict=True))):
            raise NothingMeasuredError(f"nothing was measured: in the row {','.join(row)[:80]}, {reason}")
    return Found(mean, parts=_labels([row[0] for row in rows]) if index else ())


def _labels(cells: Sequence[str]) -> tuple[str, ...]:
    """What the rows are called in their first column, where those are names."""
    names = 1 < len(set(cells)) == len(cells) <= _MOST_LABELS and all(map(_LABEL.match, cells))
    return tuple(sorted(cells)) if names else ()


# Kind of source -> what finds a number in a text, raising MetricError where it can't.
READERS: dict[str, Callable[[str, str], Found]] = {
    "regex": _read_regex,
    "json": _read_json,
    "csv": _read_csv,
}
