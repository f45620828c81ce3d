"""What did a program print, as plain lines? Without what only a terminal makes of it.

Under a pseudo terminal (`script`, `unbuffer`, `ssh -t`) lines end with CR LF, progress is overwritten
by a lone CR, and numbers are coloured.
"""

from __future__ import annotations

import re

# Control sequences of ECMA-48 (5.4): colours, and where the cursor goes.
_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def plain_lines(text: str) -> str:
    r"""Return a text whose lines end with a newline each, without control sequences.

    >>> plain_lines("10%\r100%\r\n\x1b[1mTime: 0.023\x1b[0m\r\n")
    '10%\n100%\nTime: 0.023\n'
    """
    if "\x1b" in text:
        text = _CONTROL_SEQUENCE.sub("", text)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
