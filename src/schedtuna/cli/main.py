"""Which commands there are, and what becomes of their errors.

Exit codes: 0 done, 1 failed, 2 usage, 3 the kernel or a privilege is missing, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from schedtuna import __version__
from schedtuna.cli.output import print_error
from schedtuna.errors import SchedtunaError

# Command -> the question it answers, as `--help` shows it. A command lives in the module of its
# name (`-` becomes `_`), which is imported only when it runs and defines `app`, a Typer.
COMMANDS: dict[str, str] = {
    "tune": "Search a scheduler's settings for a command, and prove the best one.",
    "compare": "Is scheduler B better than A on this command, and is the difference real?",
    "variability": "How much does a command vary from run to run, here and on another machine?",
    "apply": "Run a command under what a study proved.",
    "schedulers": "Which schedulers are known, and what does an installed one understand?",
    "knobs": "What can be changed here, what is set now, and why can't the rest be?",
    "undo": "Put back what runs that were killed have left changed.",
    "record": "What does the scheduler do, while a command runs or for some time?",
    "top": "Which tasks wait longest for a CPU right now, and why?",
    "suite": "Which workloads come along, and what do they measure on this machine?",
    "doctor": "What can this machine do, what is missing, and may two results be compared?",
}


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and imports the one that runs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Replace the named placeholder by the command itself."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        if name is None or placeholder is None:
            return name, placeholder, rest
        module = importlib.import_module(f"schedtuna.cli.{name.replace('-', '_')}")
        command = typer.main.get_command(module.app)
        command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make this machine schedule your work better, and prove it.",
)


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        print(f"schedtuna {__version__}")
        raise typer.Exit


def build() -> Any:
    """Return the click command of the whole program."""
    group: Any = typer.main.get_command(app)
    for name, help_text in COMMANDS.items():
        group.add_command(TyperCommand(name=name, help=help_text))
    group.invoke_without_command = True  # so that `--version` needs no command
    return group


def main(argv: list[str] | None = None) -> None:
    """Run the command line, and exit with its code."""
    debug = "SCHEDTUNA_DEBUG" in os.environ
    try:
        build()(args=argv, prog_name="schedtuna")
    except SchedtunaError as error:
        if debug:
            raise
        print_error(str(error), hint=error.hint)
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        hint = "free some space and run again" if error.errno == errno.ENOSPC else None
        print_error(str(error), hint=hint)
        sys.exit(1)
