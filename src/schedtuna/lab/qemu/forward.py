"""How does a program here reach a server in a guest, which has no network? Over a relay, port by port."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from schedtuna.errors import UsageError
from schedtuna.lab.errors import GuestError
from schedtuna.lab.guest.relay import Relay, RelayError
from schedtuna.lab.vm import BootedGuest

_ENDS_WITHIN_S = 10.0


class Forward:
    """A port of this machine's loopback that is a port of a guest's, while the context is open.

    Args:
        guest: Booted with this line.
        line: Name of the line.
        host_port: Where to listen; 0 for any free port.
        guest_port: Where connections go.

    Attributes:
        port: Where it listens.
        error: Why it ended early; empty otherwise.

    Raises:
        UsageError: The port is taken, or not to be had.
    """

    def __init__(self, guest: BootedGuest, line: str, *, host_port: int, guest_port: int) -> None:
        try:
            self._listener = socket.create_server(("127.0.0.1", host_port))
        except OSError as error:
            raise UsageError(f"can't listen on port {host_port}: {error.strerror}") from None
        self.port: int = self._listener.getsockname()[1]
        self.error = ""
        self._line = guest.line(line)
        self._thread = threading.Thread(target=self._serve, name="schedtuna-forward", daemon=True)
        try:
            guest.order("forward", line=line, port=guest_port)
        except GuestError:
            self._listener.close()
            raise
        self._thread.start()

    def _serve(self) -> None:
        try:
            Relay(self._line.fileno(), listener=self._listener).serve()
        except RelayError as error:
            self.error = f"the guest does not keep to the relay's protocol: {error}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join(_ENDS_WITHIN_S)
        self._listener.close()


def parse_ports(text: str) -> tuple[int, int]:
    """Return the host's and the guest's port of a text such as ``8080:80``.

    Raises:
        UsageError: It is none.
    """
    host, colon, guest = text.partition(":")
    numbers = [int(part) for part in (host, guest) if part.isdecimal() and int(part) < 1 << 16]
    if not colon or len(numbers) != 2 or not numbers[1]:
        raise UsageError(f"{text!r} names no ports", hint="write HOST_PORT:GUEST_PORT, such as 8080:80")
    return numbers[0], numbers[1]
