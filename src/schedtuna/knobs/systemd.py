"""Settings as systemd's units: a drop-in for a service that is to keep them, a unit for a scheduler."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from schedtuna.errors import UsageError
from schedtuna.knobs.affinity import Affinity
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.realtime import REALTIME_LIMIT_US, REALTIME_PRIORITY
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.services import unit_name
from schedtuna.printable import printable
from schedtuna.space import ParameterValue, spell_assignment

# Knob -> the directives of systemd.exec(5) and systemd.resource-control(5) that do the same. Of two
# that set the same, systemd takes the last: realtime comes after policy.
DIRECTIVES: dict[str, Callable[[ParameterValue], list[str]]] = {
    "nice": lambda value: [f"Nice={value}"],
    "policy": lambda value: [f"CPUSchedulingPolicy={value}"],
    "timer_slack_us": lambda value: [f"TimerSlackNSec={value}us"],
    "cpu_weight": lambda value: [f"CPUWeight={value}"],
    "cpu_quota": lambda value: [f"CPUQuota={value}%"],
    "affinity": lambda value: [f"CPUAffinity={_cpus(value)}"],
    "cpuset": lambda value: [f"AllowedCPUs={_cpus(value)}"],
    "realtime": lambda value: [] if value == "none" else _realtime(value),
}


_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


def _realtime(policy: ParameterValue) -> list[str]:
    return [
        f"CPUSchedulingPolicy={policy}",
        f"CPUSchedulingPriority={REALTIME_PRIORITY}",
        f"LimitRTTIME={REALTIME_LIMIT_US}us:infinity",
    ]


def _cpus(strategy: ParameterValue) -> str:
    return ",".join(str(cpu) for cpu in Affinity().strategies(Target())[str(strategy)])


def drop_in(values: Mapping[str, ParameterValue], command: Sequence[str], *, wrapper: Sequence[str]) -> str:
    """Return the text of a drop-in such as ``/etc/systemd/system/NAME.service.d/schedtuna.conf``.

    Where systemd has no directive for a knob, the service's command is started through the wrapper,
    which applies everything.

    Args:
        values: The settings.
        command: The service's own command.
        wrapper: What runs a command under the settings: ``schedtuna apply FOLDER --``.

    Raises:
        UsageError: Only a wrapper could do it, and the service's command was not given.
    """
    lines = ["[Service]"]
    others = [name for name in values if name not in DIRECTIVES]
    if not others:
        return "\n".join([*lines, *_directives(values)]) + "\n"
    if not command:
        raise UsageError(
            f"systemd has no directive for {', '.join(others)}",
            hint="give the service's command after `--`; the drop-in will start it through schedtuna; or its "
            "name with --unit: what systemd can't do is set once it has started",
        )
    lines.append(f"# systemd has no directive for {', '.join(others)}")
    lines += ["ExecStart=", f"ExecStart={_command_line([*wrapper, *command])}"]
    return "\n".join(lines) + "\n"


def drop_in_once_started(values: Mapping[str, ParameterValue], program: Sequence[str], scheduler: str) -> str:
    """Return the text of a drop-in that sets what systemd has no directive for once the service has started.

    Args:
        values: The settings.
        program: ``schedtuna apply``.
        scheduler: The scheduler that has them.

    Raises:
        UsageError: One of these can't be set for a process that runs.
    """
    others = {name: value for name, value in values.items() if name not in DIRECTIVES}
    lines = ["[Service]", *_directives(values)]
    if others:
        for name in others:
            if Scope.PID not in knob_named(name).scopes:
                raise UsageError(f"{name} can't be set for a process that runs", hint="leave it out")
        label = f"{scheduler}:{spell_assignment(others, ',')}"
        lines.append(f"# systemd has no directive for {', '.join(others)}")
        lines.append(f"ExecStartPost=+{_command_line([*program, label])} --pid $MAINPID")
    return "\n".join(lines) + "\n"


def drop_in_path(unit: str) -> str:
    """Where a drop-in for a unit belongs (systemd.unit(5))."""
    return f"/etc/systemd/system/{unit_name(unit)}.d/schedtuna.conf"


def _directives(values: Mapping[str, ParameterValue]) -> list[str]:
    return [line for name, tell in DIRECTIVES.items() if name in values for line in tell(values[name])]


def scheduler_unit(argv: Sequence[str], label: str) -> str:
    """Return the text of a unit that keeps a sched_ext scheduler in charge from boot on.

    A scheduler that fails is tried three times; then the kernel's own one stays. It is stopped as it
    would be in a terminal, so that it unregisters itself.

    Args:
        argv: The scheduler's program, as an absolute path, and its flags.
        label: The scheduler and its values, for people.
    """
    return f"""\
# Written by `schedtuna apply --system`; `schedtuna undo` removes it.
[Unit]
Description=sched_ext scheduler {printable(label).replace("%", "%%")}, by Schedtuna
ConditionPathIsDirectory=/sys/kernel/sched_ext
StartLimitIntervalSec=5min
StartLimitBurst=3

[Service]
Type=simple
ExecStart={_command_line(argv)}
Restart=on-failure
RestartSec=5
KillSignal=SIGINT
TimeoutStopSec=30

[Install]
WantedBy=multi-user.target
"""


def _command_line(argv: Sequence[str]) -> str:
    """Spell a command as ExecStart takes it (systemd.service(5), systemd.syntax(7)).

    Not as a shell's: a backslash is an escape in either kind of quotes, a newline ends the directive in
    both, and a variable is replaced everywhere but in the program's path.
    """
    program, *arguments = argv
    return " ".join([_word(program), *(_word(argument.replace("$", "$$")) for argument in arguments)])


def _word(text: str) -> str:
    text = text.replace("%", "%%")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
