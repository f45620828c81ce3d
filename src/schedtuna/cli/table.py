"""Small tables of numbers as text. In a pipe a row is a line; a terminal gets what fits into its lines."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from schedtuna.printable import number, printable

__all__ = ["number", "spelled_size", "table", "terminal_width", "wrapped"]

_GAP = 2
_SENTENCE = 40  # columns in which a sentence can be read
_INDENT = 4
_NARROWEST = 24  # a first column that would be narrower is kept whole, and the others follow in parts


def spelled_size(count: float) -> str:
    """Spell a number of bytes."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{number(count, digits=3)} {unit}"
        count /= 1000
    return f"{number(count, digits=3)} GB"


def terminal_width() -> int | None:
    """How many columns stdout's terminal has; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(text: str, *, indent: int = 0) -> str:
    """Fold a sentence at its words where a terminal is narrower; in a pipe it stays one line."""
    margin, text = " " * indent, printable(text)
    width = terminal_width()
    if width is None or indent + len(text) <= width:
        return margin + text
    return textwrap.fill(
        text,
        max(width, indent + _NARROWEST),
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Align columns: the first to the left, the others to the right; nothing is ever cut off.

    Cells are names that others chose, as often as not: a newline or tab in one is spelled.

    Args:
        headings: Of the columns.
        rows: One cell per column.
        width: Columns that a line may have; default: the terminal's, any number without one.
    """
    lines = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    limit = width or terminal_width() or math.inf
    spare = limit - sum(size + _GAP for size in widths[1:])
    if spare >= _NARROWEST:
        widths[0] = min(widths[0], int(spare)) if spare < math.inf else widths[0]
    return "\n\n".join(
        "\n".join(text for line in lines for text in _aligned(line, widths, part))
        for part in _parts(widths, limit)
    )


def described(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """Align columns to the left; the sentences of the last stand beside the others where they can be read.

    Args:
        headings: Of the columns; at least two.
        rows: One cell per column.
        width: As for `table`.
    """
    lines = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    limit = width or terminal_width()
    if limit is None:
        return "\n".join(_row(line, [*widths, len(line[-1])]) for line in lines)
    foldable = max(range(1, len(widths)), key=widths.__getitem__, default=0)
    spare = limit - sum(size + _GAP for size in widths)
    taken = min(max(_SENTENCE - spare, 0), max(widths[foldable] - _NARROWEST, 0))
    if spare + taken >= _SENTENCE:
        widths[foldable] -= taken
        return "\n".join(_row(line, [*widths, spare + taken]) for line in lines)
    widths[foldable] = max(min(widths[foldable], widths[foldable] + spare + _GAP), 1)
    below = max(limit - _INDENT, _NARROWEST)
    return "\n".join(
        "\n".join([_row(line, widths), *(" " * _INDENT + text for text in _folded(line[-1], below) if text)])
        for line in lines
    )


def _row(line: Sequence[str], widths: Sequence[int]) -> str:
    """The text lines of a row whose cells are folded to their columns."""
    cells = [_folded(cell, size) for cell, size in zip(line, widths, strict=False)]
    return "\n".join(
        (" " * _GAP).join(text.ljust(size) for text, size in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*cells, fillvalue="")
    )


def _parts(widths: Sequence[int], limit: float) -> list[list[int]]:
    """Which columns stand side by side, beside the first one."""
    parts: list[list[int]] = [[]]
    used = widths[0]
    for column, size in enumerate(widths[1:], start=1):
        if parts[-1] and used + _GAP + size > limit:
            parts.append([])
            used = widths[0]
        parts[-1].append(column)
        used += _GAP + size
    return parts


def _aligned(line: Sequence[str], widths: Sequence[int], part: Sequence[int]) -> list[str]:
    """The text lines of one row: more than one where its first cell is folded."""
    first, *rest = _folded(line[0], widths[0])
    cells = [first.ljust(widths[0]), *(line[column].rjust(widths[column]) for column in part)]
    return [(" " * _GAP).join(cells).rstrip(), *(f"  {text}" for text in rest)]


def _folded(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
