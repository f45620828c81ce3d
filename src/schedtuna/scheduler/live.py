"""What is set of a scheduler while it is in charge, on a machine or in a guest?

Schedulers that Schedtuna's own loader keeps in charge can be asked, and told; others read their flags at
start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.scheduler.helper import Helper
from schedtuna.scheduler.objects import is_object
from schedtuna.scheduler.scx import Machine, read_state
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.stats import SOCKET
from schedtuna.scheduler.tuna import DEFAULTS, ONE, ineffective, speed_of
from schedtuna.space import ParameterValue, spell_value

_WITHIN_S = 60.0
# Puts questions to the loader, and prints its answers. Arguments: the socket, the requests.
_CLIENT = """
import socket, sys
line = socket.socket(socket.AF_UNIX)
line.settimeout(60)
line.connect(sys.argv[1])
answers = line.makefile()
for question in sys.argv[2:]:
    line.sendall(question.encode() + b"\\n")
    print(answers.readline().strip(), flush=True)
"""


@dataclass(frozen=True)
class LiveSettings:
    """What a scheduler in charge has set.

    Attributes:
        values: Of its object's variables and its parameters, by name.
        version: Of the parameters, another one with each change; None: it has none that are counted.
        since_s: Seconds since a CPU first decided under that version; None: none has.
        nr_decisions: What was decided under it so far.
        refused: Whether the scheduler refuses that version, and goes on with the one before.
    """

    values: dict[str, ParameterValue]
    version: int | None = None
    since_s: float | None = None
    nr_decisions: int = 0
    refused: bool = False

    @property
    def changed(self) -> dict[str, ParameterValue]:
        """What people are shown of it: of scx_tuna, parameters that are not at their defaults."""
        if self.version is None:
            return self.values
        return {name: value for name, value in self.values.items() if DEFAULTS.get(name, value) != value}

    @property
    def in_force(self) -> str:
        """In words: ``version 3, for 12.3 s, 4,321 decisions``; empty where that is not known."""
        if self.version is None:
            return ""
        if self.refused:
            return f"version {self.version} is refused, and the one before goes on"
        since = "nothing decided yet" if self.since_s is None else f"for {self.since_s:.1f} s"
        return f"version {self.version}, {since}, {self.nr_decisions:,} decisions"


def ask(machine: Machine, python: str, request: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """Put a question to the loader of the scheduler in charge.

    Args:
        machine: The scheduler's.
        python: The machine's Python.
        request: ``settings``, ``set`` or ``model``.
        arguments: Of ``set``: values by name; see `scx_object`.

    Raises:
        UnavailableError: Nobody answers.
        UsageError: It refuses.
    """
    return ask_all(machine, python, [(request, arguments or {})])[-1]


def ask_all(machine: Machine, python: str, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
    """Put questions to the loader, one after the other; see `ask`. The first refusal is raised at the end."""
    questions = [json.dumps({"req": request, "args": dict(arguments)}) for request, arguments in requests]
    client = Helper(machine, [python, "-I", "-S", "-c", _CLIENT, SOCKET, *questions])
    try:
        heard = client.lines() if client.await_lines(len(questions), _WITHIN_S) else []
    finally:
        client.close()
    try:
        answers = [parse_json(line, any_text=True) for line in heard]
        said = [(answer["errno"], answer["args"]["resp"]) for answer in answers]
    except (ValueError, TypeError, KeyError):
        said = []
    if len(said) < len(questions):
        raise UnavailableError(
            "the scheduler in charge does not answer",
            hint="only what `schedtuna schedulers start` keeps in charge as an object can be asked",
        )
    for number, text in said:
        if number:
            raise UsageError(str(text))
    return [answer for _, answer in said]


def read_live(machine: Machine, python: str) -> LiveSettings:
    """Return what the scheduler in charge has set.

    Raises:
        UnavailableError: Nobody answers.
    """
    said = ask(machine, python, "settings")
    told = {name: said[name] for name in ("version", "since_s", "nr_decisions", "refused") if name in said}
    return LiveSettings(values={**said["values"], **said.get("params", {})}, **told)


def change(machine: Machine, python: str, scheduler: SchedulerConfig) -> tuple[LiveSettings, dict[str, str]]:
    """Set values of the scheduler in charge, all of them at once.

    Args:
        machine: Where it is.
        python: The machine's Python.
        scheduler: Which one, and the values to be set; the others stay.

    Returns:
        What is set now, read back; and which of the values do nothing there: name -> why.

    Raises:
        UnavailableError: Another one is in charge, or its settings are read at start.
        UsageError: A value is out of bounds, or contradicts one that is set.
    """
    state = read_state(machine)
    if state.ops != scheduler.name:
        raise UnavailableError(
            f"{state.ops or 'no sched_ext scheduler'} is in charge, not {scheduler.name}",
            hint=f"schedtuna schedulers {'switch' if state.ops else 'start'} {scheduler.name}",
        )
    if not is_object(scheduler.binary_path):
        raise UnavailableError(
            f"{scheduler.name} reads its flags at start",
            hint=f"`schedtuna schedulers switch {scheduler.label()}` starts it anew",
        )
    before = read_live(machine, python)
    kept = {name: value for name, value in before.values.items() if name in scheduler.parameters}
    scheduler.with_values({**kept, **scheduler.values})  # the rules between them
    ask(machine, python, "set", {name: spell_value(value) for name, value in scheduler.values.items()})
    now = read_live(machine, python)
    for name, value in scheduler.values.items():
        if not _same(now.values.get(name), value):
            raise UnavailableError(f"{name} reads back as {now.values.get(name)}, not {value}")
    reasons = {} if now.version is None else ineffective_there(machine, now.values)
    return now, {name: reason for name, reason in reasons.items() if name in scheduler.values}


def ineffective_there(machine: Machine, values: Mapping[str, ParameterValue]) -> dict[str, str]:
    """Say which of scx_tuna's parameters do nothing on a machine as they are set: name -> why."""
    online = _cpus(machine.read("/sys/devices/system/cpu/online") or "0")
    speeds = {speed_of(cpu, machine.read) for cpu in online}
    tick_ns = values.get("tick_ns")
    return ineffective(
        values,
        nr_cpus=len(online),
        is_asymmetric=len(speeds) > 1,
        tick_us=tick_ns / 1e3 if isinstance(tick_ns, int) else 0.0,
    )


def _cpus(text: str) -> Sequence[int]:
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _same(read: ParameterValue | None, asked: ParameterValue) -> bool:
    """Whether a value reads back as it was asked for, to the precision that the kernel's side has."""
    if isinstance(asked, float) and isinstance(read, int | float):
        return math.isclose(read, asked, abs_tol=1 / ONE)
    return read == asked
