"""Runs a command under what a study chose: for its own work, not to be measured.

The command is forked and held before its exec. The settings are made to the held process, in the journal
as ever, so all that it starts inherits them; then it is let go. When it has ended, what was in force is
told, and what was changed outside of its own tasks is put back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from schedtuna.backend.base import KERNELS_OWN
from schedtuna.backend.inforce import SettingsWatch, settled, undone
from schedtuna.backend.reach import find_handover, unreached, way_out
from schedtuna.errors import UsageError
from schedtuna.files import TRUST_OPTION, require_consent
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.inforce import Force, SettingFinding
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.session import Changes
from schedtuna.knobs.systemd import drop_in, drop_in_once_started
from schedtuna.scheduler.control import find_program
from schedtuna.scheduler.fair import notes
from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.parse import BEST_NAME
from schedtuna.scheduler.scx import ScxProcess, read_state
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue
from schedtuna.workload.clients import handed_by, tell_seen
from schedtuna.workload.command import check
from schedtuna.workload.spec import Workload

Values = Mapping[str, ParameterValue]
Warn = Callable[[str], None]
SETS = "its study proved no gain over the default; NAME:param=value,... in its place sets what you choose"
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def is_for_the_machine(scheduler: SchedulerConfig) -> bool:
    """Whether a scheduler is in charge of the whole machine, and not of a command alone."""
    return scheduler.name not in KERNELS_OWN


def require_trusted_settings(
    settings: str, scheduler: SchedulerConfig, command: Sequence[str], *, trusted: bool
) -> None:
    """Ask before settings are applied that somebody else may have written.

    Args:
        settings: As they were named: a study's folder, a file, or the settings themselves.
        scheduler: What that means.
        command: What will run under them.
        trusted: Whether the user has said that the folder is trusted.

    Raises:
        UsageError: It is said of a folder that is not there.
        UntrustedError: Somebody else could have written them.
    """
    study = Path(settings)
    if study.exists():
        folder, name = (study, BEST_NAME) if study.is_dir() else (study.parent, study.name)
        require_consent(folder, [name], [scheduler.label(), *command], trusted=trusted)
    elif trusted:
        raise UsageError(f"{TRUST_OPTION}: there is no folder or file {settings}")


def service_drop_in(
    settings: str, scheduler: SchedulerConfig, command: Sequence[str], *, trusted: bool, started: bool = False
) -> str:
    """Return the text of a drop-in with which a service keeps the settings; see `require_trusted_settings`.

    Args:
        settings: As they were named.
        scheduler: What that means.
        command: The service's own command, where it is to be started under the settings.
        trusted: Whether the user has said that the folder is trusted.
        started: Whether what systemd can't express may be set once the service has started.

    Raises:
        UsageError: They are for the whole machine, or none at all; or the service's command is needed.
    """
    if is_for_the_machine(scheduler):
        raise UsageError(f"{scheduler.name} is for the whole machine", hint="schedtuna apply --system")
    if not scheduler.values:
        raise UsageError(f"{settings} sets nothing: there is no gain to keep", hint=SETS)
    study, program = Path(settings), [os.path.realpath(sys.argv[0]), "apply"]
    named = str(study.resolve()) if study.exists() else settings
    if started and not command:
        return drop_in_once_started(scheduler.values, program, scheduler.name)
    return drop_in(scheduler.values, command, wrapper=[*program, named, *[TRUST_OPTION] * trusted, "--"])


def run_applied(scheduler: SchedulerConfig, command: Sequence[str], *, warn: Warn) -> int:
    """Run a command under a scheduler and its settings; returns an exit code for it.

    The exit code is the command's, or 128 and the number of the signal that ended it; 1 in place of 0
    where none of the settings was in force.

    Args:
        scheduler: What it runs under.
        command: The command.
        warn: Told what is to be known of the run, while it goes on and afterwards.

    Raises:
        UnavailableError: The scheduler can't run here.
        SchedulerError: It did not start.
        WorkloadError: The command can't be run.
        KnobError: A setting was refused; what was changed by then is put back.
        JournalError: The journal refuses; nothing was changed.
    """
    if not is_for_the_machine(scheduler):
        return _run(scheduler.values, command, warn)
    with closing(HostMachine()) as machine:
        read_state(machine)
        with ScxProcess(machine, scheduler, str(find_program(scheduler))) as running:
            code = _run({}, command, warn)
            if ejected := running.ejected():
                warn(f"the scheduler was ejected: {ejected}\n{running.log()}")
    return code


def _run(values: Values, command: Sequence[str], warn: Warn) -> int:
    """Start the command held before its exec, take the settings to it, let it go, and wait."""
    workload = Workload(argv=tuple(command))
    check(workload)
    reached = _warn_of_clients(values, workload, warn)
    for note in notes(Target(), values):
        warn(note)
    own_session = "autogroup_nice" in values  # the group of a session is weighed as a whole
    with _own_handlers(), closing(SettingsWatch(early=_early(values, workload, warn))) as watch:
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
    in_force = settled(watched.findings(), workload)
    if changes.undone:
        warn(f"`schedtuna undo --force` put {', '.join(sorted(changes.undone))} back while it ran")
    if told := what_held(in_force, values, workload):
        warn(told)
    if reached and values and (clients := handed_by(row.name for row in watched.seen)):
        warn(tell_seen(clients))
    return code or int(bool(values) and not (reached and _any_held(in_force, values)))


def _warn_of_clients(values: Values, workload: Workload, warn: Warn) -> bool:
    """Warn where the command has others do its work; return whether a setting reaches the work."""
    handed = find_handover(workload)
    missed = unreached(handed, values)
    if handed is None or not missed:
        return True
    warn(f"{handed}, out of reach of {', '.join(missed)}: {way_out(handed)}")
    return not handed.program.alone or len(missed) < len(values)


def _early(values: Values, workload: Workload, warn: Warn) -> Callable[[Mapping[str, SettingFinding]], None]:
    """What tells of a command that goes on for long, once it has undone a setting."""

    def tell(found: Mapping[str, SettingFinding]) -> None:
        if reason := undone({name: str(one) for name, one in found.items()}, values, workload):
            warn(f"so far, {reason}")

    return tell


def what_held(in_force: Mapping[str, str], values: Values, workload: Workload) -> str:
    """Say which settings were in force; empty where all were.

    Args:
        in_force: What became of each setting: the texts of findings.
        values: The settings.
        workload: What ran.
    """
    force = _forces(in_force, values)
    told = [reason] if (reason := undone(in_force, values, workload)) else []
    told += [
        f"{name}={values[name]}: {in_force[name]}"
        for name, found in force.items()
        if found in (Force.PARTLY, Force.NOT_CHECKED)
    ]
    held = ", ".join(f"{name}={values[name]}" for name in values if force[name] is Force.IN_FORCE)
    return f"{'; '.join(told)}; in force: {held or 'nothing'}" if told else ""


def _any_held(in_force: Mapping[str, str], values: Values) -> bool:
    """Whether any setting was in force, or may have been."""
    return any(found is not Force.UNDONE for found in _forces(in_force, values).values())


def _forces(in_force: Mapping[str, str], values: Values) -> dict[str, Force]:
    return {name: Force.of(in_force.get(name, Force.IN_FORCE)) for name in values}


@contextlib.contextmanager
def _own_handlers() -> Iterator[None]:
    """Put the handlers of signals back once all is reverted: nothing interrupts that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hold(command: Sequence[str], *, own_session: bool) -> tuple[int, int]:
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
            os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
    os._exit(127)


def _let_go(pid: int, gate: int, *, own_session: bool) -> int:
    """Let the command go and wait; leave signals to it, as the terminal's Ctrl-C reaches it by itself."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    signal.signal(signal.SIGINT, forward if own_session else signal.SIG_IGN)
    for number in _ENDING:
        signal.signal(number, forward)
    os.write(gate, b"go")
    return os.waitpid(pid, 0)[1]
