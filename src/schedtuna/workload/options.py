"""Which options does a program get? Its words, read as getopt_long(3) reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What must be known of a program's options to find some of them.

    Attributes:
        short: Its short options in getopt's notation: ``qD:t::`` has -q, -D with an argument, and -t
            with one that only the same word can hold. Letters that are not here take none.
        long: Long options of interest, and those whose argument may be the next word (``json:``).
        one_dash: Whether long options may begin with a single dash, as with getopt_long_only(3).
    """

    short: str = ""
    long: str = ""
    one_dash: bool = False

    def given(self, words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        """Iterate over the options in a program's words: (``-D`` or ``--json``, its argument or None)."""
        rest = iter(words)
        for word in rest:
            if word == "--":
                return
            if word.startswith("--") or (self.one_dash and len(word) > 2 and word.startswith("-")):
                name, equals, value = word.lstrip("-").partition("=")
                full = self._full_name(name)
                takes_next = f"{full}:" in self.long.split() and not equals
                yield f"--{full}", next(rest, None) if takes_next else value if equals else None
            elif word.startswith("-"):
                yield from self._cluster(word[1:], rest)

    def values(self, words: Sequence[str], names: Sequence[str]) -> list[str]:
        """Return the arguments that these options have, in the order of the words."""
        return [value for name, value in self.given(words) if name in names and value]

    def _full_name(self, name: str) -> str:
        """What an unambiguous prefix of a known option stands for; itself else."""
        known = [option.rstrip(":") for option in self.long.split()]
        meant = [option for option in known if option.startswith(name)]
        return meant[0] if name and name not in known and len(meant) == 1 else name

    def _cluster(self, letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str | None]]:
        for at, letter in enumerate(letters, 1):
            takes = self.short.partition(letter)[2] if letter not in ":=" else ""
            if not takes.startswith(":"):
                yield f"-{letter}", None
                continue
            value = letters[at:] or (None if takes.startswith("::") else next(rest, None))
            yield f"-{letter}", value
            return
