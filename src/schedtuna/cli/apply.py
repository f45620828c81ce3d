"""`schedtuna apply`: run a command under what a study proved, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import find_scheduler, termination_interrupts

if TYPE_CHECKING:
    from schedtuna.space import ParameterValue

app = typer.Typer(add_completion=False)


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
    from schedtuna.knobs.base import Target
    from schedtuna.knobs.systemd import drop_in

    chosen = find_scheduler(settings, Target())
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


def _run(values: dict[str, ParameterValue], command: list[str]) -> int:
    """Start the command held before its exec, take the settings to it, let it go, and wait."""
    from schedtuna.knobs.base import Scope, Target
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.session import Changes
    from schedtuna.workload.command import check
    from schedtuna.workload.spec import Workload

    check(Workload(argv=tuple(command)))
    own_session = "autogroup_nice" in values  # the group of a session is weighed as a whole
    with termination_interrupts():
        pid, gate = _hold(command, own_session=own_session)
        try:
            with Changes(Target(Scope.TREE, pid=pid), Journal()) as changes:
                changes.apply(values)
                os.write(gate, b"go")
                status = _wait(pid, own_session=own_session)
        finally:
            os.close(gate)  # a command that was not let go ends here
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _hold(command: list[str], *, own_session: bool) -> tuple[int, int]:
    """Fork a process that becomes the command once something is written to the returned pipe."""
    waiting, gate = os.pipe()
    ready, done = os.pipe()
    pid = os.fork()
    if pid:
        os.close(waiting)
        os.close(done)
        os.read(ready, 1)  # it leads its session now, where it is to
        os.close(ready)
        return pid, gate
    os.close(gate)
    if own_session:
        os.setsid()
    os.close(done)
    if os.read(waiting, 1):
        with contextlib.suppress(OSError):
            os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    os._exit(127)


def _wait(pid: int, *, own_session: bool) -> int:
    """Wait for the command, and leave signals to it: the terminal's Ctrl-C reaches it by itself."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    signal.signal(signal.SIGINT, forward if own_session else signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    return os.waitpid(pid, 0)[1]
