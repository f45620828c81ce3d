"""What does the manual page say? schedtuna(1), made of the command tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schedtuna import __version__
from schedtuna.cli.tree import CommandEntry, OptionEntry

_EXAMPLES = {
    "tune -- ./bench": "Search settings for a command, and prove the best one on fresh runs.",
    "tune -m 'score:max=regex:score ([0-9.]+)' -- ./bench": "The same for a number that the command prints.",
    "tune --workload interactive-mix": "The same for a bundled workload.",
    "compare default fair:slice_us=500 -- ./bench": "Is one setting better than the default?",
    "apply results/STUDY -- ./bench": "Run a command under what a study proved.",
}
_EXIT_CODES = {
    "0": "Done.",
    "1": "Failed. What `apply` and `lab run` run ends them with its own code.",
    "2": "The command line is wrong.",
    "3": "The kernel, a program or a privilege is missing; the message says which.",
    "130": "Interrupted.",
}
_ENVIRONMENT = {
    "SCHEDTUNA_SCX_PATH": "Folders of sched_ext schedulers, beside PATH.",
    "SCHEDTUNA_STATE_DIR": "Where the journal of changes is, which `undo` reads.",
    "SCHEDTUNA_LAB_DIR": "Where the lab's kernels and guest programs are.",
    "SCHEDTUNA_OBJECTS_DIR": "Where libraries made of schedulers' objects are kept.",
    "SCHEDTUNA_SIM_KERNEL": "The vmlinux or BTF for which the simulator translates sched_ext objects.",
    "SCHEDTUNA_LIBBPF": "Another libbpf.so in place of the one that is installed along.",
    "SCHEDTUNA_DEBUG": "If set, errors show where they came from.",
    "SCHEDTUNA_SEED": "Set for every run: its seed.",
}


def manual_page(tree: CommandEntry) -> str:
    """Return schedtuna(1) as roff, for man(1)."""
    return "\n".join(_lines(tree)) + "\n"


def _lines(tree: CommandEntry) -> Iterator[str]:
    yield f'.TH SCHEDTUNA 1 "" "schedtuna {__version__}" "User Commands"'
    yield from (".SH NAME", r"schedtuna \- make a Linux machine schedule your work better, and prove it")
    yield from (".SH SYNOPSIS", r".B schedtuna", r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]")
    yield from (".SH DESCRIPTION", *map(_text, tree.help))
    yield from (".PP", "What follows is for every command; each takes " + _text("`--help`") + ", too.")
    yield ".SH COMMANDS"
    for command in tree.walk():
        if command.path:
            yield from _command(command)
    for title, rows in (("EXIT STATUS", _EXIT_CODES), ("ENVIRONMENT", _ENVIRONMENT)):
        yield f".SH {title}"
        for name, text in rows.items():
            yield from (".TP", rf"\fB{_text(name)}\fR", _text(text))
    yield ".SH EXAMPLES"
    for line, text in _EXAMPLES.items():
        yield from (".TP", rf"\fB{_text(f'schedtuna {line}')}\fR", _text(text))
    yield from (
        ".SH SEE ALSO",
        r"\fBsched\fR(7), \fBbpf\fR(2), \fBcgroups\fR(7), \fBnice\fR(1), \fBchrt\fR(1)",
    )


def _command(command: CommandEntry) -> Iterator[str]:
    """What a command is called with, what it does, and its options."""
    yield f".SS {_text(command.path)}"
    if command.commands:
        yield _text(command.summary)
        return
    words = [_bold(f"schedtuna {command.path}"), *(["[" + r"\fIOPTIONS\fR" + "]"] * bool(command.options))]
    for argument in command.arguments:
        shown = _italic(argument.placeholder) + " ..." * argument.many
        words.append(shown if argument.required else f"[{shown}]")
    yield " ".join(words)
    for paragraph in command.help:
        yield from (".PP", _text(paragraph))
    for argument in command.arguments:
        if argument.help:
            yield from (".TP", _italic(argument.placeholder), _text(argument.help))
    for option in command.options:
        yield from (".TP", _option(option), _text(option.help))


def _option(option: OptionEntry) -> str:
    names = ", ".join(map(_bold, option.names))
    return f"{names} {_italic(option.placeholder)}" if option.placeholder else names


def _bold(text: str) -> str:
    return rf"\fB{_text(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{_text(text)}\fR"


def _text(text: str) -> str:
    """A text of ours in roff: its own signs escaped, what stands between backticks in bold."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    bold = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", escaped)
    return rf"\&{bold}" if bold.startswith((".", "'")) else bold
