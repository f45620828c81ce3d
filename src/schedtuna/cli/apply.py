"""`schedtuna apply`: run a command under what a study proved, or install a scheduler that it chose."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.options import (
    CgroupOption,
    ForceOption,
    IgnoreLimitsOption,
    OptionalCommandArgument,
    PidOption,
    TrustOption,
    UnitOption,
)
from schedtuna.cli.output import print_remark
from schedtuna.printable import printable

if TYPE_CHECKING:
    from schedtuna.backend.places.host import Host
    from schedtuna.scheduler.spec import SchedulerConfig

app = typer.Typer(add_completion=False)


@app.command()
def apply(  # noqa: PLR0917 - typer's options are a function's parameters
    settings: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A study's folder, a file with parameters, or NAME:param=value,...",
            show_default=False,
        ),
    ],
    command: OptionalCommandArgument = None,
    pid: PidOption = None,
    cgroup: CgroupOption = None,
    unit: UnitOption = None,
    force: ForceOption = None,
    print_unit: Annotated[
        bool, typer.Option("--print-unit", help="Print a systemd drop-in that does it for a service.")
    ] = False,
    system: Annotated[
        bool,
        typer.Option(
            "--system",
            help="Install a sched_ext scheduler and its flags for the whole machine, across reboots.",
        ),
    ] = False,
    root: Annotated[
        Path,
        typer.Option(
            "--root", metavar="DIR", help="With --system: the root folder of another system's files."
        ),
    ] = Path("/"),
    trust_folder: TrustOption = False,
    ignore_limits: IgnoreLimitsOption = False,
) -> None:
    """Run COMMAND under the settings that a study proved.

    The settings hold for COMMAND and what it starts. Exits as COMMAND does. With --pid, --cgroup or --unit
    there is no command: what runs gets the settings, and keeps them until `schedtuna undo`. With --system
    the scheduler becomes a systemd unit, which `schedtuna undo` removes.
    """
    from schedtuna.backend.places.host import Host
    from schedtuna.errors import UsageError
    from schedtuna.knobs.systemd import drop_in_path
    from schedtuna.scheduler.groups import require_honoured
    from schedtuna.tune.apply import (
        is_for_the_machine,
        require_trusted_settings,
        run_applied,
        service_drop_in,
    )

    # What a unit is to have at its start can be printed before it ever ran.
    is_text = print_unit and pid is None and cgroup is None
    place = Host.of(None, pid, cgroup, None if is_text else unit, force=bool(force))
    is_service = place.is_service or unit is not None
    if system and (print_unit or is_service):
        raise UsageError(
            "--system and --print-unit, --pid, --cgroup and --unit contradict each other",
            hint="--system is for the whole machine, the others for one service",
        )
    # Other threads, and the service when it starts anew, may lack what is in force where this is asked.
    chosen = place.scheduler(settings, stated=print_unit or is_service)
    words = command or []
    require_trusted_settings(settings, chosen, words, trusted=trust_folder)
    if root != Path("/") and not system:
        raise UsageError("--root needs --system")
    if system:
        if words:
            raise UsageError("--system takes no command: it is for the whole machine")
        if not is_for_the_machine(chosen):
            raise UsageError(
                f"{settings} is the kernel's own scheduler: there is no other to install",
                hint="`--print-unit` makes a service keep its settings",
            )
        if root == Path("/"):  # of another system's groups nothing is known here
            require_honoured(chosen, ignored=ignore_limits)
        _install(chosen, root)
        return
    if print_unit:
        if unit is not None:
            print(f"# {drop_in_path(unit)}")
        text = service_drop_in(settings, chosen, words, trusted=trust_folder, started=is_service)
        print(text, end="")
        return
    if is_service:
        _keep(chosen, place, words, unit)
        return
    if not words:
        raise UsageError("no command to run", hint="schedtuna apply STUDY -- COMMAND")
    if not is_for_the_machine(chosen) and not chosen.values:
        print(f"{settings} sets nothing: running under the default scheduling", file=sys.stderr)
    with termination_interrupts():
        code = run_applied(chosen, words, warn=lambda text: print_remark("warning", text, file=sys.stderr))
    raise typer.Exit(code)


def _keep(scheduler: SchedulerConfig, place: Host, words: Sequence[str], unit: str | None) -> None:
    """Set what runs, and say what that reaches."""
    from schedtuna.cli.places import made_ready
    from schedtuna.errors import UsageError
    from schedtuna.scheduler.fair import notes
    from schedtuna.tune.keep import keep

    if words:
        raise UsageError(
            "--pid, --cgroup and --unit set what runs: there is no command",
            hint="leave COMMAND out; or leave the option out, and start the service as COMMAND",
        )
    made_ready(place)
    target = place.target()
    for note in notes(target, scheduler.values):
        print_remark("warning", note, file=sys.stderr)
    told, held = keep(scheduler, target)
    for line in told:
        print(printable(line))
    if unit is not None:
        print("--print-unit prints what makes the unit keep it over restarts and boots")
    if not held:
        raise typer.Exit(1)


def _install(scheduler: SchedulerConfig, root: Path) -> None:
    """Write the unit of a scheduler, and say what remains to be done."""
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.unit import UNIT, systemd_runs
    from schedtuna.scheduler.control import install

    path = install(scheduler, Journal(), root=root)
    print(f"{path}: {scheduler.label()}, at every boot; `schedtuna undo` removes it")
    if root != Path("/"):
        print(f"enable it: systemctl --root={root} enable {UNIT}")
    elif not systemd_runs():
        print(f"systemd does not run here: where it does, `systemctl enable --now {UNIT}` starts it")
