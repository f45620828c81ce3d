"""Where do the lines of the kernel's text files end? At newlines alone.

Names in them are anybody's choice: of a task, a control group, a mount point. The kernel escapes a
newline there, and nothing else that Python's `splitlines`, or reading as text, takes for the end of a
line: a name with a carriage return, form feed or U+2028 in it would add a line of its own making.
"""

from __future__ import annotations

import os
from pathlib import Path


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, without their newlines."""
    return text.removesuffix("\n").split("\n") if text else []


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a file, where names that are not UTF-8 still name what they do.

    Raises:
        OSError: It can't be read.
    """
    return lines_of(os.fsdecode(Path(path).read_bytes()))
