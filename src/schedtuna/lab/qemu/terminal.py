"""How does a person talk to a program in a guest? As over a serial line: what is typed goes in as it is.

Ctrl-C, Ctrl-Z and Ctrl-D are the guest's to understand: its virtual console is a real terminal, and
ours only passes bytes on.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import threading
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from schedtuna.lab.errors import GuestError
from schedtuna.lab.orders import Orders
from schedtuna.lab.vm import TERMINAL, TERMINAL_SIZE

_CHUNK = 1 << 16
_SIZE = os.terminal_size((80, 24))  # where there is no terminal
_LAST_OUTPUT_S = 0.3  # how long after a program's end its output may still be on its way
_POLL_S = 0.2
_END_OF_INPUT = b"\x04"  # Ctrl-D
# In the guest: what is on the console hears of its new size by SIGWINCH.
_FOLLOW = """
for port in /sys/class/virtio-ports/*; do
    read -r name < "$port/name" && [ "$name" = "$1" ] && break
done
while read -r rows columns; do
    stty -F /dev/hvc0 rows "$rows" cols "$columns"
done < "/dev/${port##*/}"
"""


def run_on_terminal(
    guest: Orders,
    argv: Sequence[str],
    *,
    folder: str = "/root",
    environment: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int = 1,
) -> int:
    """Run a program on a guest's virtual console until it ends.

    Args:
        guest: Booted with `terminal`.
        argv: The program.
        folder: Where it runs.
        environment: Beside the guest's own.
        stdin: File descriptor of what is typed; None: nothing.
        stdout: Where its output goes.

    Returns:
        Its exit code; 128 + the number of the signal that ended it.

    Raises:
        GuestError: The guest died, or has no such program.
    """
    terminal = stdin if stdin is not None and os.isatty(stdin) else None
    while guest.shared and select.select([guest.line(TERMINAL)], [], [], 0)[0]:
        os.read(guest.line(TERMINAL).fileno(), _CHUNK)  # what a shell that was killed has left
    size = _SIZE if terminal is None else os.get_terminal_size(terminal)
    pid = guest.order(
        "terminal",
        argv=list(argv),
        environment=dict(environment or {}),
        folder=folder,
        size=[size.lines, size.columns],
    )
    with _raw(terminal), _resizes(guest, terminal):
        code = _converse(guest, pid, stdin, stdout)
    return 128 - code if code < 0 else code


def _converse(guest: Orders, pid: int, stdin: int | None, stdout: int) -> int:
    line = guest.line(TERMINAL)
    if not guest.shared:
        guest.ask("wait", pid=pid)
    sources: list[int] = [line.fileno(), guest.fileno(), *([stdin] if stdin is not None else [])]
    while True:
        ready, _, _ = select.select(sources, [], [], _POLL_S if guest.shared else None)
        if line.fileno() in ready and not _pass_on(line.fileno(), stdout):
            raise GuestError("the guest died")
        if stdin is not None and stdin in ready:
            typed = os.read(stdin, _CHUNK)
            line.sendall(typed or _END_OF_INPUT)
            if not typed:
                sources.remove(stdin)
        code = guest.status(pid) if guest.shared else guest.answer() if guest.fileno() in ready else None
        if code is not None:
            while select.select([line], [], [], _LAST_OUTPUT_S)[0] and _pass_on(line.fileno(), stdout):
                pass
            return int(code)


def _pass_on(source: int, stdout: int) -> bool:
    """Copy what is there; whether there was anything."""
    data = os.read(source, _CHUNK)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(stdout, rest) :]
    return bool(data)


@contextmanager
def _raw(terminal: int | None) -> Iterator[None]:
    """Let our terminal pass every key on, and be as it was at the end."""
    if terminal is None:
        yield
        return
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


@contextmanager
def _resizes(guest: Orders, terminal: int | None) -> Iterator[None]:
    """Give the guest's console the size of our terminal whenever that changes."""
    if terminal is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    line = guest.line(TERMINAL_SIZE)
    guest.spawn(["sh", "-c", _FOLLOW, "sh", f"schedtuna.{TERMINAL_SIZE}"])

    def tell(*_: object) -> None:
        size = os.get_terminal_size(terminal)
        line.sendall(b"%d %d\n" % (size.lines, size.columns))

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
