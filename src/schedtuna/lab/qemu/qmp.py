"""How is a running QEMU told to stop, save itself and go on? QMP, over a socket that it inherits.

Commands are answered in order; events come in between (QEMU's docs/interop/qmp-spec.rst).
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from schedtuna.configfile import parse_json
from schedtuna.lab.errors import GuestError

_ANSWER_WITHIN_S = 120.0


class QemuGoneError(GuestError):
    """QEMU has ended."""


class Qmp:
    """The line to one QEMU.

    Args:
        line: The host's end of the socket.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._rest = b""
        self._events: list[dict[str, Any]] = []

    def open(self) -> None:
        """Read the greeting, and leave negotiation."""
        self._message(time.monotonic() + _ANSWER_WITHIN_S)
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command; returns what it returns.

        Raises:
            GuestError: QEMU refused, hangs or has ended.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._line.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while True:
            message = self._message(deadline)
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise GuestError(f"QEMU refused {command}: {message['error'].get('desc', 'no reason')}")
            self._events.append(message)

    def await_event(
        self, name: str, within_s: float, *, give_up: Callable[[float], bool] | None = None
    ) -> dict[str, Any]:
        """Wait for an event; returns its data.

        Args:
            name: Which one.
            within_s: How long at a time.
            give_up: Asked whenever that time is over, with the seconds passed so far; default: yes.

        Raises:
            GuestError: It did not come, or QEMU has ended.
        """
        started = time.monotonic()
        while True:
            for number, event in enumerate(self._events):
                if event.get("event") == name:
                    del self._events[: number + 1]
                    data: dict[str, Any] = event.get("data", {})
                    return data
            try:
                self._events.append(self._message(time.monotonic() + within_s))
            except TimeoutError:
                passed = time.monotonic() - started
                if give_up is None or give_up(passed):
                    raise GuestError(f"nothing happened for {passed:.0f} s") from None

    def await_end(self, within_s: float, *, give_up: Callable[[float], bool] | None = None) -> None:
        """Wait until QEMU has ended.

        Args:
            within_s: How long at a time.
            give_up: As of `await_event`.

        Raises:
            GuestError: It has not.
        """
        started = time.monotonic()
        while True:
            try:
                self._message(time.monotonic() + within_s)
            except QemuGoneError:
                return
            except TimeoutError:
                passed = time.monotonic() - started
                if give_up is None or give_up(passed):
                    raise GuestError(f"the guest was still running after {passed:.0f} s") from None

    def await_migration(self, within_s: float) -> None:
        """Wait until a migration, whose events were asked for, is complete.

        Raises:
            GuestError: It failed, or takes longer.
        """
        while (status := self.await_event("MIGRATION", within_s).get("status")) != "completed":
            if status == "failed":
                reason = self.execute("query-migrate").get("error-desc", "QEMU gives no reason")
                raise GuestError(reason)
        while self.execute("query-status")["status"] == "finish-migrate":  # for a moment after that
            time.sleep(0.01)

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._rest:
            self._line.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                piece = self._line.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise QemuGoneError("QEMU has ended")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            return dict(parse_json(line, any_text=True))
        except (TypeError, ValueError) as error:
            raise GuestError(f"QEMU's answer can't be read: {error}") from None
