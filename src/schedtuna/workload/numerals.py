r"""Is that the whole number? Text is read up to where a number ends, never its first digits alone.

Parsers build their patterns from `NUMBER` and `COUNT`, which match nothing rather than a part of
``13,550,135``, ``1.2e`` or ``2.50k``. A pattern of a user's, ``IOPS=([0-9.]+)``, may end inside the
word all the same; `whole` looks at what stands around its group 1:

    1.21k   1.21M   1.21Ki   5e+06                     read whole: the meaning is certain
    1,234.5   1:02.5   1'234   0x1F   1.21K   1m2s     refused, and shown whole
    4.8MiB/s   12 ms   12ns/op   1.5 Mops/s            read as printed, and the unit is told
    0m1.5s   1,2,3                                     what the pattern takes is a number of its own

What a pattern itself spells out behind the group is its author's choice: ``([0-9.]+)k`` gives 1.21.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedtuna.errors import MetricError, UnclearNumberError
from schedtuna.workload.patterns import LIMIT_S

if TYPE_CHECKING:
    import regex

_GROUPING = ",'\u2019_\u00a0\u202f\u2009"  # what stands between digits of one number in some language
_NO_MORE = rf"(?!\d|[.:{_GROUPING}]\d|[eE](?:[+-]?\d|\b)|[kKMGTP]i?(?![A-Za-z]))"
_NOTHING_BEFORE = r"(?<![\d.,])"

# For parsers' patterns: one group each.
NUMBER = rf"{_NOTHING_BEFORE}(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?){_NO_MORE}"
COUNT = rf"{_NOTHING_BEFORE}(\d+){_NO_MORE}"

# For those of tools that print in the user's language: what C's `%f` prints, whose digits are never
# grouped, and `%'d`, which has no decimals.
DECIMAL = rf"{_NOTHING_BEFORE}(\d+(?:[.,]\d+)?){_NO_MORE}"
GROUPED_COUNT = (
    rf"{_NOTHING_BEFORE}(\d{{1,3}}(?:[.{_GROUPING}]\d{{2,3}})*[.{_GROUPING}]\d{{3}}|\d+){_NO_MORE}"
)

# SI's prefixes, and IEC's. A capital K is of neither: 1000 with some tools, 1024 with others.
_SCALES = {
    "": 1.0,
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip
_UNCLEAR_SCALE = "K"
_EXPONENT = re.compile(r"[eE][+-]?\d+(?!\w|\.\d)")
_SCALE = re.compile(r"(?:k|[KMGT]i?)(?![A-Za-z0-9_])")
_MORE_DIGITS = re.compile(r"\.?\d|[eE][+-]?\d|#[A-Z]")  # the last: how some print an infinity
_OTHER_NOTATION = re.compile(r"(?<=\b0)[xX][0-9A-Fa-f]|(?:d|h|m|min|s|ms)\d")
# These divide numbers as well as the digits of one: a pattern that spells one out, and goes on
# behind it, means the former.
_DIVIDER = re.compile(rf"[:{_GROUPING}]\d")
_DIVIDER_BEFORE = re.compile(rf"(?:^|[^\w.,])[-+]?\d[\d.,]*[:{_GROUPING}]\Z")
# What numbers with a comma look like in some language; `1,2,3` is a list in all of them.
_LOCAL = re.compile(
    r"\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?|\d+[.,]\d+|\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?|\d{1,4}(?:,\d{4})+(?:\.\d+)?"
)
_RUN_BEFORE = re.compile(r"[\d.,]*\Z")
_RUN = re.compile(r"(?:\d|[.,](?=\d))*")
_NOTHING_YET = re.compile(r"(?:^|[^\w.])(?:0+(?:d|h|m|min|s))+\Z")  # 0m1.5s is 1.5 s, whatever the pattern
_INSIDE = re.compile(r"(?:\d|\d\.|(?:^|[\s=:(\[])\.|\d[eE][-+]?|\d(?:d|h|m|min|s|ms)|\b0[xX][0-9A-Fa-f]*)\Z")
# The minutes of 1:02.5, and the thousands of `5 000`, which a plain space parts from what begins with 0.
_CLOCK_BEFORE = re.compile(r"(?:^|[^\w.,:])((?:\d{1,3}:)+)\Z")
_CLOCK_REST = re.compile(r"[0-5]\d(?![\d:])")
_GROUPS_BEFORE = re.compile(r"(?:^|[^\w.,:])\d{1,3}(?: \d{3})* \Z")
_GROUP_REST = re.compile(r"0\d\d(?!\d)")
_FIRST_GROUP = re.compile(r"\d{1,3}")
_GROUPS_BEHIND = re.compile(r"(?: \d{3})* 0\d\d(?!\d)")
_SIGN_BEFORE = re.compile(r"(?:^|[^\w.)\]-])[-\u2212]\Z")
_UNIT = re.compile(
    r" ?((?:(?:[KMGTkmg]i?)?(?:[Bb]|[Bb]ytes?|bits?|bps|Bps)|ns|us|µs|μs|ms|s|secs?|seconds?|m|mins?|minutes?"
    r"|h|hours?)(?:/[A-Za-z]+)?|[kKMGT](?:i?(?:[Oo]ps?|IOPS|[Rr]eqs?|[Ff]lops|FLOPS|Hz|[tTqQrRpP]ps))?(?:/[A-Za-z]+)?)"
    r"(?![A-Za-z0-9_/])"
    r"|([A-Za-zµμ%]{1,8}(?:/[A-Za-z]{1,8})?)(?![A-Za-z0-9_/])"  # any other word that no space parts from it
)
_SAME_UNITS = (
    {"m", "min", "mins", "minute", "minutes"},
    {"h", "hour", "hours"},
    {"B", "byte", "bytes", "Byte", "Bytes"},
)
_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6} | dict.fromkeys(
    ("s", "sec", "secs", "second", "seconds"), 10**9
)
_WORD = re.compile(r"(?:[^\s;|()\[\]{}<>\"=]|[\u00a0\u202f\u2009](?=\d))*")
_WORD_BEFORE = re.compile(rf"[-+\u2212\w.:{_GROUPING}]*\Z")
_LONGEST_WORD = 80
_ELSE = (" ", ";", "x", "")  # what could stand in a place instead of what stands there
_OTHER_UNITS = ("ns", "us", "ms", "s", "B", "KiB", "MB/s")


@dataclass(frozen=True)
class Numeral:
    """A number as it was found.

    Attributes:
        value: What it means.
        unit: The unit behind it that the value leaves out, as printed; empty where none is known.
    """

    value: float
    unit: str = ""

    def told_in(self, unit: str) -> Numeral:
        """Return the same time, or time per something, in another unit; itself where either is not one."""
        own = self.unit.partition("/")[0]
        if own not in _TIMES or unit not in _TIMES:
            return self
        same = _TIMES[own] == _TIMES[unit]
        return Numeral(self.value if same else self.value * _TIMES[own] / _TIMES[unit])


def is_same_unit(one: str, other: str) -> bool:
    """Whether two units as they were printed mean the same: ``sec`` and ``s``, ``1op`` and ``2ops``.

    >>> is_same_unit("us/op", "µs/ops"), is_same_unit("us", "ms")
    (True, False)
    """
    return _canonical(one) == _canonical(other)


def _canonical(unit: str) -> tuple[object, str]:
    word, _, per = unit.partition("/")
    alike: object = _TIMES.get(word) or next((frozenset(same) for same in _SAME_UNITS if word in same), None)
    return alike or _singular(word), _singular(per)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 2 and word.endswith("s") else {"sec": "s", "second": "s"}.get(word, word)


def decimal(text: str) -> float:
    """Return the number that `NUMBER`, `COUNT` or `DECIMAL` matched."""
    return float(text.replace(",", "."))


def grouped_count(text: str) -> float:
    """Return the number that `GROUPED_COUNT` matched."""
    return float(re.sub(r"\D", "", text))


def number(text: str) -> float:
    """Return what a text that is one number means, with grouped digits, a decimal comma or a scale.

    Raises:
        UnclearNumberError: It could be two different ones.
        MetricError: It is not a number.
    """
    plain = text.rstrip(".,;:")  # the end of a sentence
    scale = re.search(r"(?<=\d)(?:k|[MGT]i?|Ki)$", plain)
    digits = plain[: scale.start()] if scale else plain
    try:
        return float(_ungrouped(digits) or digits) * _SCALES[scale[0] if scale else ""]
    except ValueError:
        shown = repr(text[:_LONGEST_WORD])
        if re.match(r"[-+]?\.?\d", text) is None:
            raise MetricError(f"{shown} is not a number") from None
        raise UnclearNumberError(
            f"{shown} can't be read as one number", hint="LC_ALL=C keeps most commands from grouping digits"
        ) from None


def _ungrouped(text: str) -> str | None:
    """``1,234.5`` and ``1.234,5`` as ``1234.5``; None where it can't be told what is meant."""
    grouped = re.fullmatch(rf"([-+]?\d{{1,3}})((?:([.{_GROUPING}])\d{{3}})(?:\3\d{{3}})*)([.,]\d+)?", text)
    if grouped is None:
        return re.sub(",", ".", text) if re.fullmatch(r"[-+]?\d+,(\d{1,2}|\d{4,})", text) else None
    first, rest, mark, fraction = grouped.groups()
    if fraction is None:
        if mark == "," and len(rest) == 4:  # 1,234 is either; 0,234 is not
            return f"{first}.{rest[1:]}" if first.lstrip("-+") == "0" else None
        if mark == ".":  # plain, or of several parts like a version
            return None
    elif fraction[0] == mark:
        return None
    return first + rest.replace(mark, "") + (fraction or "").replace(",", ".")


def whole(match: regex.Match[str]) -> Numeral:
    """Return the number that group 1 of a match (or all of it) is, or is a part of.

    Raises:
        UnclearNumberError: It is a part, and what the whole means is not certain.
        MetricError: It is not a number.
    """
    start, end = match.span(_group(match))
    found, text = match[_group(match)], match.string
    if not found or not (found[0].isdecimal() or found[-1].isdecimal()):
        return Numeral(number(found))
    if _begins_before(match, start):
        raise _unclear(match, "the number begins before the match")
    exponent = _EXPONENT.match(text, end)
    if exponent and _is_free(match, *exponent.span()):
        return Numeral(number(found + exponent[0]))
    if _goes_on(match, end):
        raise _unclear(match, "the number goes on")
    scale = _SCALE.match(text, end)
    if scale and _is_free(match, *scale.span(), (*_SCALES, _UNCLEAR_SCALE)):
        if scale[0] == _UNCLEAR_SCALE:
            raise _unclear(match, "the number goes on, and K may be 1000 or 1024")
        return Numeral(number(found) * _SCALES[scale[0]])
    unit = _UNIT.match(text, end)
    if unit and _is_free(match, *unit.span(unit.lastindex or 0), _OTHER_UNITS):
        return Numeral(number(found), unit[unit.lastindex or 0])
    return Numeral(number(found))


def _group(match: regex.Match[str]) -> int:
    return 1 if match.re.groups else 0


def _begins_before(match: regex.Match[str], start: int) -> bool:
    before = match.string[max(0, start - _LONGEST_WORD) : start]
    if match.string[start] not in ".0123456789" or _NOTHING_YET.search(before):  # with its sign
        return False
    if before.endswith(",") and not _may_be_one(match):
        return False
    if _cuts_a_clock(match, before) or (
        _GROUPS_BEFORE.search(before) and _GROUP_REST.match(match.string, start)
    ):
        return True
    divided = _DIVIDER_BEFORE.search(before) or _SIGN_BEFORE.search(before)
    return bool(_INSIDE.search(before) or (divided and _is_free(match, start - 1, start)))


def _cuts_a_clock(match: regex.Match[str], before: str) -> bool:
    """Whether minutes stand before the seconds that are found, and the pattern asks for no digits there."""
    start = match.start(_group(match))
    clock = _CLOCK_BEFORE.search(before)
    if clock is None or not clock[1].strip("0:") or not _CLOCK_REST.match(match.string, start):
        return False
    others = (re.sub(r"\d", "x", clock[1]),)
    return _is_free(match, start - len(clock[1]), start, others)


def _goes_on(match: regex.Match[str], end: int) -> bool:
    text = match.string
    if _MORE_DIGITS.match(text, end):
        return True
    if _OTHER_NOTATION.match(text, end):
        return _is_free(match, end, end + 1)
    if text.startswith(",", end) and not _may_be_one(match):
        return False
    if _FIRST_GROUP.fullmatch(match[_group(match)]) and _GROUPS_BEHIND.match(text, end):
        return match.end() <= end + 1 or _is_free(match, end, end + 1)
    # `score (\d+),` knows of no second number: it would take 1 of 1,234.
    return bool(_DIVIDER.match(text, end)) and (match.end() <= end + 1 or _is_free(match, end, end + 1))


def _may_be_one(match: regex.Match[str]) -> bool:
    """Whether the digits, dots and commas around the group are one number in any language."""
    start, end = match.span(_group(match))
    before = _RUN_BEFORE.search(match.string[max(0, start - _LONGEST_WORD) : start])
    behind = _RUN.match(match.string, end, end + _LONGEST_WORD)
    run = (before[0] if before else "") + match.string[start:end] + (behind[0] if behind else "")
    return _LOCAL.fullmatch(run.strip(",.")) is not None


def _is_free(match: regex.Match[str], start: int, end: int, others: tuple[str, ...] = _ELSE) -> bool:
    """Whether the pattern would have found the same, had something else stood in a place.

    If not, it spells out what stands there, and so says that the number does not include it.
    """
    text = match.string
    there = text[start:end]
    # The lines of the match are enough for most patterns, and spare copying megabytes.
    first = text.rfind("\n", 0, min(start, match.start())) + 1
    last = text.find("\n", max(end, match.end()))
    window = (first, last if last >= 0 else len(text))
    if not _finds_same(match, start, end, there, window):  # it looks further
        window = (0, len(text))
    return any(_finds_same(match, start, end, other, window) for other in others if other != there)


def _finds_same(match: regex.Match[str], start: int, end: int, other: str, window: tuple[int, int]) -> bool:
    group = _group(match)
    first, last = window
    text = match.string[first:start] + other + match.string[end:last]
    grown = len(other) - (end - start)
    begin, wanted = match.start() - first, match.start(group) - first
    if start < match.start():
        begin += grown
    if start < match.start(group):
        wanted += grown
    again = match.re.match(text, begin, timeout=LIMIT_S)
    return again is not None and again.span(group) == (wanted, wanted + len(match[group]))


def _unclear(match: regex.Match[str], what: str) -> UnclearNumberError:
    start, end = match.span(_group(match))
    before = _WORD_BEFORE.search(match.string[max(0, start - _LONGEST_WORD) : start])
    behind = _GROUPS_BEHIND.match(match.string, end) or _WORD.match(match.string, end)
    word = (before[0] if before else "") + match.string[start:end] + (behind[0] if behind else "")
    word = word.rstrip(".,:")
    return UnclearNumberError(
        f"{what}: {word[:_LONGEST_WORD]}, of which the pattern {match.re.pattern!r} takes "
        f"{match[_group(match)][:_LONGEST_WORD]}",
        hint="let group 1 take the whole number, such as ([0-9.,]+); LC_ALL=C keeps most commands from "
        "grouping digits; what does not belong to the number can be spelt out behind it: ([0-9.]+)K",
    )
