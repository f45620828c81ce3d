"""Starts, stops and swaps sched_ext schedulers in a named guest, where they stay until somebody ends them.

What was started there is known to the guest's keeper, which ends it unless it came to be in charge; what is
in charge is asked of the guest's kernel. The guest is its owner's alone, so there is no journal.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from schedtuna.backend.places.guest import Guest
from schedtuna.backend.vm import scheduler_program
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.layers import guest_program
from schedtuna.lab.named.guest import NamedGuest
from schedtuna.lab.store import read_lab
from schedtuna.scheduler import live_model
from schedtuna.scheduler.control import SchedulerStatus, SwitchCost, find_live
from schedtuna.scheduler.live import LiveSettings, change
from schedtuna.scheduler.live_model import ModelStatus
from schedtuna.scheduler.scx import (
    DISABLED,
    SchedulerError,
    ScxProcess,
    ScxState,
    read_events,
    read_state,
)
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.stall import StallProbe
from schedtuna.scheduler.watch import PREFIX

if TYPE_CHECKING:
    from schedtuna.model.model import DecisionModel

_BASELINE_S = 0.5
_PYTHON = "/usr/bin/python3"


def start(guest: NamedGuest, text: str, *, within_s: float) -> tuple[SchedulerConfig, ScxState]:
    """Put a scheduler of this machine in charge of a guest; a bare BPF object is named by its path.

    Raises:
        UsageError: There is no such scheduler, parameter or value; or it is the kernel's own.
        UnavailableError: Another one is in charge, or this one is not installed.
        SchedulerError: It does not start.
    """
    state = read_state(guest)
    if state.state != DISABLED:
        raise UnavailableError(
            f"sched_ext is {state.state} with {state.ops or 'another scheduler'} in guest {guest.name}",
            hint=f"`schedtuna schedulers switch NAME --in {guest.name}` swaps, "
            f"`schedtuna schedulers stop --in {guest.name}` ends it",
        )
    scheduler, program = _put(guest, text)
    return scheduler, _started(guest, scheduler, program, within_s)


def _put(guest: NamedGuest, text: str) -> tuple[SchedulerConfig, str]:
    """Put a scheduler's program into a guest; returns where it is there."""
    lab = read_lab()
    scheduler = Guest(kernel=guest.kernel).scheduler(text)
    program = scheduler_program(scheduler, find_examples(lab.kernel(guest.kernel)))
    if program is None:
        raise UsageError(
            "the kernel's own scheduler is in charge where no other is",
            hint=f"schedtuna schedulers stop --in {guest.name}",
        )
    guest.put_programs([program], lab)
    return scheduler, guest_program(program)


def _started(guest: NamedGuest, scheduler: SchedulerConfig, program: str, within_s: float) -> ScxState:
    process = ScxProcess(guest, scheduler, program, within_s=within_s, cpu_s=guest.cpu_s)
    guest.keep(process.pid)
    return process.started


def find_running(guest: NamedGuest) -> tuple[ScxProcess, list[str]] | None:
    """Return the scheduler that was started in a guest and runs, and its command line."""
    for pid, argv in guest.kept().items():
        name = PurePath(argv[0]).name
        return ScxProcess.found(guest, name, name, pid), argv
    return None


def stop(guest: NamedGuest) -> str:
    """Stop the scheduler that was started in a guest; returns its name, or nothing where none was.

    Raises:
        UnavailableError: What is in charge was started inside.
        StuckSchedulerError: It did not stop.
    """
    running = find_running(guest)
    if running is not None:
        running[0].close()
        return PurePath(running[1][0]).name
    state = read_state(guest)
    if state.state == DISABLED:
        return ""
    raise UnavailableError(
        f"{state.ops} is in charge of guest {guest.name}, and was started inside",
        hint=f"end it where it was started, or the guest: schedtuna lab stop {guest.name}",
    )


def switch(guest: NamedGuest, text: str, *, within_s: float) -> tuple[SchedulerConfig, SwitchCost]:
    """Put a scheduler in charge of a guest in place of the one that is, by way of the kernel's own.

    Where it does not start, the one before is started again.

    Raises:
        UsageError, UnavailableError, SchedulerError, StuckSchedulerError: As `start` and `stop`.
    """
    scheduler, program = _put(guest, text)
    with StallProbe(guest, list(range(guest.cpus)), _PYTHON) as probe:
        time.sleep(_BASELINE_S)
        usual_s = probe.longest_s()
        before = find_running(guest)
        began = time.monotonic()
        stopped = stop(guest)
        disabled = time.monotonic()
        try:
            _started(guest, scheduler, program, within_s)
        except SchedulerError as error:
            if before is not None:
                _again(guest, before[1], error, within_s)
            raise
        enabled = time.monotonic()
        took_s = disabled - began if stopped else 0.0
        return scheduler, SwitchCost(took_s, enabled - disabled, probe.longest_s(), usual_s)


def _again(guest: NamedGuest, argv: list[str], error: SchedulerError, within_s: float) -> None:
    """Start what ran before."""
    as_it_was = SchedulerConfig(name=PurePath(argv[0]).name)
    try:
        process = ScxProcess(guest, as_it_was, argv[0], argv=argv, within_s=within_s, cpu_s=guest.cpu_s)
    except SchedulerError as second:
        error.add_note(f"nor did {as_it_was.name}, which ran before: {second}")
    else:
        guest.keep(process.pid)
        error.add_note(f"{as_it_was.name} is in charge again")


def set_values(guest: NamedGuest, text: str) -> tuple[SchedulerConfig, LiveSettings, dict[str, str]]:
    """Set values of the scheduler in charge of a guest; see `scheduler.live.change`.

    Returns:
        The scheduler with the values, what is set now, and which of the values do nothing there.
    """
    scheduler = Guest(kernel=guest.kernel).scheduler(text, stated=True)
    return scheduler, *change(guest, _PYTHON, scheduler)


def model_inside(
    guest: NamedGuest,
    scheduler: str,
    action: str,
    model: DecisionModel | None,
    settings: Mapping[str, int],
) -> ModelStatus:
    """Do something with the model inside the scheduler in charge of a guest; see `live_model.carry_out`."""
    return live_model.carry_out(guest, _PYTHON, scheduler, action, model, settings)


def hint(guest: NamedGuest, scheduler: str, arguments: Mapping[str, Any]) -> None:
    """Say of which class a task or a control group of a guest is; see `live_model.hint`."""
    live_model.hint(guest, _PYTHON, scheduler, arguments)


def status(guest: NamedGuest) -> SchedulerStatus:
    """Return what is in charge of a guest, and who started it."""
    state = read_state(guest)
    running = find_running(guest)
    ours = running is not None and running[0].in_charge(state)
    events = {f"{PREFIX}ev_{name}": float(number) for name, number in read_events(guest).items() if number}
    return SchedulerStatus(
        state=state.state,
        ops=state.ops,
        label=shlex.join(running[1]) if running and ours else "",
        started_by="schedtuna" if ours else "",
        pid=running[0].pid if running and ours else None,
        switch_all=state.switch_all,
        enable_seq=state.enable_seq,
        nr_rejected=state.nr_rejected,
        counters=events,
        live=find_live(guest, _PYTHON, is_ours=ours),
    )
