"""How far is a long command? A bar with an ETA on a terminal, a line now and then elsewhere; stderr.

Nothing is drawn while a run is being measured: the bar moves between runs, and has no thread.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from schedtuna.cli.streams import console, guard_streams
from schedtuna.printable import printable

LINE_EVERY_S = 15.0  # where stderr is a file or a pipe


class RunProgress:
    """Progress over runs, on stderr.

    Args:
        title: What is being done, in a word or two.
        total: How many runs there are; None where a time limit decides.
    """

    def __init__(self, title: str, total: int | None) -> None:
        self._console = console(stderr=True)
        self._title = title
        self._last_line_s = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task(title, total=total, note="")

    def update(self, done: int, total: int | None, *, note: str = "", title: str | None = None) -> None:
        """Show that `done` of `total` runs have ended; the note says noise, best so far and the like."""
        self._title = printable(title or self._title)
        note = printable(note)
        self._bar.update(
            self._task, description=self._title, completed=done, total=total, note=note, refresh=True
        )
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._last_line_s >= LINE_EVERY_S:
            self._last_line_s = now_s
            self.say(f"{self._title}: {done}/{'?' if total is None else total} runs  {note}".rstrip())

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._console.is_terminal:
            self._console.print(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._bar.start()
        guard_streams()  # the bar has put streams of its own before the guarded ones
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def format_duration(seconds: float) -> str:
    """Spell a duration as people say it: ``40 s``, ``12 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
