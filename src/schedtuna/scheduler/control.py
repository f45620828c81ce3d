"""Starts, stops and swaps sched_ext schedulers on this host, so that they stay until somebody ends them.

**What is in charge.** A sched_ext scheduler is in charge as long as its program holds it: when the program
ends, however it ends, the kernel takes the scheduler out and goes back to its own. The kernel lets in one
at a time. So there is always a scheduler, and what this module keeps track of is one program:

    kernel disabled, no record      the kernel's own scheduler
    kernel disabled, open record    a program that has not got in yet, or one that was thrown out
    kernel enabled, open record     ours: `stop`, `switch` and `undo` end its program
    kernel enabled, no record       somebody else's: it is left alone, and a start is refused

The record is in the journal, on disk, before the program runs. It names the program by its number and
start time, so that no other process that has got the number is ever stopped. Whether ours is in charge is
read from the kernel each time, by the name and the count of those that were let in, and never remembered.

**What may go wrong, and when.**

- Killed before the record is on disk: the program waits before its exec for a word from us, reads the end
  of the pipe instead, and leaves. Between the record and the word it is the same; the record then names a
  process that has gone, which `undo` closes.
- Killed while the verifier works, or later: the program goes on, as it is meant to; `undo` ends it.
- The program exits, is refused, or is not let in within the time: it is stopped, and the record closed.
  An interrupt during the start does the same.
- Two start at once: the kernel lets one in. The other sees another name, or a count that is higher by two,
  and takes its own program back.
- The scheduler is thrown out later (a stall, an error): the kernel's own is back at once, without us.
- The program ignores SIGINT: SIGKILL; the kernel cleans up. One that does not go even so is reported as
  stuck, with the key that makes the kernel let go.
- A swap goes over the kernel's own scheduler. Killed between the two, that one stays in charge. Where the
  new one does not start, the old one is started again.
- A reboot ends everything; the record is of another boot, and is closed. What is to outlast a reboot is a
  systemd unit, whose record outlives the boot, too.

**scx_loader.** Where that service runs, it would compete for being in charge, so it is asked instead. Then
the record says what it ran before, and `undo` asks it for that.

**Privilege.** What runs here runs as root. Only registered schedulers and named BPF objects do, from files
that nobody but root and their owner, who is us, can write; not even the --help of others is asked for.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import SchedtunaError, UnavailableError, UsageError, nearest
from schedtuna.files import distrusted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import ProcessSubject, Record, scheduler_of
from schedtuna.knobs.scheduler_process import is_named, is_of
from schedtuna.knobs.scx_loader import LoaderScheduler, LoaderService, arguments_state
from schedtuna.knobs.state import state_directory
from schedtuna.knobs.systemd import scheduler_unit
from schedtuna.knobs.undo import revert_records
from schedtuna.knobs.unit import SystemUnit
from schedtuna.machine.tasks import is_alive
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.groups import require_honoured
from schedtuna.scheduler.host import HostMachine, LastingMachine
from schedtuna.scheduler.live import LiveSettings, change, read_live
from schedtuna.scheduler.lookup import registered
from schedtuna.scheduler.objects import host_command, is_object
from schedtuna.scheduler.parse import DEFAULT, parse_scheduler
from schedtuna.scheduler.probe import configured, installed, probe
from schedtuna.scheduler.registry import names
from schedtuna.scheduler.scx import (
    DISABLED,
    ENABLED,
    START_WITHIN_S,
    Machine,
    SchedulerError,
    ScxProcess,
    ScxState,
    StuckSchedulerError,
    read_events,
    read_state,
)
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.stall import StallProbe
from schedtuna.scheduler.watch import PREFIX

_BASELINE_S = 0.5


@dataclass(frozen=True)
class Running:
    """A scheduler that this program started and that runs.

    Attributes:
        record: Its change in the journal.
        pid: Its program.
        label: Its name and values: ``scx_simple:fifo=true``.
    """

    record: Record
    pid: int
    label: str


@dataclass(frozen=True)
class SwitchCost:
    """What a swap took.

    Attributes:
        disable_s: From the order to stop until the kernel's own scheduler was back; 0: none ran, or
            scx_loader swapped, which does both at once.
        enable_s: From the start of the program until it was in charge, the verifier included.
        longest_stall_s: The longest that a task on any CPU was kept waiting meanwhile.
        usual_stall_s: The same in the half second before.
    """

    disable_s: float
    enable_s: float
    longest_stall_s: float
    usual_stall_s: float


def find_running(journal: Journal) -> Running | None:
    """Return the scheduler that was started here and still runs."""
    for record in reversed(journal.open_records()):
        subject = record.subject
        if isinstance(subject, ProcessSubject) and is_alive(subject.pid, subject.start_ticks):
            return Running(record, subject.pid, scheduler_of(record.new))
    return None


def find_installed(name: str) -> SchedulerConfig:
    """Return a registered scheduler with the parameters that the installed program has.

    Raises:
        UsageError: No scheduler of this name is registered.
    """
    known = registered(name)
    path = installed().get(name)
    if path is None or name not in entries() or known != entries()[name].config():
        return known
    if distrusted(Path(path).resolve()):  # then not even its --help is run with privilege
        return known
    try:
        return configured(probe(path), entries()[name])
    except (UsageError, UnavailableError):  # it has no --help that can be read
        return known


def find_registered(text: str, *, stated: bool = False) -> SchedulerConfig:
    """Return the scheduler and values that a text means, where it may be put in charge of a machine.

    Args:
        text: See `scheduler.parse`.
        stated: Whether values that are the default's stay in it, too.

    Raises:
        UsageError: It is the kernel's own; or there is none, no such parameter or value.
    """
    if text.partition(":")[0] in (FAIR, DEFAULT):
        raise UsageError(
            "the kernel's own scheduler is in charge where no other is", hint="schedtuna schedulers stop"
        )
    return parse_scheduler(text, find_installed, stated=stated)


def find_program(scheduler: SchedulerConfig) -> Path:
    """Return the program of a scheduler that may run with privilege.

    Raises:
        UsageError: No scheduler of this name is registered.
        UnavailableError: It is not installed, or others can write it.
    """
    if scheduler.name not in set(names()) and not is_object(scheduler.binary_path):
        raise UsageError(
            f"{scheduler.name} is not a registered sched_ext scheduler", hint=nearest(scheduler.name, names())
        )
    path = scheduler.binary_path or installed().get(scheduler.name)
    if path is None:
        raise UnavailableError(
            f"{scheduler.name} is not installed", hint="put its folder into SCHEDTUNA_SCX_PATH or PATH"
        )
    program = Path(path).resolve()
    if problem := distrusted(program):
        raise UnavailableError(
            f"{program} would run with privilege, but {problem}",
            hint="install it where only root can write, such as /usr/local/bin",
        )
    return program


def start(
    scheduler: SchedulerConfig,
    journal: Journal,
    *,
    loader: LoaderService | None = None,
    within_s: float = START_WITHIN_S,
    ignore_limits: bool = False,
) -> ScxState:
    """Start a scheduler that stays in charge; returns the kernel's state.

    Raises:
        UsageError: Control groups ask for what it does not give, and that is not to be ignored.
        UnavailableError: The kernel has no sched_ext, another scheduler is in charge, or this one is
            not installed.
        SchedulerError: It does not start; the machine is back on its default scheduler.
        KnobError: scx_loader runs, and refuses.
        JournalError: The journal refuses; nothing was started.
    """
    machine = HostMachine()
    before = read_state(machine)
    require_honoured(scheduler, ignored=ignore_limits)
    service = loader or LoaderService()
    if service.present():
        if before.state != DISABLED:
            _refuse(before)
        return _ask_loader(service, scheduler, journal, within_s)
    program = find_program(scheduler)
    if before.state != DISABLED:
        _refuse(before)
    return start_program(scheduler, program, journal.fresh(), within_s=within_s).started


def start_program(
    scheduler: SchedulerConfig,
    program: Path,
    journal: Journal,
    *,
    within_s: float = START_WITHIN_S,
    stays: bool = True,
) -> ScxProcess:
    """Put a program's scheduler in charge, written down first; where it fails, nothing is left of it.

    Args:
        scheduler: It, and its values.
        program: As `find_program` returns it.
        journal: A fresh one; the record is in `begun` then.
        within_s: How long it may take.
        stays: Whether it stays in charge when this process has ended.

    Raises:
        UnavailableError: Not by this user; or another one is in charge.
        SchedulerError: It does not start.
        JournalError: The journal refuses; nothing was started.
    """
    if os.geteuid() != 0:
        raise UnavailableError("only root may put a scheduler in charge", hint="run as root")
    log = state_directory() / f"{scheduler.name}.log"
    try:
        return ScxProcess(
            LastingMachine(journal, _named_again(scheduler), log, stays=stays),
            scheduler,
            str(program),
            within_s=within_s,
            argv=host_command(program, command_line(scheduler)),
        )
    except BaseException:
        revert_records(journal.begun, journal)
        raise


def _named_again(scheduler: SchedulerConfig) -> str:
    """Return the text by which a scheduler and its values are found again; an object's is its path."""
    label = scheduler.label()
    if not is_object(scheduler.binary_path) or scheduler.name in set(names()):
        return label
    return f"{scheduler.binary_path}{label.removeprefix(scheduler.name)}"


def _refuse(state: ScxState) -> None:
    raise UnavailableError(
        f"sched_ext is {state.state} with {state.ops or 'another scheduler'}",
        hint="`schedtuna schedulers switch NAME` swaps; `schedtuna schedulers stop` ends it",
    )


def _ask_loader(
    service: LoaderService, scheduler: SchedulerConfig, journal: Journal, within_s: float
) -> ScxState:
    """Let scx_loader run a scheduler, in place of the one that it may run now, and wait for the kernel."""
    LoaderScheduler(service).apply(arguments_state(scheduler.name, command_line(scheduler)), journal)
    name, deadline = scheduler.name, time.monotonic() + within_s
    while True:
        state = read_state(HostMachine())
        if state.state == ENABLED and is_named(state.ops, name):
            return state
        if time.monotonic() > deadline:
            raise SchedulerError(
                f"scx_loader was asked to run {name}, but sched_ext is {state.state} {state.ops}".rstrip(),
                hint="journalctl -u scx_loader",
            )
        time.sleep(0.05)


def stop(journal: Journal, *, loader: LoaderService | None = None) -> str:
    """Stop the scheduler in charge, if it was started here or by scx_loader; returns its name.

    Raises:
        UnavailableError: The kernel has no sched_ext, or somebody else started the scheduler.
        StuckSchedulerError: It did not stop.
        KnobError: scx_loader refuses.
    """
    running = find_running(journal)
    if running is not None:
        (outcome,) = revert_records([running.record], journal)
        if not outcome.closed:
            raise StuckSchedulerError(outcome.reason)
        return running.label
    state = read_state(HostMachine())
    if state.state == DISABLED:
        return ""
    service = loader or LoaderService()
    if service.present() and (found := service.state()).running:
        LoaderScheduler(service).apply(arguments_state("unknown", ()), journal)
        return found.scheduler
    raise UnavailableError(
        f"{state.ops or 'a scheduler'} is in charge, and was not started by schedtuna; it is left alone",
        hint="stop it where it was started: `systemctl stop scx`, or Ctrl-C in its terminal",
    )


def install(scheduler: SchedulerConfig, journal: Journal, *, root: Path = Path("/")) -> Path:
    """Install a scheduler with its flags as a systemd unit; returns the unit's path.

    Where systemd runs, it is started, too. `undo` removes it.

    Raises:
        UsageError: No scheduler of this name is registered.
        UnavailableError: The program is not installed or others can write it, or scx_loader runs, which
            has a configuration of its own.
        KnobError: The unit can't be written or started; then nothing of it remains.
        JournalError: The journal refuses; nothing was written.
    """
    program = find_program(scheduler)
    if root == Path("/") and LoaderService().present():
        raise UnavailableError(
            "scx_loader runs here, and would compete with another service",
            hint="name the scheduler in its configuration, /etc/scx_loader.toml; or disable it first",
        )
    text = scheduler_unit(host_command(program, command_line(scheduler)), scheduler.label())
    return SystemUnit().install(text, journal, root=root)


@dataclass(frozen=True)
class SchedulerStatus:
    """What is in charge of this machine.

    Attributes:
        state: ``disabled``, ``enabling``, ``enabled``, ``disabling``.
        ops: Its name, with its version; empty: the kernel's own scheduler.
        label: Its name and values, where they are known.
        started_by: ``schedtuna``, ``scx_loader``, or empty: somebody else, or nobody.
        pid: Its program, where it is ours.
        switch_all: Whether it schedules all normal tasks.
        enable_seq: How many schedulers were enabled since boot.
        nr_rejected: Tasks that were refused a policy since boot.
        counters: What it (``scx.NAME``) and the kernel (``scx.ev_NAME``) have counted.
        live: What is set of it, where it can be asked.
    """

    state: str
    ops: str
    label: str
    started_by: str
    pid: int | None
    switch_all: bool
    enable_seq: int
    nr_rejected: int
    counters: dict[str, float]
    live: LiveSettings | None = None


def set_values(scheduler: SchedulerConfig) -> tuple[LiveSettings, dict[str, str]]:
    """Set values of the scheduler in charge of this machine; see `live.change`."""
    with closing(HostMachine()) as machine:
        return change(machine, sys.executable, scheduler)


def find_live(machine: Machine, python: str, *, is_ours: bool) -> LiveSettings | None:
    """Return what is set of the scheduler in charge, where its loader is ours."""
    try:
        return read_live(machine, python) if is_ours else None
    except UnavailableError:
        return None


def status(journal: Journal) -> SchedulerStatus:
    """Return what is in charge of this machine, and who started it.

    Raises:
        UnavailableError: The kernel has no sched_ext.
    """
    machine = HostMachine()
    state = read_state(machine)
    running, label, by, pid, program = find_running(journal), "", "", None, ""
    if running is not None and is_of(state.ops, running.label.partition(":")[0], running.pid, machine.read):
        label, by, pid = running.label, "schedtuna", running.pid
        program = next((word for word in running.record.new["argv"] if is_object(word)), "")
    elif state.ops and (service := LoaderService()).present() and (found := service.state()).running:
        label, by = " ".join([found.scheduler, *found.arguments]), "scx_loader"
    events = {f"{PREFIX}ev_{name}": float(number) for name, number in read_events(machine).items() if number}
    return SchedulerStatus(
        state=state.state,
        ops=state.ops,
        label=label,
        started_by=by,
        pid=pid,
        switch_all=state.switch_all,
        enable_seq=state.enable_seq,
        nr_rejected=state.nr_rejected,
        counters=events,
        live=find_live(machine, sys.executable, is_ours=is_object(program)),
    )


def switch(
    scheduler: SchedulerConfig,
    journal: Journal,
    *,
    within_s: float = START_WITHIN_S,
    ignore_limits: bool = False,
) -> SwitchCost:
    """Put a scheduler in charge in place of the one that is, by way of the kernel's own.

    Where it does not start, the one before is started again.

    Raises:
        UsageError, UnavailableError: As `start` and `stop`.
        SchedulerError: It does not start.
        StuckSchedulerError: The one before did not stop.
    """
    read_state(HostMachine())
    require_honoured(scheduler, ignored=ignore_limits)
    service, before = LoaderService(), find_running(journal)
    asked = service.present() and before is None
    if not asked:
        find_program(scheduler)  # before anything is stopped
    machine = HostMachine()
    with StallProbe(machine, sorted(os.sched_getaffinity(0))) as probe:
        time.sleep(_BASELINE_S)
        usual_s = probe.longest_s()
        began = time.monotonic()
        stopped = "" if asked else stop(journal)
        disabled = time.monotonic()
        try:
            if asked:
                _ask_loader(service, scheduler, journal, within_s)
            else:
                start(scheduler, journal, within_s=within_s, ignore_limits=True)
        except SchedulerError as error:
            if before is not None:
                _again(before, journal, error)
            raise
        enabled = time.monotonic()
        cost = SwitchCost(
            disabled - began if stopped else 0.0, enabled - disabled, probe.longest_s(), usual_s
        )
    machine.close()
    return cost


def _again(before: Running, journal: Journal, error: SchedulerError) -> None:
    """Start what ran before."""
    try:
        start(parse_scheduler(before.label, find_installed), journal, ignore_limits=True)
    except SchedtunaError as second:  # such as one whose file this command was not given
        error.add_note(f"nor did {before.label}, which ran before: {second}")
    else:
        error.add_note(f"{before.label} is in charge again")
