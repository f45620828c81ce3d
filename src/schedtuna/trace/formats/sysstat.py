"""What do pidstat, sar and mpstat share: a first line with the day, and lines that begin with a time?

A line has the time of day alone, as the locale writes it; the first line of a run has the date. Where that
leaves day and month open, a rule decides and the trace says so.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import DAY_NS, Notes, S, shown

_YEAR_FIRST = re.compile(r"(?<![0-9])([0-9]{4})[-./年년]\s*([0-9]{1,2})[-./月월]\s*([0-9]{1,2})(?![0-9])")
_YEAR_LAST = re.compile(r"(?<![0-9])([0-9]{1,2})([-./])\s?([0-9]{1,2})\2\s?([0-9]{4}|[0-9]{2})(?![0-9])")
_EPOCH = re.compile(r"[0-9]{9,11}")
# As glibc's locales write it (t_fmt): with `:`, `.`, or the words for hour, minute and second.
_CLOCK = re.compile(
    r"([0-9]{1,2})(?:[:.]|[时時点點]|시 ?)([0-9]{2})(?:[:.]|分|분 ?)([0-9]{2})(?:秒|초)?"
    r"(?: ?([AaPp])\.?[Mm]\.?)?"
)
_TIME = re.compile(rf"\s*({_CLOCK.pattern}|{_EPOCH.pattern})\s+")
_AVERAGE = re.compile("\\s*[^\\d:\uff1a]{1,30}[:\uff1a](?:\\s|$)")  # Chinese has a wide colon


def is_average(line: str) -> bool:
    """Whether a line is of the averages behind a run: in every language it begins with a word and a colon."""
    return _AVERAGE.match(line) is not None


def split_time(line: str) -> tuple[str, str]:
    """Return the time with which a line begins ("" if it does with none), and the rest."""
    found = _TIME.match(line)
    return (" ".join(found[1].split()), line[found.end() :]) if found else ("", line)


class Calendar:
    """Turns times of day into times: the day is that of the run's first line, and goes on past midnight.

    Args:
        notes: Where to tell what was decided.
        hint: How to record what needs no decision.
        banner: The first line of the run.
    """

    def __init__(self, notes: Notes, hint: str, banner: str = "") -> None:
        self._notes = notes
        self._hint = hint
        self._banner = banner
        self._day_ns: int | None = None
        self._before_ns = -1
        self._began_ns = -1  # the time of day of the first header, if it has one

    def take_header(self, time: str) -> None:
        """Take the time above a report: of the first, when the run began."""
        if self._day_ns is None:
            self._began_ns = -1 if (began_ns := clock_ns(time)) is None else began_ns

    def time_ns(self, text: str, values: str, line: int) -> int:
        """Return the time of a row.

        Args:
            text: Its time of day, or seconds since 1970.
            values: The rest of it, which shows whether the locale has decimal commas.
            line: For errors.

        Raises:
            TraceError: It is not a time, or its day is not known.
        """
        if _EPOCH.fullmatch(text):
            return int(text) * S
        of_day = clock_ns(text)
        if of_day is None:
            raise TraceError(f"line {line}: expected a time, got {shown(text)}", hint=self._hint)
        if self._day_ns is None:
            self._day_ns = self._date_ns("," in values)
            if self._began_ns >= 0:
                self._before_ns = self._day_ns + self._began_ns
            self._notes.add("times are of the machine's zone, and taken for UTC; record with TZ=UTC")
        time = self._day_ns + of_day
        if time < self._before_ns - DAY_NS // 2:
            self._day_ns += DAY_NS
            time += DAY_NS
        elif time < self._before_ns:
            self._notes.add(f"line {line}: the clock went back, or more than 12 hours passed")
        self._before_ns = time
        return time

    def _date_ns(self, has_commas: bool) -> int:
        host, separator, rest = self._banner.partition(")")
        day = _date(rest if separator else host, has_commas, self._notes)
        if day is None:
            raise TraceError(
                "the first line does not name the day in a known way:"
                f" {shown(self._banner) if self._banner else 'it is missing'}",
                hint=self._hint,
            )
        return int(day.timestamp()) * S


def _date(text: str, has_commas: bool, notes: Notes) -> datetime | None:
    """Return the day that a locale wrote; None if that is not understood.

    Day and month of 03/05/2024 are told apart by what can be known: one above 12 is the day, and a locale
    with decimal commas is neither C nor en_US, the only ones with the month first.
    """
    found = _YEAR_FIRST.search(text)
    if found:
        return _day(int(found[1]), int(found[2]), int(found[3]))
    found = _YEAR_LAST.search(text)
    if not found:
        return None
    first, second, year = int(found[1]), int(found[3]), int(found[4]) % 100 + 2000
    if len(found[4]) == 4:
        year = int(found[4])
    day_first = first > 12 or (second <= 12 and (found[2] != "/" or has_commas))
    if max(first, second) <= 12 and first != second and found[2] == "/":
        order = "day" if day_first else "month"
        notes.add(
            f"the date {found[0]} is read with the {order} first, which it does not say itself;"
            " record with S_TIME_FORMAT=ISO"
        )
    return _day(year, second, first) if day_first else _day(year, first, second)


def _day(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None


def clock_ns(text: str) -> int | None:
    """Return a time of day in nanoseconds; None if it is not one."""
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hour, minute, second = (int(found[part]) for part in (1, 2, 3))
    if found[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[4] in "Pp" else 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    return (hour * 3600 + minute * 60 + second) * S
