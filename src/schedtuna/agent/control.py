"""Asking a running agent, and telling it what to do: a Unix socket beside the journal, a line each way.

The kernel says who asks (SO_PEERCRED). Only root and the agent's own user are answered.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.errors import SchedtunaError, UnavailableError, naming
from schedtuna.files import Folder
from schedtuna.knobs.state import state_directory

SOCKET_NAME = "agent.sock"
LOCK_NAME = "agent.lock"
_CREDENTIALS = struct.Struct("3i")
_MOST_BYTES = 64 << 10
_ANSWER_WITHIN_S = 10.0
_LISTEN_WITHIN_S = 1.0  # to one client: who is slower gets no answer

Answer = Callable[[str, Mapping[str, Any], int], Mapping[str, Any]]  # request, arguments, the client's uid


class AgentRunningError(SchedtunaError):
    """An agent runs already in this state folder."""


class ControlServer:
    """The agent's side: the one of its folder, from opening to closing.

    Args:
        answer: Called with each request.
        directory: The journal's folder.

    Raises:
        AgentRunningError: There is an agent in this folder.
    """

    def __init__(self, answer: Answer, directory: Path | None = None) -> None:
        self._answer = answer
        where = directory or state_directory()
        self._folder = Folder(where, create=True, mode=0o700, own=False)
        self._lock = self._folder.open(LOCK_NAME, os.O_RDWR | os.O_CREAT, mode=0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            self._folder.close()
            raise AgentRunningError(
                f"an agent runs already: process {pid}",
                hint="`schedtuna agent status` tells of it; end it with SIGTERM",
            ) from None
        with naming(where / LOCK_NAME):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._folder.discard(SOCKET_NAME)
        before = os.umask(0o177)
        try:
            with naming(where / SOCKET_NAME):
                self._socket.bind(f"/proc/self/fd/{self._folder.fileno()}/{SOCKET_NAME}")
        finally:
            os.umask(before)
        self._socket.listen(8)
        self._socket.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def wake_on(self, descriptor: int) -> None:
        """Have `serve_until` return when a descriptor can be read, too."""
        self._selector.register(descriptor, selectors.EVENT_READ)

    def serve_until(self, deadline_s: float) -> bool:
        """Answer until a time (time.monotonic()); return whether another descriptor can be read before."""
        while True:
            ready = self._selector.select(max(0.0, deadline_s - time.monotonic()))
            if any(key.fd != self._socket.fileno() for key, _ in ready):
                return True
            if not ready:
                return False
            self._serve_one()

    def close(self) -> None:
        """Answer no more."""
        self._selector.close()
        self._socket.close()
        with contextlib.suppress(OSError):
            self._folder.discard(SOCKET_NAME)
        os.close(self._lock)
        self._folder.close()

    def _serve_one(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        with client:
            client.settimeout(_LISTEN_WITHIN_S)
            try:
                reply = self._reply(client)
                client.sendall(json.dumps(reply).encode() + b"\n")
            except OSError:
                return  # it is gone, or too slow

    def _reply(self, client: socket.socket) -> Mapping[str, Any]:
        size = _CREDENTIALS.size
        _, uid, _ = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if uid not in (0, os.geteuid()):
            return {"error": f"user {uid} may not ask this agent", "hint": "ask as root, or as its user"}
        try:
            request = parse_json(_line(client))
            name, arguments = str(request["req"]), dict(request.get("args", {}))
        except (ValueError, TypeError, KeyError):
            return {"error": "not a request"}
        try:
            return self._answer(name, arguments, uid)
        except SchedtunaError as error:
            return {"error": str(error), "hint": error.hint}


def ask_agent(name: str, arguments: Mapping[str, Any] | None = None, directory: Path | None = None) -> Any:
    """Put a request to the running agent, and return its answer.

    Raises:
        UnavailableError: No agent answers.
        SchedtunaError: It refuses.
    """
    try:
        with Folder(directory or state_directory(), own=False) as folder:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            line.settimeout(_ANSWER_WITHIN_S)
            with line:
                line.connect(f"/proc/self/fd/{folder.fileno()}/{SOCKET_NAME}")
                line.sendall(json.dumps({"req": name, "args": dict(arguments or {})}).encode() + b"\n")
                said = parse_json(_line(line, most=1 << 24), any_text=True)
    except (OSError, ValueError) as error:
        raise UnavailableError("no agent runs here", hint="schedtuna agent run --advise") from error
    if not isinstance(said, dict):
        raise UnavailableError("the agent's answer can't be understood", hint="is it of another version?")
    if "error" in said:
        raise SchedtunaError(f"the agent refuses: {said['error']}", hint=said.get("hint"))
    return said


def _line(line: socket.socket, most: int = _MOST_BYTES) -> bytes:
    """The first line that comes; what is longer is no request of ours."""
    data = bytearray()
    while b"\n" not in data:
        if len(data) > most:
            raise ValueError("too long")
        chunk = line.recv(1 << 16)
        if not chunk:
            break
        data += chunk
    return bytes(data.partition(b"\n")[0])
