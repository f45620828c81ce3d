"""What may reach the terminal? Text that can't steer it: every other way out of `cli/` is here, too.

`guard_streams` has whatever is printed escaped, by Typer and tracebacks, too. What has to steer the
terminal itself (the screen of `top`, the progress bar's colours) asks for `unguarded` streams or a
`console`, and escapes the text of others before.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from schedtuna.printable import printable_lines

if TYPE_CHECKING:
    from rich.console import Console


class Guarded:
    """A text stream that spells what would steer a terminal; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        self.stream.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard_streams() -> None:
    """Guard standard output and error, whatever they are by now; for the process's life."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, Guarded):
            continue
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no such letter
        setattr(sys, name, Guarded(stream))


def unguarded(stream: TextIO) -> TextIO:
    """Return a stream that takes control sequences: never for text that others chose."""
    return stream.stream if isinstance(stream, Guarded) else stream


def pass_on(text: str, stream: TextIO) -> None:
    """Write what a command printed: escaped on a terminal, as it is into a file or pipe."""
    target = stream if stream.isatty() else unguarded(stream)
    target.write(text)
    target.flush()


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that escapes what it shows, and in which square brackets mean themselves."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

    class Escaping(Console):
        """Control sequences are rich's own, never a text's."""

        def render_str(self, text: str, **options: Any) -> Text:  # before it is measured
            return super().render_str(printable_lines(text), **options)

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable_lines(segment.text))

    return Escaping(
        file=unguarded(sys.stderr if stderr else sys.stdout), markup=False, emoji=False, highlight=False
    )
