"""What did a program print, as plain lines? Without what only a terminal makes of it.

Under a pseudo terminal (`script`, `unbuffer`, `ssh -t`) lines end with CR LF, progress is overwritten
by a lone CR, and numbers are coloured.
"""

from __future__ import annotations

from schedtuna.printable import without_sequences


def plain_lines(text: str) -> str:
    r"""Return a text whose lines end with a newline each, without control sequences.

    >>> plain_lines("10%\r100%\r\n\x1b[1mTime: 0.023\x1b[0m\r\n")
    '10%\n100%\nTime: 0.023\n'
    """
    text = without_sequences(text)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
