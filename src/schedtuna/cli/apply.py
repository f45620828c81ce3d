"""`schedtuna apply`: run a command under what a study proved, or install a scheduler that it chose."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.common import find_scheduler, termination_interrupts
from schedtuna.cli.options import OptionalCommandArgument, TrustOption
from schedtuna.cli.output import print_remark

if TYPE_CHECKING:
    from schedtuna.knobs.inforce import Finding
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.space import ParameterValue
    from schedtuna.workload.spec import Workload

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
) -> None:
    """Run COMMAND under the settings that a study proved.

    The settings hold for COMMAND and what it starts. Exits as COMMAND does. With --system there is no
    command: the scheduler becomes a systemd unit, which `schedtuna undo` removes.
    """
    from schedtuna.errors import UsageError
    from schedtuna.files import TRUST_OPTION, require_consent
    from schedtuna.knobs.base import Target
    from schedtuna.knobs.systemd import drop_in
    from schedtuna.scheduler.fair import NAME as FAIR
    from schedtuna.scheduler.parse import BEST_NAME, DEFAULT

    chosen = find_scheduler(settings, Target())
    if trust_folder and not Path(settings).exists():
        raise UsageError(f"--trust-folder: there is no folder or file {settings}")
    if Path(settings).exists():
        study = Path(settings)
        folder, name = (study, BEST_NAME) if study.is_dir() else (study.parent, study.name)
        what = [chosen.label(), *(command or ())]
        require_consent(folder, [name], what, trusted=trust_folder)
    loaded = chosen.name not in (FAIR, DEFAULT)
    if root != Path("/") and not system:
        raise UsageError("--root needs --system")
    if system:
        if command:
            raise UsageError("--system takes no command: it is for the whole machine")
        if not loaded:
            raise UsageError(
                f"{settings} is the kernel's own scheduler: there is no other to install",
                hint="`--print-unit` makes a service keep its settings",
            )
        _install(chosen, root)
        return
    if print_unit:
        if loaded:
            raise UsageError(f"{chosen.name} is for the whole machine", hint="schedtuna apply --system")
        if not chosen.values:
            raise UsageError(f"{settings} sets nothing: there is no gain to keep")
        study = Path(settings)
        settings = str(study.resolve()) if study.exists() else settings
        trusted = [TRUST_OPTION] * trust_folder
        wrapper = [os.path.realpath(sys.argv[0]), "apply", settings, *trusted, "--"]
        print(drop_in(chosen.values, command or [], wrapper=wrapper), end="")
        return
    if not command:
        raise UsageError("no command to run", hint="schedtuna apply STUDY -- COMMAND")
    if loaded:
        raise typer.Exit(_run_under(chosen, command))
    if not chosen.values:
        print(f"{settings} sets nothing: running under the default scheduling", file=sys.stderr)
    raise typer.Exit(_run(chosen.values, command))


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


def _run_under(scheduler: SchedulerConfig, command: list[str]) -> int:
    """Run the command while a sched_ext scheduler is in charge of the machine."""
    from schedtuna.scheduler.control import find_program
    from schedtuna.scheduler.host import HostMachine
    from schedtuna.scheduler.scx import ScxProcess, read_state

    with closing(HostMachine()) as machine, termination_interrupts():
        read_state(machine)
        with ScxProcess(machine, scheduler, str(find_program(scheduler))) as running:
            code = _run({}, command)
            if ejected := running.ejected():
                print_remark(
                    "warning", f"the scheduler was ejected: {ejected}\n{running.log()}", file=sys.stderr
                )
    return code


def _run(values: dict[str, ParameterValue], command: list[str]) -> int:
    """Start the command held before its exec, take the settings to it, let it go, and wait.

    Returns 1 in place of 0 where none of the settings was in force.
    """
    from schedtuna.backend.inforce import SettingsWatch, settled
    from schedtuna.knobs.base import Scope, Target
    from schedtuna.knobs.journal import Journal
    from schedtuna.knobs.session import Changes
    from schedtuna.workload.clients import handed_by, tell_seen
    from schedtuna.workload.command import check
    from schedtuna.workload.spec import Workload

    workload = Workload(argv=tuple(command))
    check(workload)
    reached = _warn_of_clients(values, workload)
    own_session = "autogroup_nice" in values  # the group of a session is weighed as a whole
    with termination_interrupts(), closing(SettingsWatch(early=_tell_early(values, workload))) as watch:
        pid, gate = _hold(command, own_session=own_session)
        target = Target(Scope.TREE, pid=pid)
        try:
            with Changes(target, Journal()) as changes:
                changes.apply(values)
                with watch.watching(target, values) as watched:
                    status = _let_go(pid, gate, own_session=own_session)
        finally:
            os.close(gate)  # a command that was not let go ends here
    code = os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    in_force = _tell(settled(watched.findings(), workload), values, workload)
    if reached and values and (clients := handed_by(row.name for row in watched.seen)):
        print_remark("warning", tell_seen(clients), file=sys.stderr)
    return code or int(bool(values) and not (reached and in_force))


def _warn_of_clients(values: dict[str, ParameterValue], workload: Workload) -> bool:
    """Warn where the command has others do its work; return whether a setting reaches the work."""
    from schedtuna.experiment.reach import find_handover, unreached, way_out

    handed = find_handover(workload)
    missed = unreached(handed, values)
    if handed is None or not missed:
        return True
    told = f"{handed}, out of reach of {', '.join(missed)}: {way_out(handed)}"
    print_remark("warning", told, file=sys.stderr)
    return not handed.program.alone or len(missed) < len(values)


def _tell_early(
    values: dict[str, ParameterValue], workload: Workload
) -> Callable[[Mapping[str, Finding]], None]:
    """What tells of a command that goes on for long, once it has undone a setting."""
    from schedtuna.backend.inforce import undone

    def tell(found: Mapping[str, Finding]) -> None:
        if reason := undone({name: str(one) for name, one in found.items()}, values, workload):
            print_remark("warning", f"so far, {reason}", file=sys.stderr)

    return tell


def _tell(in_force: dict[str, str], values: dict[str, ParameterValue], workload: Workload) -> bool:
    """Say what became of the settings, unless all were in force; return whether any was, or may have been."""
    from schedtuna.backend.inforce import undone
    from schedtuna.knobs.inforce import Force

    force = {name: Force.of(in_force.get(name, Force.IN_FORCE)) for name in values}
    told = [reason] if (reason := undone(in_force, values, workload)) else []
    told += [
        f"{name}={values[name]}: {in_force[name]}"
        for name, found in force.items()
        if found in (Force.PARTLY, Force.NOT_CHECKED)
    ]
    if told:
        held = ", ".join(f"{name}={values[name]}" for name in values if force[name] is Force.IN_FORCE)
        print_remark("warning", f"{'; '.join(told)}; in force: {held or 'nothing'}", file=sys.stderr)
    return any(found is not Force.UNDONE for found in force.values())


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


def _let_go(pid: int, gate: int, *, own_session: bool) -> int:
    """Let the command go and wait; leave signals to it, as the terminal's Ctrl-C reaches it by itself."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    signal.signal(signal.SIGINT, forward if own_session else signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    os.write(gate, b"go")
    return os.waitpid(pid, 0)[1]
