"""Options that are known, printed as clap lays them out, are read back: each one, and nothing else."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.scheduler.guess import guess
from schedtuna.scheduler.help_text import HelpFlag, parse_help

WIDTH = 100
MARGIN = " " * 10
# What texts of real schedulers have in them, dashes where a line may begin included.
WORDS = (
    *("slice", "of", "a", "task", "CPUs", "(0", "=", "disabled)", "--other-flag", "-1", "-s,", "e.g.", "0x3"),
    *(
        "e.g.,",
        "[cores]",
        "<X>",
        "don't",
        "100%",
        "3:",
        "LLC",
        "DSQs.",
        "See",
        "Note:",
        "nice",
        "https://a.b/c",
    ),
)
NAMES = st.from_regex(r"[a-z][a-z0-9]{1,9}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)
CHOICES = st.lists(
    st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True), min_size=2, max_size=12, unique=True
)
NUMBERS = st.one_of(
    st.integers(-10, 10**7).map(str),
    st.floats(0.001, 999.0).map(lambda number: f"{number:.3f}"),
    st.integers(0, 2**32).map(hex),
    st.integers(1, 999).map(lambda number: f"{number}ms"),
    st.sampled_from(["auto", '""', ".05", "a/b"]),
)
KINDS = ("switch", "count", "value", "optional", "many", "pair", "boolean", "choice", "explained")


@dataclass(frozen=True)
class Option:
    flag: HelpFlag
    kind: str
    paragraphs: tuple[str, ...]


@st.composite
def options(draw):
    kind = draw(st.sampled_from(KINDS))
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join)
    paragraphs = tuple(draw(st.lists(words, min_size=1, max_size=3)))
    default: str | None = None
    choices: tuple[str, ...] = ()
    if kind in ("value", "optional"):
        default = draw(st.none() | NUMBERS)
    elif kind == "many":
        default = draw(st.none() | st.just("500 2500 5000"))
    elif kind == "boolean":
        choices, default = ("true", "false"), draw(st.sampled_from([None, "true", "false"]))
    elif kind in ("choice", "explained"):
        choices = tuple(draw(CHOICES))
        default = draw(st.none() | st.sampled_from(choices))
    flag = HelpFlag(
        flag=f"--{draw(NAMES)}",
        short=draw(st.sampled_from(["", "-s", "-X", "-1"])),
        kind=kind if kind in ("switch", "count", "boolean") else "value",
        default=default,
        choices=choices,
        text="\n".join(paragraphs),
        repeated=kind in ("many", "pair"),
    )
    return Option(flag, kind, paragraphs)


def head(option: Option) -> str:
    name = option.flag.flag
    value = name[2:].upper().replace("-", "_")
    spelled = {
        "switch": "",
        "count": "...",
        "optional": f"[=<{value}>]",
        "many": f" <{value}>...",
        "pair": " <LOW> <HIGH>",
    }.get(option.kind, f" <{value}>")
    return (f"  {option.flag.short}, " if option.flag.short else " " * 6) + name + spelled


def notes(option: Option) -> list[str]:
    found = [f"[default: {option.flag.default}]"] if option.flag.default is not None else []
    if option.flag.choices and option.kind != "explained":
        found.append(f"[possible values: {', '.join(option.flag.choices)}]")
    return found


def folded(text: str, margin: str = MARGIN) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
        break_long_words=False,
    )


def long_layout(option: Option) -> list[str]:
    lines = [head(option)]
    for paragraph in option.paragraphs:
        lines += [*folded(paragraph), MARGIN]
    if option.kind == "explained":
        lines += [f"{MARGIN}Possible values:"]
        for index, choice in enumerate(option.flag.choices):
            said = f": {'what it does, at some length. ' * (index % 5)}as it says" if index % 3 else ""
            lines += [
                f"{MARGIN}- {line.strip()}" if at == 0 else f"{MARGIN}  {line.strip()}"
                for at, line in enumerate(folded(choice + said))
            ]
        lines += [MARGIN]
    lines += [line for note in notes(option) for line in folded(note)]
    return lines if lines[-1].strip() else lines[:-1]


def short_layout(option: Option, column: int) -> list[str]:
    """Beside the flag from a column on; below it where that is 0."""
    text = " ".join([option.paragraphs[0], *notes(option)])
    if option.kind == "explained":  # the short help only lists them
        text += f" [possible values: {', '.join(option.flag.choices)}]"
    if not column:
        return [head(option), *folded(text)]
    first, *others = folded(text, " " * column)
    return [head(option).ljust(column - 2) + "  " + first.strip(), *others]


FRAME = "scx_toy: a toy\n\nUsage: scx_toy [OPTIONS] [SPECS]...\n\nArguments:\n  [SPECS]...  Files\n\n"


def as_read(option: Option, *, short: bool) -> HelpFlag:
    """What the layout keeps: the quotes of a default are clap's, the short text is the first paragraph."""
    flag = option.flag
    text = option.paragraphs[0] if short else flag.text
    default = None if flag.default is None else flag.default.strip('"')
    return HelpFlag(flag.flag, flag.short, flag.kind, default, flag.choices, text, flag.repeated)


@settings(max_examples=200)
@given(
    st.lists(options(), min_size=1, max_size=4, unique_by=lambda option: option.flag.flag),
    st.sampled_from(["long", "beside", "below"]),
    st.integers(0, 4),
)
def test_clap_s_options_are_read_back(drawn, layout, heading_after):
    widest = max(len(head(option)) for option in drawn)
    blocks = []
    for option in drawn:
        lines = (
            long_layout(option)
            if layout == "long"
            else (short_layout(option, widest + 2 if layout == "beside" and widest < 60 else 0))
        )
        blocks.append("\n".join(lines))
    parting = "\n\n" if layout == "long" else "\n"
    sections = [parting.join(blocks[:heading_after]), parting.join(blocks[heading_after:])]
    text = FRAME + "Options:\n" + "\n\nTopology Options:\n".join(part for part in sections if part) + "\n"
    expected = {option.flag.flag: as_read(option, short=layout != "long") for option in drawn}
    assert parse_help(text) == expected


@settings(max_examples=200)
@given(options())
def test_what_is_guessed_of_a_flag_can_be_given_to_it(option):
    guessed = guess(as_read(option, short=False))
    if isinstance(guessed, str):
        assert guessed  # the reason
        return
    assert guessed.command_arg is not None and guessed.command_arg.startswith(option.flag.flag)
    default = "false" if option.kind == "switch" else as_read(option, short=False).default
    suffix = guessed.command_arg.partition("{value}")[2]
    if isinstance(guessed.default, bool):
        assert default == str(guessed.default).lower()
    elif guessed.choices:
        assert guessed.default == default
    else:
        assert float(default.removesuffix(suffix)) == guessed.default
        assert guessed.min_value < guessed.max_value
