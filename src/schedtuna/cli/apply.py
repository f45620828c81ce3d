"""`schedtuna apply`: run a command under what a study proved, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from schedtuna.cli.common import termination_interrupts

app = typer.Typer()


@app.command()
def apply(
    settings: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A study's folder, a file with parameters, or NAME:param=value,...",
            show_default=False,
        ),
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="The command to run, after `--`.", show_default=False),
    ] = None,
    print_unit: Annotated[
        bool, typer.Option("--print-unit", help="Print a systemd drop-in that does it for a service.")
    ] = False,
) -> None:
    """Run COMMAND under the settings that a study proved.

    The settings hold for COMMAND and what it starts. Exits as COMMAND does.
    """
    from schedtuna.errors import UsageError
    from schedtuna.knobs.systemd import drop_in
    from schedtuna.scheduler.lookup import lookup
    from schedtuna.scheduler.parse import parse_scheduler

    chosen = parse_scheduler(settings, lookup)
    if print_unit:
        if not chosen.values:
            raise UsageError(f"{settings} sets nothing: there is no gain to keep")
        study = Path(settings)
        settings = str(study.resolve()) if study.exists() else settings
        wrapper = [os.path.realpath(sys.argv[0]), "apply", settings, "--"]
        print(drop_in(chosen.values, command or [], wrapper=wrapper), end="")
        return
    if not command:
        raise UsageError("no command to run", hint="schedtuna apply STUDY -- COMMAND")
    if not chosen.values:
        print(f"{settings} sets nothing: running under the default scheduling", file=sys.stderr)
    raise typer.Exit(_run(chosen.values, command))


def _run(
    values: dict[str, bool | int | float | str | tuple[int | float | str, ...]], command: list[str]
) -> int:
    """Take the settings on ourselves, so that the command inherits them, and wait."""
    from schedtuna.errors import WorkloadError
    from schedtuna.knobs.base import Scope, Target
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.session import Changes

    with termination_interrupts(), Changes(Target(Scope.TREE, pid=os.getpid()), Journal()) as changes:
        changes.apply(values)
        try:
            child = subprocess.Popen(command)
        except OSError as error:
            raise WorkloadError(
                f"{command[0]}: {error.strerror}", hint="is it installed, and in PATH?"
            ) from None
        code = _wait(child)
    return code if code >= 0 else 128 - code


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for the command; Ctrl-C is its own to answer, SIGTERM is passed on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()
