"""Who asks for decisions, and when is a batch of them whole? Lines of stdin, or of a socket's clients."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.files import Folder, remove

MOST_LINE_BYTES = 1 << 16
_MOST_UNREAD_BYTES = 1 << 20  # answers that a client leaves lying before it is let go
_CHUNK = 1 << 16
_TOO_LONG = b'{"error": "a line is longer than 64 KiB"}\n'

Answer = Callable[[Sequence[bytes]], list[bytes]]


@dataclass
class _Client:
    """Somebody who asks: what came of a line so far, and what was not taken of the answers."""

    read_fd: int
    write_fd: int
    line: socket.socket | None = None
    unread: bytearray = field(default_factory=bytearray)
    answers: bytearray = field(default_factory=bytearray)
    has_ended: bool = False


class DecisionLines:
    """Reads requests, has batches answered, and writes the answers.

    Args:
        answer: Answers lines, all at once.
        largest: Requests of a full batch.
        wait_s: How long the first request of a batch waits for others.
    """

    def __init__(self, answer: Answer, *, largest: int, wait_s: float) -> None:
        self._answer = answer
        self._largest, self._wait_s = largest, wait_s
        self._waiting: list[tuple[_Client, bytes]] = []
        self._due_s = 0.0
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self.nr_batches = 0

    def serve_stdin(self, read_fd: int, write_fd: int) -> None:
        """Answer lines from one descriptor on another one, until the first ends."""
        client = _Client(read_fd, write_fd)
        while not client.has_ended:
            timeout = max(self._due_s - time.monotonic(), 0) if self._waiting else None
            if timeout is None or _is_readable(read_fd, timeout):
                self._read(client)
            self._decide_due()
        self._decide_all()

    def serve_socket(self, listener: socket.socket) -> None:
        """Answer those who connect, until an exception ends it."""
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        try:
            while True:
                timeout = max(self._due_s - time.monotonic(), 0) if self._waiting else None
                for key, events in self._selector.select(timeout):
                    if key.fileobj is listener:
                        self._accept(listener)
                    elif (client := self._clients.get(key.fd)) is not None:
                        if events & selectors.EVENT_WRITE:
                            self._write(client)
                        if events & selectors.EVENT_READ:
                            self._read(client)
                self._decide_due()
        finally:
            for client in list(self._clients.values()):
                self._let_go(client)
            self._selector.unregister(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            line, _ = listener.accept()
        except OSError:  # it has gone, or there are no more descriptors
            return
        line.setblocking(False)
        self._clients[line.fileno()] = _Client(line.fileno(), line.fileno(), line)
        self._selector.register(line, selectors.EVENT_READ)

    def _let_go(self, client: _Client) -> None:
        client.has_ended = True
        if client.line is not None and self._clients.pop(client.read_fd, None) is not None:
            self._selector.unregister(client.line)
            client.line.close()

    def _read(self, client: _Client) -> None:
        try:
            content = os.read(client.read_fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        client.unread += content
        *lines, rest = bytes(client.unread).split(b"\n")
        client.unread = bytearray(rest)
        if not content and rest:
            lines.append(rest)
            client.unread.clear()
        for line in lines:
            if line.strip():
                self._ask(client, line)
        if len(client.unread) > MOST_LINE_BYTES:
            self._decide_all()
            client.answers += _TOO_LONG
            self._write(client)
            self._let_go(client)
        elif not content:
            self._decide_all()
            self._let_go(client)

    def _ask(self, client: _Client, line: bytes) -> None:
        if not self._waiting:
            self._due_s = time.monotonic() + self._wait_s
        self._waiting.append((client, line))
        if len(self._waiting) == self._largest:
            self._decide_all()

    def _decide_due(self) -> None:
        if self._waiting and time.monotonic() >= self._due_s:
            self._decide_all()

    def _decide_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self.nr_batches += 1
        asked: dict[int, _Client] = {}
        for (client, _), answer in zip(waiting, self._answer([line for _, line in waiting]), strict=True):
            client.answers += answer
            asked[id(client)] = client
        for client in asked.values():
            self._write(client)

    def _write(self, client: _Client) -> None:
        if client.line is None:
            while client.answers:
                del client.answers[: os.write(client.write_fd, client.answers)]
            return
        if self._clients.get(client.read_fd) is not client:
            return
        try:
            del client.answers[: client.line.send(client.answers)]
        except BlockingIOError:
            pass
        except OSError:
            self._let_go(client)
            return
        if len(client.answers) > _MOST_UNREAD_BYTES:
            self._let_go(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.answers else 0)
        self._selector.modify(client.line, wanted)


def _is_readable(fd: int, timeout_s: float) -> bool:
    try:
        with selectors.PollSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            return bool(selector.select(timeout_s))
    except PermissionError:  # a file: always
        return True


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at a path, where only this user can connect; it is removed in the end.

    Raises:
        UsageError: Something is there already.
        OSError: It can't be made.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        with Folder(path.parent) as folder:
            before = os.umask(0o177)
            try:
                # By the folder, which is open: its path may be longer than a socket's name.
                listener.bind(f"/proc/self/fd/{folder.fileno()}/{path.name}")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise UsageError(
                        f"{path} is there already", hint="remove it, if nobody listens there"
                    ) from None
                raise
            finally:
                os.umask(before)
        listener.listen()
        try:
            yield listener
        finally:
            remove(path, missing_ok=True)
    finally:
        listener.close()
