"""Who undoes when the agent is killed: a small native program that waits for its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.knobs.state import STATE_VARIABLE
from schedtuna.machine.mounts import read_mounts
from schedtuna.machine.probe import Probe
from schedtuna.resources import resource_path

_READY_WITHIN_S = 10.0
_PRECAUTIONS = ("the last that is killed for memory", "in a control group of its own", "locked in memory")


@dataclass
class Watcher:
    """A started watcher.

    Attributes:
        pid: Its process.
        lacks: Precautions that could not be taken, for people.
    """

    pid: int
    lacks: tuple[str, ...]
    _process: subprocess.Popen[bytes]
    _line: socket.socket

    @property
    def alive(self) -> bool:
        """Whether it still watches."""
        return self._process.poll() is None

    def dismiss(self) -> None:
        """Tell it that nothing is left to be undone, and wait for its end."""
        with contextlib.suppress(OSError):  # it is gone
            self._line.send(b"d")
        self._line.close()
        self._process.wait()


def start_watcher(state: Path, *, command: list[str] | None = None) -> Watcher:
    """Start what runs `schedtuna undo` for this process's changes when this process ends without a word.

    Args:
        state: The journal's folder.
        command: What is run instead.

    Raises:
        UnavailableError: It can't be started.
    """
    program = resource_path("native/schedtuna-watch")
    undo = command or [sys.executable, "-I", "-m", "schedtuna", "undo", "--owner", str(os.getpid())]
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own = os.pidfd_open(os.getpid())
    try:
        process = subprocess.Popen(
            [program, str(there.fileno()), str(own), _own_group(), *undo],
            pass_fds=(there.fileno(), own),
            stdin=subprocess.DEVNULL,
            env={**os.environ, STATE_VARIABLE: str(state)},
            cwd="/",
        )
    except OSError as error:
        here.close()
        raise UnavailableError(f"{program} can't be started: {error.strerror}") from error
    finally:
        there.close()
        os.close(own)
    here.settimeout(_READY_WITHIN_S)
    try:
        ready = here.recv(16)
    except OSError:
        ready = b""
    if len(ready) != len(_PRECAUTIONS):
        here.close()
        process.kill()
        process.wait()
        raise UnavailableError(
            "the program that undoes after a kill did not start", hint="reinstall schedtuna"
        )
    here.settimeout(None)
    lacks = tuple(text for text, taken in zip(_PRECAUTIONS, ready, strict=True) if not taken)
    return Watcher(process.pid, lacks, process, here)


def _own_group() -> str:
    """A control group to be made at the root of version 2; `-` where there is none."""
    mount = read_mounts(Probe.live()).v2_mount
    if mount is None or Path("/", mount) != Path("/sys/fs/cgroup"):
        return "-"
    return f"/sys/fs/cgroup/schedtuna-watch-{os.getpid()}"
