r"""How are numbers shown, and text that others chose? So that it steers no terminal, and one sees it all.

Names of tasks, control groups, files and hosts, commands, what schedulers and tools print: whoever
chooses them could otherwise clear a screen, set its title, fill its clipboard or turn a line round.
What has no shape of its own is spelled as in Python's string literals: `\x1b`, `\u202e`, `\udc80`.
That are control characters (C0, DEL, C1), marks of direction and of no width, separators of lines,
spaces other than the plain one, lone surrogates, and what Unicode has not assigned.

A backslash stays as it is, so that patterns and quoted commands can be copied, and so that text may
pass here twice: a shown `\x1b` is the character or its spelling. JSON output tells which.
"""

from __future__ import annotations

import math
import re

_LAYOUT = frozenset("\n\t")
# Control sequences of ECMA-48 (5.4): colours, and where the cursor goes; and what takes ASCII for letters.
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\(B")


def printable(text: str) -> str:
    r"""Return a text on one line, newlines and tabs spelled, too: `\n`, `\t`. For names and values.

    >>> print(printable("\x1b[2Jtask\n"))
    \x1b[2Jtask\n
    """
    return text if text.isprintable() else "".join(map(_spelled, text))


def printable_lines(text: str) -> str:
    """Return a text whose newlines and tabs are kept. For what has several lines, such as an output."""
    if text.isprintable():
        return text
    return "".join(character if character in _LAYOUT else _spelled(character) for character in text)


def without_sequences(text: str) -> str:
    r"""Return a text without what moves and colours a terminal. For what is to be read, not shown.

    >>> without_sequences("\x1b[1mTime: 0.023\x1b(B\x1b[m")
    'Time: 0.023'
    """
    return _CONTROL_SEQUENCE.sub("", text) if "\x1b" in text else text


_WHOLE = ("_bytes", "_bytes_per_s", "_kib")  # what ends so has no fractions


def number(value: float | None, name: str = "", *, digits: int = 4) -> str:
    """Spell a number in some digits, one of bytes and the like whole; a dash for what is not known.

    Args:
        value: The number.
        name: What it is called, which ends in its unit or begins with `nr_`.
        digits: How many, where it has more.

    >>> number(34892311.55, "memory_bytes"), number(1234567.0, "nr_switches"), number(2.5, "nr_threads")
    ('34,892,312', '1,234,567', '2.5')
    """
    if value is None or math.isnan(value):
        return "-"
    counts = name.rpartition(".")[2].startswith("nr_") and abs(value) >= 1000
    if math.isfinite(value) and (name.endswith(_WHOLE) or counts):
        return f"{round(value):,}"  # no -0
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.{digits - 1}e}"
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text


def exact(value: float) -> str:
    """Spell a number so that it reads back as it is: all of its digits, no exponent. For bounds and options.

    >>> exact(31536000.0), exact(0.5), exact(1e-7)
    ('31536000', '0.5', '0.0000001')
    """
    text = str(value)
    if "e" in text:
        from decimal import Decimal

        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")


def percent_change(ratio: float) -> str:
    """Spell a ratio as a change in percent; what is left of nearly nothing is not rounded away.

    >>> percent_change(0.88), percent_change(1.0), percent_change(0.0001), percent_change(0)
    ('-12.0%', '+0.0%', '-99.99%', '-100.0%')
    """
    for digits in range(1, 7):
        text = f"{100 * (ratio - 1):+z.{digits}f}%"
        if ratio <= 0 or not text.startswith("-100."):
            break
    return text


def _spelled(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
