"""How the agent's schedulers come and go: one program at a time, in the journal first, dead with the agent.

The kernel ends the program with this process, whatever ends that, and has its own scheduler back then; what
watches the agent, or `undo`, closes the record. A scheduler that is thrown out is in quarantine before
anything else is done.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from schedtuna.agent.contract import ChangeTarget, SwapEvent, SwapResult
from schedtuna.agent.swap.quarantine import Quarantine, program_version
from schedtuna.errors import SchedtunaError, UnavailableError
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.records import Record
from schedtuna.knobs.scheduler_process import SchedulerProcess
from schedtuna.scheduler.control import find_program, find_registered, start_program
from schedtuna.scheduler.groups import require_honoured
from schedtuna.scheduler.scx import ENABLED, ScxProcess, exit_reason, read_state
from schedtuna.scheduler.spec import SchedulerConfig

SCHEDULER = SchedulerProcess.name  # the setting that a swap turns
SWAP_TARGET = ChangeTarget("machine")
SWAP_KEY = f"{SWAP_TARGET.key}:{SCHEDULER}"  # of intents that swap
DEFAULT_ARM = "default"
_ASKED_TO_STOP = (0, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)
_LAST_WORDS_S, _POLL_S = 3.0, 0.05
_BY_HAND = "sysrq"  # of the kernel's reason, where a person has taken it out


def require_candidate(arm: str, quarantine: Quarantine) -> tuple[SchedulerConfig, Path, str]:
    """Return the scheduler that an arm means, its program and that one's version, where it may run here.

    Raises:
        SchedtunaError: It may not; the message says why.
    """
    scheduler = find_registered(arm)
    program = find_program(scheduler)
    version = program_version(program)
    if found := quarantine.find(scheduler.name, version):
        raise UnavailableError(
            f"it is in quarantine: {found.tell()}",
            hint=f"`schedtuna agent quarantine --lift {scheduler.name}` gives it another chance",
        )
    require_honoured(scheduler, ignored=False)
    return scheduler, program, version


@dataclass
class _InCharge:
    arm: str
    version: str
    process: ScxProcess


@dataclass
class SchedulerSwaps:
    """Keeps one scheduler of the agent's in charge, or none.

    Attributes:
        journal: Where it is written down first.
    """

    journal: Journal
    _running: _InCharge | None = None
    _events: list[SwapEvent] = field(default_factory=list)

    def start(self, arm: str, *, disable_s: float = 0.0) -> list[Record]:
        """Put a scheduler in charge where none is; returns its records.

        Args:
            arm: Its name and values.
            disable_s: What it took to stop the one before.

        Raises:
            SchedtunaError: It may not run, or does not start; the kernel's own is in charge.
        """
        mine = self.journal.fresh()
        began_s = time.monotonic()
        try:
            scheduler, program, version = require_candidate(arm, Quarantine(self.journal.directory))
            process = start_program(scheduler, program, mine, stays=False)
        except SchedtunaError as error:
            told = getattr(error, "reason", "") or str(error)
            self._events.append(SwapEvent(arm, SwapResult.FAILED, told, disable_s))
            raise
        self._running = _InCharge(arm, version, process)
        self._events.append(SwapEvent(arm, SwapResult.ENABLED, "", disable_s, time.monotonic() - began_s))
        return mine.begun

    def look(self) -> None:
        """Note whether it is not in charge any more, and why; what was thrown out goes into quarantine."""
        running = self._running
        if running is None or _in_charge(running.process):
            return
        self._running = None
        process = running.process
        why = _await_end(process)
        told = exit_reason(process.machine.log(process.pid))
        code = process.machine.status(process.pid)
        if _BY_HAND in told or (not told and code in _ASKED_TO_STOP):
            reason = f"somebody stopped {running.arm}: {told or why}"
            self._events.append(SwapEvent(running.arm, SwapResult.TAKEN, reason))
            return
        reason = told or why
        Quarantine(self.journal.directory).add(
            running.arm, running.version, ops=process.started.ops, reason=reason
        )
        self._events.append(SwapEvent(running.arm, SwapResult.EJECTED, reason))

    @property
    def runs(self) -> bool:
        """Whether one of ours is in charge, as far as the last look tells."""
        return self._running is not None

    def stopped(self) -> None:
        """It was put back: forget it."""
        if self._running is not None:
            self._running.process.machine.status(self._running.process.pid)  # takes its exit code
        self._running = None

    def take_events(self) -> tuple[SwapEvent, ...]:
        """Return what has happened since the last call."""
        taken, self._events = tuple(self._events), []
        return taken


def _in_charge(process: ScxProcess) -> bool:
    now = read_state(process.machine)
    return now.state == ENABLED and process.machine.status(process.pid) is None and process.in_charge(now)


def _await_end(process: ScxProcess) -> str:
    """Return why it is not in charge, once its program has ended, which prints the kernel's reason before."""
    deadline_s = time.monotonic() + _LAST_WORDS_S
    while process.machine.status(process.pid) is None and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return process.ejected()
