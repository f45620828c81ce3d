"""A user's regular expression: what Python's `re` takes it for, matched by an engine that gives up in time.

`re` may take the square of a line's length, or 2 to its power, and can't be stopped. The package `regex`
reads the same expressions, most of them faster, and counts the CPU time that it takes.
"""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedtuna.errors import UnclearNumberError, UsageError

if TYPE_CHECKING:
    import regex

LIMIT_S = 10.0  # CPU time of a search; 16 MiB of output take a plain pattern 0.1 s
# A brace that begins no repetition, and a bracket within brackets, stand for themselves in `re`; `regex` has
# more meanings for them.
_SPECIAL = re.compile(
    r"(\\N\{[^}]*\}|\\.)|(\[\^?\]?(?:\\.|[^]\\])*\])|\{(?![0-9]*,[0-9]*\}|[0-9]+\})", re.DOTALL
)
_INNER = re.compile(r"(\\.)|\[", re.DOTALL)


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Return a pattern, with ``^`` and ``$`` at lines.

    Raises:
        UsageError: It is not a regular expression.
    """
    import regex

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that [[ may once mean more than it does
            re.compile(pattern)
        return regex.compile(_SPECIAL.sub(_plain, pattern), regex.MULTILINE)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{pattern!r} is not a regular expression: {error}") from error


def _plain(found: re.Match[str]) -> str:
    if found[2]:
        return "[" + _INNER.sub(lambda inner: inner[1] or r"\[", found[2][1:])
    return found[1] or r"\{"


def last_match(pattern: str, text: str) -> regex.Match[str] | None:
    """Return the last match in a text, if there is one; raises as `compile_pattern` and `in_time` do."""
    compiled = compile_pattern(pattern)
    with in_time(pattern):
        found = deque(compiled.finditer(text, timeout=LIMIT_S), maxlen=1)
    return found[0] if found else None


@contextmanager
def in_time(pattern: str) -> Iterator[None]:
    """Have a search that takes too long be an error that helps.

    Raises:
        UnclearNumberError: It took over `LIMIT_S`, which no run is to blame for.
    """
    try:
        yield
    except TimeoutError:
        raise UnclearNumberError(
            f"the pattern {pattern!r} took over {LIMIT_S:g} s of CPU time on this text",
            hint="begin it with the words before the number, such as 'score ([0-9.]+)', and write what other"
            " parts are made of, such as [0-9]+, instead of several \\S+ or .* in a row",
        ) from None
