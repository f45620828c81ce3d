"""A named guest in use: orders by way of its keeper, files that are put into it, commands that run in it."""

from __future__ import annotations

import base64
import codecs
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schedtuna.configfile import parse_json
from schedtuna.errors import UsageError
from schedtuna.lab.errors import GuestError, LabError
from schedtuna.lab.image import SHARE, Layer, write_layer
from schedtuna.lab.layers import program_layer, share_layer
from schedtuna.lab.named.guests import connected, guests_folder, require_up, told
from schedtuna.lab.named.keeper import LENT
from schedtuna.lab.orders import Orders
from schedtuna.lab.qemu.process import used_cpu_s
from schedtuna.lab.store import Lab
from schedtuna.lab.vm import FILES

_LETS_IN_WITHIN_S = 60.0
_ENDS_WITHIN_S = 5.0
_POLL_S = 0.1
_MISSING = "schedtuna: no such command"
_RUN = f"""cd "$1" || exit 126
out="$2" err="$3"
shift 3
command -v -- "$1" > /dev/null || {{ echo "{_MISSING}"; exit 127; }}
exec "$@" > "$out" 2> "$err"
"""
# What a killed command has left on the line comes before the token.
_RECEIVE = f"""
import os, sys
token, left = sys.argv[1].encode(), int(sys.argv[2])
for name in os.listdir("/sys/class/virtio-ports"):
    with open("/sys/class/virtio-ports/" + name + "/name") as file:
        if file.read().strip() == "schedtuna.{FILES}":
            line = os.open("/dev/" + name, os.O_RDONLY)
data = b""
while token not in data:
    data = data[-len(token):] + os.read(line, 65536)
data = data.partition(token)[2]
with open("/tmp/.put", "w+b", buffering=0) as file:
    os.unlink("/tmp/.put")
    while True:
        file.write(data)
        left -= len(data)
        if not left:
            break
        data = os.read(line, min(left, 1 << 20))
    file.seek(0)
    os.dup2(file.fileno(), 0)
os.chdir("/")
os.execvp("cpio", ["cpio", "-i", "-d", "-u"])
"""


class NamedGuest(Orders):
    """A named guest, which this process alone uses until it is closed; a context manager.

    What is started in it ends with this process, but for what is kept.

    Args:
        name: Its name.

    Attributes:
        name: Its name.
        kernel: Version of its kernel.
        cpus: Its virtual CPUs.

    Raises:
        UsageError: There is none.
        LabError: It is gone, or another command is using it.
    """

    shared = True

    def __init__(self, name: str) -> None:
        found = require_up(name)
        if not found.up:
            raise LabError(f"guest {name} is still booting", hint="`schedtuna lab list` says when it is up")
        line, hello, lent = _let_in(name)
        self.name = name
        self.kernel: str = hello["kernel"]
        self.cpus: int = hello["cpus"]
        self._qemu: int = hello["qemu"]
        super().__init__(line, {key: socket.socket(fileno=fd) for key, fd in zip(LENT, lent, strict=True)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others use it; what was started and not kept is ended."""
        self._lines.close()
        self._socket.close()
        for line in self._sockets.values():
            line.close()

    def cpu_s(self) -> float:
        """Seconds of this host's CPUs that the guest has used."""
        return used_cpu_s(self._qemu)

    def keep(self, pid: int) -> None:
        """Have a program of `spawn` outlive this process."""
        self.order("keep", pid=pid)

    def kept(self) -> dict[int, list[str]]:
        """Command lines of what is kept and runs, by pid."""
        kept = {int(pid): [str(word) for word in argv] for pid, argv in self.order("kept")}
        return {pid: argv for pid, argv in kept.items() if self.status(pid) is None}

    def put(self, layer: Layer) -> None:
        """Put files into it, in the place of those that it has.

        Raises:
            GuestError: It has no room for them.
        """
        content = BytesIO()
        write_layer(layer, content)
        token = secrets.token_hex(16)
        argv = ["/usr/bin/python3", "-I", "-S", "-c", _RECEIVE, token, str(content.tell())]
        pid = self.spawn(argv)
        self.line(FILES).sendall(token.encode() + content.getvalue())
        while (code := self.status(pid)) is None:
            time.sleep(_POLL_S)
        if code:
            raise GuestError(f"files could not be put into guest {self.name}: {self.log(pid).strip()}")

    def put_programs(self, programs: Iterable[Path], lab: Lab) -> None:
        """Put programs of this machine into /usr/local/bin, with their libraries.

        Raises:
            UsageError: One is not there, or can't run in the guest.
        """
        if layer := program_layer(programs, lab.guest_root):
            self.put(layer)

    def share(self, folder: Path, lab: Lab) -> None:
        """Put a copy of a folder into /share, in the place of what is there; `fetch_changes` brings back.

        Raises:
            UsageError: It is not a folder, or too large.
        """
        layer = share_layer(folder, lab.guest_root)
        clear = self.spawn(["sh", "-c", f"find /{SHARE} -mindepth 1 -delete"])
        while self.status(clear) is None:
            time.sleep(_POLL_S)
        if layer:
            self.put(layer)
        self.order("changed")  # from here on
        self._share = folder

    def run_here(
        self,
        argv: Sequence[str],
        out: Callable[[str], object],
        err: Callable[[str], object],
        *,
        folder: str = "/root",
        environment: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> tuple[int, bool]:
        """Run a command to its end, and pass its output on while it comes.

        Returns:
            Its exit code, as a shell tells it, and whether its time was up.

        Raises:
            UsageError: The guest has no such command.
            GuestError: The guest died.
        """
        files = [f"/tmp/.run-{secrets.token_hex(4)}-{name}" for name in ("out", "err")]  # noqa: S108
        words = [f"{name}={value}" for name, value in (environment or {}).items()]
        pid = self.spawn(["env", *words, "sh", "-c", _RUN, "sh", folder, *files, *argv])
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in files]
        at, timed_out = [0, 0], False
        try:
            while True:
                code, before = self.status(pid), sum(at)
                for number, say in enumerate((out, err)):
                    for data in self._pieces(files[number], at[number], all_of_it=code is not None):
                        at[number] += len(data)
                        say(decoders[number].decode(data))
                if code is not None:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    timed_out = True
                    self._end_group(pid)
                if sum(at) == before:  # else there may be more
                    time.sleep(_POLL_S)
        except KeyboardInterrupt:
            with suppress(GuestError):
                self._end_group(pid)
            raise
        self.spawn(["rm", "-f", *files])
        if code == 127 and _MISSING in self.log(pid):
            raise UsageError(
                f"guest {self.name} has no command {argv[0]}",
                hint="--with PROGRAM copies a program of this machine into it; --share DIR copies a folder",
            )
        return (128 - code if code < 0 else code), timed_out

    def _pieces(self, file: str, offset: int, *, all_of_it: bool) -> Iterator[bytes]:
        """What a file has beyond an offset: the next piece of it, or everything."""
        while True:
            try:
                data = base64.b64decode(self.order("get", path=file, offset=offset))
            except GuestError as error:
                if "FileNotFoundError" in str(error):  # the command has not begun
                    return
                raise
            if not data:
                return
            yield data
            if not all_of_it:
                return
            offset += len(data)

    def _end_group(self, pid: int) -> None:
        """End a program of `spawn` with what it has started in its process group."""
        for number in (signal.SIGINT, signal.SIGKILL):
            if self.status(pid) is None:
                self.spawn(["kill", f"-{int(number)}", "--", str(-pid)])
            deadline = time.monotonic() + _ENDS_WITHIN_S
            while self.status(pid) is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)


def _let_in(name: str) -> tuple[socket.socket, dict[str, Any], list[int]]:
    """Return the connection to a guest's keeper, what it is, and the descriptors of the lines to it."""
    who = {"pid": os.getpid(), "command": " ".join(["schedtuna", *sys.argv[1:]])[:200]}
    with ExitStack() as stack:
        try:
            line = stack.enter_context(connected(guests_folder() / name, who, within_s=_LETS_IN_WITHIN_S))
            said, lent, _, _ = socket.recv_fds(line, 1 << 16, len(LENT))
        except OSError as error:
            raise LabError(f"guest {name} does not answer: {error}") from None
        answer = parse_json(said or b"{}", any_text=True)
        if "ok" not in answer:
            raise LabError(
                f"guest {name} is in use by {told(answer.get('user')) or 'another command'}",
                hint="one command at a time: wait for it, or end it",
            )
        stack.pop_all()
        return line, answer["ok"], lent
