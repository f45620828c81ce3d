"""The agent as a service of systemd: with the privileges that it uses, and no more."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.files import require_trusted
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.state import STATE_VARIABLE
from schedtuna.knobs.unit import AGENT_UNIT, SystemUnit

# What the loop does with each: capabilities(7).
CAPABILITIES = {
    "CAP_SYS_NICE": "sets nice, policy and slice of other users' threads",
    "CAP_BPF": "loads the programs that sense",
    "CAP_PERFMON": "attaches them, and reads the kernel's memory with them",
    "CAP_SYS_RESOURCE": "lets memory's killer take the one that undoes last",
    "CAP_DAC_READ_SEARCH": "looks into debugfs",
}
_STATE = "/var/lib/schedtuna"
_TEMPLATE = """\
# Written by `schedtuna agent install`; `schedtuna undo` removes it. The agent's own configuration is
# /etc/schedtuna/agent.toml.
[Unit]
Description=Schedtuna agent: tunes this machine's scheduling, and puts it back

[Service]
Type=notify
ExecStart={program} agent run
ExecReload=/bin/kill -HUP $MAINPID
# What a killed agent has left; what `schedtuna apply` keeps is not touched.
ExecStopPost=-{program} undo --killed
WatchdogSec=180
TimeoutStopSec=60
Restart=on-failure
RestartSec=10
# SIGTERM to the agent alone: what undoes after a kill stays until the agent has ended.
KillMode=mixed
Environment={variable}={state}
StateDirectory=schedtuna
StateDirectoryMode=0700
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def agent_unit(program: str) -> str:
    """Return the unit's text.

    Args:
        program: The path of `schedtuna`.
    """
    return _TEMPLATE.format(
        program=program, capabilities=" ".join(CAPABILITIES), variable=STATE_VARIABLE, state=_STATE
    )


def own_program() -> str:
    """Return the path of the `schedtuna` that runs, which a service can start.

    Raises:
        UnavailableError: It was not started as a program, or others can change it.
    """
    found = shutil.which(sys.argv[0]) or str(Path(sys.executable).parent / "schedtuna")
    path = os.path.realpath(found)
    if not os.access(path, os.X_OK) or " " in path:
        raise UnavailableError(
            f"{path} is no program that a service could start", hint="install schedtuna with pip"
        )
    require_trusted(Path(path), "as a service", hint="install schedtuna where only root can write")
    return path


def install_agent(journal: Journal, *, root: Path = Path("/")) -> Path:
    """Install the agent as a service, and start it where systemd runs; returns the unit's path.

    Args:
        journal: Where it is written down first.
        root: Of another system; there nothing is started.

    Raises:
        KnobError: It can't be written or started; then nothing of it remains.
        JournalError: The journal refuses; nothing was written.
        UnavailableError: `own_program`.
    """
    return SystemUnit().install(agent_unit(own_program()), journal, root=root, unit=AGENT_UNIT)
