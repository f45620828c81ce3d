"""What do the readers of vmstat, pidstat and dstat share: lines, numbers, names, and what must be told?

A column that is not understood keeps its own name behind the tool's; a number that can't be one is an
error; what the text does not say (times, units, the order of day and month) is noted, never made up
in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from io import BufferedIOBase
from typing import NamedTuple

from schedtuna.errors import TraceError
from schedtuna.printable import without_sequences
from schedtuna.trace.formats.sink import Sink
from schedtuna.trace.tasks import clean_name

KIB = 1024.0
LONGEST_LINE = 1 << 16
TEXTS = frozenset({"comm", "user", "policy"})
S = 10**9
DAY_NS = 86_400 * S

Value = float | str | None

_NUMBER = re.compile(r"(-?)[0-9]{1,20}(?:[.,][0-9]{1,20})?(?:e[+-]?[0-9]{1,2})?")
_WITH_UNIT = re.compile(r"([0-9]{1,9}(?:[.,][0-9]{1,3})?)([BkKMGTPE%])")
_PERCENT_SLACK = 6.0  # six numbers, each rounded by itself, or cut


class Times(StrEnum):
    """Where samples have their times from: the manifest's `sample_times`."""

    COLUMN = "column"  # the tool printed them
    INTERVAL = "interval"  # the tool's command line names the interval; they are not measured
    MADE_UP = "made up"  # one second apart, because nothing is known


_ABOUT_TIMES = {
    Times.INTERVAL: "times are not measured: they are multiples of the interval on the command line",
    Times.MADE_UP: "times are made up, 1 s apart: the text has none",
}


class Notes:
    """What a reader has to tell about its samples, each thing once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        """Tell something."""
        self._texts[text] = None

    def write(self, sink: Sink, times: Times, *, remedy: str = "") -> None:
        """Put them into the manifest: how the times came about, and the notes.

        Args:
            sink: Where the samples went.
            times: Where their times are from.
            remedy: How to record times, where these are not the tool's.
        """
        about = _ABOUT_TIMES.get(times)
        notes = [f"{about}; {remedy}" if remedy else about] if about else []
        clock = "realtime" if times is Times.COLUMN else "none"
        sink.update_manifest(
            {"clock": clock, "sample_times": str(times), "sample_notes": [*notes, *self._texts]}
        )


def lines(stream: BufferedIOBase) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text, numbered from 1.

    Raises:
        TraceError: A line is too long for any of these tools.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise TraceError(f"line {number} is longer than {LONGEST_LINE} bytes")
        yield number, without_sequences(line.decode("utf-8", "backslashreplace")).rstrip("\r\n")


class Column(NamedTuple):
    """A column of a tool's table: its word for it, our name, and what a value is multiplied by."""

    word: str
    name: str
    factor: float


def named(names: Mapping[str, tuple[str, float]], words: Iterable[str], tool: str) -> list[Column]:
    """Return the columns of a header; those of the tool alone keep their word, and no name is there twice.

    Args:
        names: The tool's word -> (our name, factor).
        words: The header.
        tool: What stands before the words that are not in `names`.
    """
    result: list[Column] = []
    taken: dict[str, int] = {}
    for word in words:
        name, factor = names.get(word, (f"{tool}_{identifier(word)}", 1.0))
        taken[name] = taken.get(name, 0) + 1
        result.append(Column(word, name if taken[name] == 1 else f"{name}_{taken[name]}", factor))
    return result


def row(
    columns: Iterable[Column], words: Iterable[str], line: int, hint: str, notes: Notes | None = None
) -> dict[str, Value]:
    """Return the values of a line by our names; `-` stands for none.

    Args:
        columns: What the words are.
        words: The line's.
        line: For errors.
        hint: For errors.
        notes: Where the tool may write sizes with a unit, and percents with a `%` (sysstat's --human): where
            to tell that such numbers are rounded.

    Raises:
        TraceError: A word is not a number, or a negative one where there is none.
    """
    values: dict[str, Value] = {}
    for column, word in zip(columns, words, strict=True):
        if column.name in TEXTS:
            values[column.name] = word
        elif word != "-":
            value = None if notes is None else _rounded(column, word, notes)
            values[column.name] = _value(column, word, line, hint) if value is None else value
    return values


def _rounded(column: Column, word: str, notes: Notes) -> float | None:
    """Return the value of `1.5M` or `0.2%`; None: it has no unit."""
    match = _WITH_UNIT.fullmatch(word)
    if (
        match is None
        or (match[2] == "%") != column.word.startswith("%")
        or (match[2] != "%" and column.factor != KIB)
    ):
        return None
    notes.add("values with units are rounded to one decimal; record without --human")
    scale = 1.0 if match[2] == "%" else KIB ** "BkMGTPE".index(match[2].replace("K", "k"))
    return float(match[1].replace(",", ".")) * scale


def _value(column: Column, word: str, line: int, hint: str) -> float:
    match = _NUMBER.fullmatch(word)
    if match is None or (
        match[1] and not column.name.startswith("dstat_")
    ):  # a plug-in's may be a temperature
        raise TraceError(
            f"line {line}: expected a number for {clean_name(column.word[:40])}, got {shown(word)}", hint=hint
        )
    return float(word.replace(",", ".")) * column.factor


def check_shares(values: Mapping[str, Value], names: Iterable[str], line: int, hint: str) -> float:
    """Return what the shares of the CPUs' time add up to; they are all of it, but for rounding.

    Raises:
        TraceError: They are not: the columns are others than the header says.
    """
    shares = {name: value for name in names if isinstance(value := values.get(name), float)}
    total = sum(shares.values())
    if abs(total - 100) > _PERCENT_SLACK:
        spelled = ", ".join(f"{name} {value:g}" for name, value in shares.items())
        raise TraceError(
            f"line {line}: shares of CPU time add up to {total:g}%, expected about 100 ({spelled})", hint=hint
        )
    return total


def identifier(text: str) -> str:
    """Return a column's name that is fit for a table: letters, digits and _."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")[:60] or "column"


def shown(text: str) -> str:
    """Return how an error shows what it met."""
    return repr(text[:60])
