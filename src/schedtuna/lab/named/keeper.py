"""The process that keeps a named guest: QEMU lives as long as it does, and it lends the guest out.

QEMU dies with its parent, so a keeper that is killed leaves none behind. The line to guestd takes one order
at a time: the keeper lets in one command at a time, tells others who is in, and passes whole orders and
answers on. So a command that is killed in the middle of something spoils nothing for the next: its answer
is thrown away, and what it started in the guest and did not `keep` is ended.
"""

from __future__ import annotations

import json
import os
import select
import socket
from contextlib import suppress
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.lab.errors import GuestError
from schedtuna.lab.vm import FILES, GUESTD, TERMINAL, TERMINAL_SIZE, BootedGuest

LENT = (TERMINAL, TERMINAL_SIZE, FILES)  # lines whose descriptors a command gets, in this order
LISTEN = "line"  # the socket in a guest's folder
_INTRODUCES_ITSELF_WITHIN_S = 5.0
_ANSWERS_WITHIN_S = 60.0
_CHUNK = 1 << 16
_DIED = "it died, or was powered off inside"


class Keeper:
    """Lends a guest out until the guest dies.

    Args:
        guest: Booted with the lines `LENT`.
        listener: Where commands come from.
        hello: What each is told first.
    """

    def __init__(self, guest: BootedGuest, listener: socket.socket, hello: dict[str, Any]) -> None:
        self._guest = guest
        self._listener = listener
        self._hello = hello
        self._line = guest.line(GUESTD)
        self._answers = bytearray()
        self._asked = b""  # the order that guestd is at
        self._client: socket.socket | None = None
        self._orders = bytearray()
        self._user: dict[str, Any] | None = None  # who is in, or whose order is not finished
        self._spawned: dict[int, list[str]] = {}  # what it has started, by pid
        self._kept: dict[int, list[str]] = {}  # what outlives commands

    def serve(self) -> None:
        """Lend it out.

        Raises:
            GuestError: The guest died.
        """
        try:
            while True:
                self._step()
        finally:
            if self._client is not None:
                self._client.close()

    def _step(self) -> None:
        """Wait until something comes, and do what it asks for."""
        sources = [self._listener, self._line, *([self._client] if self._client else [])]
        ready, _, _ = select.select(sources, [], [])
        if self._line in ready:
            self._on_guest()
        if self._client in ready:
            self._on_client()
        if self._listener in ready:
            self._on_listener()

    def _on_listener(self) -> None:
        client, _ = self._listener.accept()
        client.settimeout(_INTRODUCES_ITSELF_WITHIN_S)
        try:
            who = parse_json(client.recv(_CHUNK), any_text=True)
            user = None if "look" in who else {"pid": who["pid"], "command": who["command"]}
            if user is None or self._user is not None:
                client.sendall(_line({"user": self._user}))
                client.close()
                return
            lent = [self._guest.line(name).fileno() for name in LENT]
            socket.send_fds(client, [_line({"ok": self._hello})], lent)
        except (OSError, ValueError, TypeError, LookupError):  # it is gone again, or none of ours
            client.close()
            return
        client.settimeout(None)
        self._client, self._user = client, user
        self._orders.clear()

    def _on_client(self) -> None:
        assert self._client is not None
        data = b""
        with suppress(OSError):
            data = self._client.recv(_CHUNK)
        self._orders += data
        if not data:
            self._part()
        while self._client is not None and not self._asked and (order := _whole(self._orders)):
            self._take(order)

    def _take(self, order: bytes) -> None:
        said = parse_json(order, any_text=True)
        if said["op"] == "keep":
            self._kept[said["pid"]] = self._spawned.pop(said["pid"], [])
            self._tell(_line({"ok": None}))
        elif said["op"] == "kept":
            self._tell(_line({"ok": list(self._kept.items())}))
        else:
            self._asked = order
            self._say(order)

    def _on_guest(self) -> None:
        self._hear()
        if answer := _whole(self._answers):
            order, self._asked = parse_json(self._asked, any_text=True), b""
            if order["op"] in ("spawn", "terminal") and "ok" in (said := parse_json(answer, any_text=True)):
                self._spawned[said["ok"]] = order["argv"]
            if self._client is None:
                self._end_leftovers()
            else:
                self._tell(answer)

    def _tell(self, answer: bytes) -> None:
        try:
            if self._client is not None:
                self._client.sendall(answer)
        except OSError:
            self._part()

    def _part(self) -> None:
        """The command has ended, or was killed."""
        if self._client is not None:
            self._client.close()
        self._client = None
        if not self._asked:
            self._end_leftovers()

    def _end_leftovers(self) -> None:
        """End what the last command started and did not keep; with it, what is in its process groups."""
        if self._spawned:
            # A group outlives the process that it was made for, and keeps the number from others.
            groups = [str(-pid) for pid in self._spawned]
            killer = self._order(op="spawn", argv=["kill", "-KILL", "--", *groups])
            for pid in (*self._spawned, killer):
                self._order(op="wait", pid=pid)
        self._spawned.clear()
        for pid in [pid for pid in self._kept if self._order(op="status", pid=pid) is not None]:
            del self._kept[pid]
        self._user = None

    def _say(self, order: bytes) -> None:
        try:
            self._line.sendall(order)
        except OSError:
            raise GuestError(_DIED) from None

    def _hear(self) -> None:
        data = b""
        with suppress(OSError):
            data = self._line.recv(_CHUNK)
        if not data:
            raise GuestError(_DIED)
        self._answers += data

    def _order(self, **order: Any) -> Any:
        """Have guestd do something for the keeper itself."""
        self._say(_line(order))
        while not (answer := _whole(self._answers)):
            if not select.select([self._line], [], [], _ANSWERS_WITHIN_S)[0]:
                raise GuestError(f"no answer within {_ANSWERS_WITHIN_S:.0f} s")
            self._hear()
        return parse_json(answer, any_text=True).get("ok")


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _whole(buffer: bytearray) -> bytes:
    """Take a whole line out of a buffer; nothing where there is none yet."""
    end = buffer.find(b"\n") + 1
    line = bytes(buffer[:end])
    del buffer[:end]
    return line


def listen(folder: int) -> socket.socket:
    """Listen in a folder, which is open; its path may be longer than a socket's name."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"/proc/self/fd/{folder}/{LISTEN}")
    os.chmod(LISTEN, 0o600, dir_fd=folder)
    listener.listen()
    return listener
