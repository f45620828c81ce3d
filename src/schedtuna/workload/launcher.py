"""What the native launcher says: the messages of native/launch/launch.h, and the process that sends them."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import IO, Self

from schedtuna.errors import WorkloadError
from schedtuna.resources import resource_path
from schedtuna.workload.identity import Identity

_MESSAGE = struct.Struct("=IiiIiI9q")  # struct launch_message
_GO = b"g"
_STOP = b"s"
_LONGEST_S = 1e9


class MessageKind(IntEnum):
    """What a message says."""

    HELD = 1
    FAILED = 2
    DONE = 3


class Stage(IntEnum):
    """Where a command that never ran failed."""

    SETUP = 1
    USER = 2
    FOLDER = 3
    EXEC = 4


class RunFlag(IntFlag):
    """What went wrong during a run."""

    TIMED_OUT = 1
    STOPPED = 2
    LEFT_BEHIND = 4
    OUTPUT_LOST = 8


@dataclass(frozen=True)
class Message:
    """struct launch_message."""

    kind: int
    pid: int
    error: int
    stage: int
    status: int
    flags: int
    wall_ns: int
    user_us: int
    system_us: int
    max_rss_kib: int
    nr_voluntary_switches: int
    nr_involuntary_switches: int
    nr_leftovers: int
    stdout_bytes: int
    stderr_bytes: int

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the bytes of a message.

        Raises:
            WorkloadError: They are none: the launcher died.
        """
        if len(data) != _MESSAGE.size:
            raise WorkloadError("the process that runs the command died")
        return cls(*_MESSAGE.unpack(data))


class Launcher:
    """One launcher process; closing it ends the command's whole tree.

    Its own environment is empty: what is for another user's command must not steer a program of root's.

    Args:
        program: The file to run; one without a slash is looked for in PATH as the command's user.
        argv: The command.
        environment: Of the command.
        stdout: Where its output is kept.
        stderr: Likewise.
        keep_bytes: How much is kept of each.
        timeout_s: Seconds after which the tree is ended.
        folder: Where the command begins.
        identity: Who it runs as; None: as we do.

    Raises:
        WorkloadError: The process can't be started.
    """

    def __init__(
        self,
        program: str | Path,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes],
        keep_bytes: int,
        timeout_s: float,
        folder: Path | None = None,
        identity: Identity | None = None,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        timeout_ms = max(1, round(min(timeout_s, _LONGEST_S) * 1000))
        options = [f"--program={program}", f"--timeout-ms={timeout_ms}", f"--keep-bytes={keep_bytes}"]
        if folder is not None:
            options.append(f"--folder={folder}")
        if identity is not None:
            options += [f"--uid={identity.uid}", f"--gid={identity.gid}"]
            options += [f"--groups={','.join(map(str, identity.groups))}"] if identity.groups else []
        with theirs, contextlib.ExitStack() as stack:
            try:
                variables = stack.enter_context(_file_of(environment))
                options.append(f"--environment-fd={variables.fileno()}")
                self._process = subprocess.Popen(
                    [resource_path("native/schedtuna-launch"), *options, str(theirs.fileno()), "--", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env={},
                    pass_fds=(theirs.fileno(), variables.fileno()),
                    start_new_session=True,  # Ctrl-C reaches schedtuna alone, which then ends the tree
                )
            except (OSError, ValueError) as error:  # such as E2BIG, or a NUL in an argument
                ours.close()
                reason = error.strerror if isinstance(error, OSError) else error
                raise WorkloadError(f"can't start the command: {reason}") from error
            except BaseException:
                ours.close()
                raise
        self._socket = ours

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            WorkloadError: The launcher died.
        """
        try:
            data = self._socket.recv(_MESSAGE.size)
        except ConnectionResetError:  # it died with a message of ours unread
            data = b""
        if len(data) != _MESSAGE.size:
            code = self._process.wait()
            raise WorkloadError(
                f"the process that runs the command died (exit code {code})",
                hint="was it killed, or out of memory? `journalctl -k` may tell",
            )
        return Message.unpack(data)

    def go(self) -> None:
        """Open the gate."""
        self._send(_GO)

    def stop(self) -> None:
        """End the whole tree; the report follows."""
        self._send(_STOP)

    def _send(self, byte: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `receive` will tell
            self._socket.send(byte)

    def close(self) -> None:
        """End the whole tree, if it still runs, and wait until it is gone."""
        self._socket.close()
        self._process.wait()


def _file_of(environment: Mapping[str, str]) -> IO[bytes]:
    """Write variables to a file in memory: a command line would show them to everybody.

    Raises:
        ValueError: One can't be: a `=` or NUL in its name, a NUL in its value.
    """
    entries = [(os.fsencode(name), os.fsencode(value)) for name, value in environment.items()]
    for name, value in entries:
        if not name or b"=" in name or b"\0" in name + value:
            raise ValueError(f"{os.fsdecode(name)!r} can't be set as a variable")
    file = os.fdopen(os.memfd_create("schedtuna-environment"), "w+b")
    file.write(b"".join(name + b"=" + value + b"\0" for name, value in entries))
    file.flush()
    return file
