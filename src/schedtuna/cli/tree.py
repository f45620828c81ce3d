"""Which commands, options and arguments are there, and what can stand for each? As data, of typer's commands.

The shells' completions and the manual page are made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from schedtuna.backend.places.registry import PLACES, URLS
from schedtuna.cli.main import COMMANDS, build, load
from schedtuna.errors import UnavailableError

# What can stand for a value, beside words: whatever, and what a shell itself knows.
TEXT, FILES, FOLDERS, STUDIES, COMMAND = "text", "files", "folders", "studies", "command"
SCHEDULERS, METRICS, KNOBS = "schedulers", "metrics", "knobs"
SIMULATED = "simulated"
WORKLOADS, SAMPLERS, LEARNERS, PARSERS = "workloads", "samplers", "learners", "parsers"

# What can stand for an option's value, in whichever command it is, or in one that has it another way.
_OPTIONS = {
    "--scheduler": SCHEDULERS,
    "--metric": METRICS,
    "--recalculate": METRICS,
    "--include": KNOBS,
    "--exclude": KNOBS,
    "--workload": WORKLOADS,
    "--sampler": SAMPLERS,
    "replay --sampler": LEARNERS,
    "sim run --scheduler": SIMULATED,
    "--parser": PARSERS,
    "--backend": " ".join(name for name in PLACES if name != URLS),
    "--resume": STUDIES,
    "--warm-start": STUDIES,
}
# What can stand for a command's argument.
_ARGUMENTS = {
    "compare A": SCHEDULERS,
    "compare B": SCHEDULERS,
    "bisect RELEASE": SCHEDULERS,
    "apply STUDY": STUDIES,
    "analyze DIR": STUDIES,
    "schedulers show NAME": SCHEDULERS,
    "schedulers start NAME": SCHEDULERS,
    "schedulers switch NAME": SCHEDULERS,
    "schedulers set NAME": SCHEDULERS,
    "sim run WORKLOAD": FILES,
    "suite run NAME": WORKLOADS,
    "suite record NAME": WORKLOADS,
    "trace diff A": FOLDERS,
    "trace diff B": FOLDERS,
}
# The same by what stands for it in help texts.
_PLACEHOLDERS = (
    ("COMMAND", COMMAND),
    ("DIR", FOLDERS),
    ("TRACE", FOLDERS),
    ("DATASET", FOLDERS),
    ("FILE", FILES),
    ("BINARY", FILES),
    ("MODEL", FILES),
    ("NET", FILES),
    ("OUT.", FILES),
)
_CHOICES = re.compile(r"[<\[]?(?:list\[)?((?:[a-z][a-z-]*\|)+[a-z][a-z-]*)\]?[>\]]?")


@dataclass(frozen=True)
class OptionEntry:
    """One option of a command.

    Attributes:
        names: As they are typed, the main one first.
        placeholder: What stands for its value in help texts; empty for a switch.
        help: What it does, in one paragraph.
        values: What its value can be: a kind, or the words themselves; empty for a switch.
    """

    names: tuple[str, ...]
    placeholder: str
    help: str
    values: str


@dataclass(frozen=True)
class ArgumentEntry:
    """One argument of a command.

    Attributes:
        placeholder: What stands for it in help texts.
        many: Whether there may be several.
        required: Whether there must be one.
        help: What it is, in one paragraph.
        values: What it can be: a kind, or the words themselves.
    """

    placeholder: str
    many: bool
    required: bool
    help: str
    values: str


@dataclass(frozen=True)
class CommandEntry:
    """One command, or a group of them.

    Attributes:
        path: Its name behind the program's: ``lab setup``; empty for the program itself.
        summary: The first sentence of its help.
        help: All of its help, in paragraphs.
        options: Its options, but for ``--help``.
        arguments: Its arguments, in order.
        commands: The commands of a group.
    """

    path: str
    summary: str
    help: tuple[str, ...]
    options: tuple[OptionEntry, ...]
    arguments: tuple[ArgumentEntry, ...]
    commands: tuple[CommandEntry, ...]

    @property
    def name(self) -> str:
        """The last word of its path."""
        return self.path.rpartition(" ")[2]

    def walk(self) -> Iterator[CommandEntry]:
        """Iterate over this command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_tree() -> CommandEntry:
    """Return the whole program: every module of a command is imported."""
    program = build()
    return _entry(program, "", [(name, load(name)) for name in COMMANDS], program.help)


def _entry(command: Any, path: str, below: list[tuple[str, Any]], text: str) -> CommandEntry:
    help_text = text or ""
    paragraphs = tuple(" ".join(part.split()) for part in help_text.split("\n\n") if part.strip())
    with typer.Context(command, info_name=path) as context:
        options = tuple(
            _option(parameter, context)
            for parameter in command.params
            if parameter.param_type_name == "option" and not parameter.hidden
        )
        arguments = tuple(
            _argument(parameter, path)
            for parameter in command.params
            if parameter.param_type_name == "argument" and not getattr(parameter, "hidden", False)
        )
    return CommandEntry(
        path=path,
        summary=COMMANDS.get(path) or (paragraphs[0].partition(". ")[0] if paragraphs else ""),
        help=paragraphs,
        options=options,
        arguments=arguments,
        commands=tuple(
            _entry(found, f"{path} {name}".strip(), sorted_commands(found), found.help)
            for name, found in below
        ),
    )


def sorted_commands(command: Any) -> list[tuple[str, Any]]:
    """Return the commands of a group by name, in the order in which its help shows them."""
    return [(name, found) for name, found in getattr(command, "commands", {}).items() if not found.hidden]


def _option(parameter: Any, context: Any) -> OptionEntry:
    names = tuple(sorted(parameter.opts, key=lambda name: not name.startswith("--")))
    text = " ".join((parameter.help or "").split())
    if parameter.is_flag:
        return OptionEntry((*names, *parameter.secondary_opts), "", text, "")
    placeholder = _placeholder(parameter, context)
    choices = _CHOICES.fullmatch(placeholder)
    own = [f"{context.info_name} {name}" for name in names]
    named = next((_OPTIONS[name] for name in (*own, *names) if name in _OPTIONS), "")
    values = choices[1].replace("|", " ") if choices else named or _by_name(placeholder)
    return OptionEntry(names, choices[1] if choices else placeholder, text, values)


def _placeholder(parameter: Any, context: Any) -> str:
    """What stands for the value: as it is said, or the choices; a type has no name here."""
    if parameter.metavar:
        return str(parameter.metavar)
    shown = str(parameter.get_help_record(context)[0]).rpartition(" --")[2].partition(" ")[2]
    return shown if _CHOICES.fullmatch(shown) else "N" if "int" in shown.lower() else "VALUE"


def _argument(parameter: Any, path: str) -> ArgumentEntry:
    placeholder = re.sub(r"\.\.\.|[\[\]]", "", parameter.metavar or parameter.name.upper())
    choices = placeholder.replace("|", " ") if _CHOICES.fullmatch(placeholder) else ""
    return ArgumentEntry(
        placeholder=placeholder,
        many=parameter.nargs != 1,
        required=parameter.required,
        help=" ".join((parameter.help or "").split()),
        values=choices or _ARGUMENTS.get(f"{path} {placeholder}") or _by_name(placeholder),
    )


def _by_name(placeholder: str) -> str:
    return next((kind for mark, kind in _PLACEHOLDERS if placeholder.startswith(mark)), TEXT)


def known_words() -> dict[str, list[str]]:
    """Return the words of each kind that has some, in the order in which they are shown."""
    from schedtuna.knobs.registry import all_knobs
    from schedtuna.samplers.registry import SAMPLERS as NAMED
    from schedtuna.samplers.registry import learners
    from schedtuna.scheduler.entry import entries
    from schedtuna.workload.own_metrics import OWN_FIELDS
    from schedtuna.workload.parsers import PARSERS as READ
    from schedtuna.workload.suite import ROWS

    fields = [field.name for parser in READ.values() for field in parser.fields]
    own = [field.name for field in OWN_FIELDS]
    return {
        SCHEDULERS: ["default", "fair", *sorted(entries())],
        METRICS: list(dict.fromkeys(["throughput", "latency", *own, *(f for f in fields if "NN" not in f)])),
        KNOBS: [knob.name for knob in all_knobs()],
        WORKLOADS: [row.name for row in ROWS],
        SAMPLERS: [*NAMED, "all"],
        LEARNERS: learners(),
        PARSERS: list(READ),
        SIMULATED: _simulated(),
    }


def _simulated() -> list[str]:
    """The simulator's schedulers; none where it is not installed."""
    try:
        from schedtuna.sim.schedulers import native_schedulers
    except UnavailableError:
        return []
    return list(native_schedulers())


def known_parameters() -> dict[str, list[str]]:
    """Return what can be set of each scheduler, by its name."""
    from schedtuna.knobs.registry import all_knobs
    from schedtuna.scheduler.entry import entries
    from schedtuna.scheduler.lookup import registered

    found = {name: list(registered(name).parameters) for name in sorted(entries())}
    return {"fair": [knob.name for knob in all_knobs()], **{name: of for name, of in found.items() if of}}
