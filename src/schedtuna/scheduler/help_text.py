"""Which flags does a `--help` text list, and what does it say of each?

Read are clap's layouts, short (the text beside a flag) and long (the text below it), argparse's, and what
users of getopt write by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schedtuna.errors import UsageError
from schedtuna.printable import without_sequences
from schedtuna.scheduler.entry import FlagKind

# " <US>", "[=<US>]", " <LOW> <HIGH>", " <MASKS>...", " [<US>...]", " US", "=US", " {fast,slow}"
_VALUE = r"[ =]?\[?=?<[^<>]{1,200}>(?:\.\.\.)?\]?|[ =]\[?[A-Z][A-Z0-9_|-]*\]?|[ =]\{[^{}]{1,2000}\}"
_NAME = re.compile(rf"(?P<name>--\w[\w-]*(?:\.[\w-]+)*|-\w)(?P<value>(?:{_VALUE})*)(?P<more>\.\.\.)?(?:, |$)")
_LINE = re.compile(r" {2,8}(?P<head>-\S.*?)(?:\s{2,}(?P<text>\S.*))?")
_NOTE = re.compile(r"\[(default|possible values|aliases|short aliases|env): ?([^\[\]]{0,2000})\]")
_SAID = re.compile(r"\(default:? ([^()\s]{1,200})\)")
_CHOICES_BELOW = "Possible values:"
_CHOICE_LINE = re.compile(r"\s+- ([\w.-]+)(?::.*)?")
_DEPRECATED = re.compile(r"\bdeprecated\b", re.IGNORECASE)


@dataclass(frozen=True)
class HelpFlag:
    """One flag, as a help text states it.

    Attributes:
        flag: Its long name, or the short one where there is no long one.
        short: Its short name; may be empty.
        kind: What it takes.
        default: As printed, without quotes; None where none is.
        choices: The values that it takes, where they are listed.
        text: What it says of itself; paragraphs are parted by newlines.
        repeated: Whether it takes several values.
    """

    flag: str
    short: str
    kind: FlagKind
    default: str | None
    choices: tuple[str, ...]
    text: str
    repeated: bool = False

    @property
    def is_deprecated(self) -> bool:
        """Whether it says so."""
        return bool(_DEPRECATED.search(self.text))

    def summary(self, most: int = 200) -> str:
        """Return its first paragraph; one of more than `most` characters is cut at a sentence or a word."""
        text = self.text.partition("\n")[0]
        if len(text) <= most:
            return text
        sentences = text[: most + 1].rpartition(". ")[0]
        return f"{sentences}." if sentences else f"{text[: most - 3].rpartition(' ')[0]} ..."


def parse_help(text: str) -> dict[str, HelpFlag]:
    """Return the flags of a help text by their names, in its order.

    Raises:
        UsageError: There is no flag in it.
    """
    flags: dict[str, HelpFlag] = {}
    for head, body in _entries(without_sequences(text).replace("\t", " " * 8).splitlines()):
        flag = _flag(head, body)
        flags.setdefault(flag.flag, flag)
    if not flags:
        raise UsageError(
            "no flag could be read from its --help",
            hint="describe the scheduler in a file: docs/sched-ext.md, section A scheduler of your own",
        )
    return flags


def about(text: str) -> str:
    """Return the first line of a help text, which says what the program is; empty where that is its usage."""
    first = next((line.strip() for line in without_sequences(text).splitlines() if line.strip()), "")
    return "" if first.lower().startswith("usage") or first.startswith("-") else first[:200]


def _entries(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag's names with their values, and the lines of its text."""
    head, body = "", [""]
    for line in lines:
        found = _LINE.fullmatch(line.rstrip())
        if found is not None and _NAME.sub("", found["head"]):  # a sentence that begins with a dash
            found = None
        if head and (found or line[:1].strip()):  # a line at the margin is the heading of a section
            yield head, body
            head = ""
        if found is not None:
            head, body = found["head"], [found["text"] or ""]
        elif head:
            body.append(line)
    if head:
        yield head, body


def _flag(head: str, body: Sequence[str]) -> HelpFlag:
    names = [*_NAME.finditer(head)]
    long = [name["name"] for name in names if name["name"].startswith("--")]
    short = [name["name"] for name in names if not name["name"].startswith("--")]
    value = max((name["value"] for name in names), key=len)
    text = _paragraphs(body)
    notes = {note[1]: note[2] for note in _NOTE.finditer(text.replace("\n", " "))}
    said = _SAID.search(text)
    default = notes.get("default", said[1] if said else None)
    choices = tuple(dict.fromkeys(_choices(value, notes, body)))
    kind: FlagKind = "value"
    if not value:
        kind = "count" if any(name["more"] for name in names) else "switch"
    elif set(choices) == {"true", "false"}:
        kind = "boolean"
    plain = _NOTE.sub("", text.partition(_CHOICES_BELOW)[0])
    return HelpFlag(
        flag=(long or short)[0],
        short=short[0] if short else "",
        kind=kind,
        default=None if default is None else default.strip().strip('"'),
        choices=choices,
        text="\n".join(line for part in plain.split("\n") if (line := " ".join(part.split()))),
        repeated="..." in value or len(re.findall(_VALUE, value)) > 1,
    )


def _choices(value: str, notes: dict[str, str], body: Sequence[str]) -> tuple[str, ...]:
    if "possible values" in notes:
        return tuple(part.strip() for part in notes["possible values"].split(","))
    if "{" in value:
        return tuple(part.strip() for part in value.partition("{")[2].rstrip("}").split(","))
    below = [line.strip() for line in body]
    at = below.index(_CHOICES_BELOW) if _CHOICES_BELOW in below else len(body)
    return tuple(match[1] for line in body[at:] if (match := _CHOICE_LINE.fullmatch(line)))


def _paragraphs(body: Sequence[str]) -> str:
    """The lines of each paragraph as one line."""
    text = "\n".join(line.strip() for line in body)
    return "\n".join(part for blank in text.split("\n\n") if (part := " ".join(blank.split())))
