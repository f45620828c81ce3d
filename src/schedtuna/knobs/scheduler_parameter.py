"""How is a parameter of the sched_ext scheduler in charge set while it runs, and put back afterwards?

A scheduler that Schedtuna's own loader keeps in charge answers on a Unix socket, a JSON object per line each
way: what is set of it, and what is to be. The kernel says which process answers (SO_PEERCRED); the journal
names that process, so that a parameter of one that has ended, and with it its scheduler, is never put back to
another one that has the same name.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import KnobError
from schedtuna.knobs.base import Reverted
from schedtuna.knobs.records import Change, Record, SchedulerParameterSubject
from schedtuna.knobs.scheduler_process import SYSFS, read_sysfs
from schedtuna.knobs.turn import Step, Turn
from schedtuna.machine.tasks import is_alive, start_ticks
from schedtuna.space import ParameterValue, spell_value

SOCKET = Path("/var/run/scx/root/stats")
PRECISION = 2 / 1024  # to which a number with a fraction reads back: the kernel has no floating point
_CREDENTIALS = struct.Struct("3i")
_WITHIN_S = 10.0
_MOST_BYTES = 1 << 20
_HINT = "what `schedtuna schedulers start scx_tuna` puts in charge has some"


@dataclass(frozen=True)
class HotParameters:
    """What can be set of the scheduler in charge.

    Attributes:
        scheduler: Its name.
        pid, start_ticks: The process that keeps it in charge.
        values: By name, as they are now.
    """

    scheduler: str
    pid: int
    start_ticks: int
    values: Mapping[str, ParameterValue] = field(default_factory=dict)


class SchedulerParameter:
    """A parameter of the scheduler in charge, by name.

    Args:
        sysfs: Where the kernel says what is in charge; default: `SYSFS`.
        place: Where who keeps it in charge answers; default: `SOCKET`.
    """

    name = "scheduler_parameter"

    def __init__(self, sysfs: Path | None = None, place: Path | None = None) -> None:
        self._sysfs = sysfs
        self._place = place

    def read(self) -> HotParameters:
        """Return what can be set now.

        Raises:
            KnobError: No sched_ext scheduler is in charge, or what is has no parameters that could be set.
        """
        scheduler = self._in_charge()
        if not scheduler:
            raise KnobError(
                "no sched_ext scheduler is in charge, and the kernel's own has none of these parameters",
                hint=_HINT,
            )
        with self._connected(scheduler) as line:
            pid, ticks = _peer(line)
            said = _ask(line, scheduler, "settings", {})
            values = {**said.get("values", {}), **said.get("params", {})}
        return HotParameters(scheduler, pid, ticks, values)

    def show(self, scheduler: str, parameter: str) -> ParameterValue | None:
        """What a parameter is now; None where the scheduler is not in charge any more.

        Raises:
            KnobError: It can't be read, or there is none.
        """
        if self._in_charge() != scheduler:
            return None
        return _value_of(self.read(), parameter)

    def plan(self, scheduler: str, parameter: str, value: ParameterValue) -> Turn:
        """Note what is set, and say what is to be.

        Raises:
            KnobError: Another scheduler is in charge, or it has no such parameter that could be set.
        """
        found = self.read()
        if found.scheduler != scheduler:
            raise KnobError(f"{found.scheduler} is in charge, not {scheduler}")
        old = _value_of(found, parameter)
        subject = SchedulerParameterSubject(
            scheduler=scheduler, parameter=parameter, pid=found.pid, start_ticks=found.start_ticks
        )
        return Turn(self.name, [Change(self.name, subject, old, value)], partial(self._make, subject, value))

    def _make(self, subject: SchedulerParameterSubject, value: ParameterValue, _step: Step) -> None:
        with self._connected(subject.scheduler) as line:
            if _peer(line) != (subject.pid, subject.start_ticks):
                raise KnobError(f"{subject.scheduler} was started anew meanwhile")
            _ask(line, subject.scheduler, "set", {subject.parameter: spell_value(value)})
            said = _ask(line, subject.scheduler, "settings", {})
        now = {**said.get("values", {}), **said.get("params", {})}.get(subject.parameter)
        if said.get("refused") or not is_same(now, value):
            raise KnobError(f"{subject.parameter} of {subject.scheduler} reads back as {now}, not {value}")

    def revert(self, record: Record) -> Reverted:
        """Set what was there before, unless the scheduler has ended.

        Raises:
            KnobError: It runs, and does not take it.
        """
        subject = record.subject
        if not isinstance(subject, SchedulerParameterSubject):
            raise KnobError(f"{self.name}: the journal's record {record.id} names no parameter")
        if not is_alive(subject.pid, subject.start_ticks) or self._in_charge() != subject.scheduler:
            return Reverted.GONE
        try:
            self._make(subject, record.old, lambda _name: None)
        except KnobError:
            if not is_alive(subject.pid, subject.start_ticks) or self._in_charge() != subject.scheduler:
                return Reverted.GONE
            raise
        return Reverted.RESTORED

    def _in_charge(self) -> str:
        """The name of the sched_ext scheduler in charge; empty: none is."""
        sysfs = self._sysfs or SYSFS
        return "" if read_sysfs(sysfs / "state") in ("", "disabled") else read_sysfs(sysfs / "root/ops")

    def _connected(self, scheduler: str) -> socket.socket:
        place = self._place or SOCKET
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(_WITHIN_S)
        try:
            line.connect(str(place))
        except OSError as error:
            line.close()
            raise KnobError(
                f"{scheduler} has no parameters that can be set while it runs: nobody answers at "
                f"{place} ({error.strerror})",
                hint=_HINT,
            ) from None
        return line


def is_same(read: Any, asked: ParameterValue) -> bool:
    """Whether a value reads back as it was asked for, to the precision that the kernel's side has."""
    if isinstance(read, bool) or isinstance(asked, bool):
        return read is asked
    if isinstance(asked, float) and isinstance(read, int | float):
        return math.isclose(read, asked, abs_tol=PRECISION)
    return bool(read == asked)


def _value_of(found: HotParameters, parameter: str) -> ParameterValue:
    if parameter not in found.values:
        raise KnobError(
            f"{found.scheduler} has no parameter {parameter} that can be set while it runs",
            hint=f"it has {', '.join(found.values) or 'none'}",
        )
    return found.values[parameter]


def _peer(line: socket.socket) -> tuple[int, int]:
    """The process that answers, and when it started."""
    pid, _, _ = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    ticks = start_ticks(pid) if pid > 0 else None
    if ticks is None:
        raise KnobError("who keeps the scheduler in charge can't be seen from here: is it of a container?")
    return pid, ticks


def _ask(line: socket.socket, scheduler: str, request: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Put a question, and return the answer.

    Raises:
        KnobError: There is none, or it refuses.
    """
    data = bytearray()
    try:
        line.sendall(json.dumps({"req": request, "args": dict(arguments)}).encode() + b"\n")
        while b"\n" not in data:
            chunk = line.recv(1 << 16)
            if not chunk or len(data) > _MOST_BYTES:
                break
            data += chunk
        answer = parse_json(bytes(data.partition(b"\n")[0]), any_text=True)
        number, said = int(answer["errno"]), answer["args"]["resp"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KnobError(f"who keeps {scheduler} in charge gives no answer: {error}", hint=_HINT) from None
    if number and request == "settings":  # a loader of others: it counts, and takes no values
        raise KnobError(
            f"{scheduler} reads its flags at start: none can be set while it runs",
            hint=f"`schedtuna schedulers switch {scheduler}` starts it anew; {_HINT}",
        )
    if number or not isinstance(said, dict):
        raise KnobError(f"{scheduler} refuses: {said}")
    return said
