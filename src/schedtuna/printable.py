r"""How is text shown that others chose? So that it can't steer a terminal, and that one sees what is in it.

Names of tasks, control groups, files and hosts, commands, what schedulers and tools print: whoever
chooses them could otherwise clear a screen, set its title, fill its clipboard or turn a line round.
What has no shape of its own is spelled as in Python's string literals: `\x1b`, `\u202e`, `\udc80`.
That are control characters (C0, DEL, C1), marks of direction and of no width, separators of lines,
spaces other than the plain one, lone surrogates, and what Unicode has not assigned.

A backslash stays as it is, so that patterns and quoted commands can be copied, and so that text may
pass here twice: a shown `\x1b` is the character or its spelling. JSON output tells which.
"""

from __future__ import annotations

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


def _spelled(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
