"""A named guest in use: orders by way of its keeper, files that are put into it, commands that run in it."""

from __future__ import annotations

import codecs
import math
import os
import re
import secrets
import select
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
_PIECE = 1 << 18  # of output
_END = 2  # what follows the numbers of stdout and stderr
_HEAD, _HEAD_BYTES = re.compile(rb"([012]) (\d{1,7})"), 16
_MISSING = "schedtuna: no such command"
_RUN = f"""cd "$1" || exit 126
out="$2" err="$3"
shift 3
command -v -- "$1" > /dev/null || {{ echo "{_MISSING}"; exit 127; }}
exec "$@" > "$out" 2> "$err"
"""
# The line of files is one command's at a time; what a killed one has left on it comes before the token.
_LINE = f"""
import os, sys, time
for name in os.listdir("/sys/class/virtio-ports"):
    with open("/sys/class/virtio-ports/" + name + "/name") as file:
        if file.read().strip() == "schedtuna.{FILES}":
            port = "/dev/" + name
"""
_RECEIVE = f"""{_LINE}
token, left = sys.argv[1].encode(), int(sys.argv[2])
line = os.open(port, os.O_RDONLY)
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
# Raw, because to spell it for an answer would take an emulated CPU longer than to send it.
_SEND = f"""{_LINE}
token, pid, *files = sys.argv[1:]
while True:
    try:
        line = os.fdopen(os.open(port, os.O_WRONLY), "wb")
        break
    except OSError:  # the one before still has it
        time.sleep({_POLL_S})
def send(number, data):
    line.write(b"%d %d\\n" % (number, len(data)) + data)
    line.flush()
def has_ended():
    try:
        with open("/proc/" + pid + "/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
line.write(token.encode())
at = [0, 0]
while True:
    ended, before = has_ended(), sum(at)
    for number, name in enumerate(files):
        try:
            file = open(name, "rb")
        except FileNotFoundError:  # the command has not begun
            continue
        with file:
            file.seek(at[number])
            size = os.fstat(file.fileno()).st_size
            while at[number] < size:
                data = file.read(min(size - at[number], {_PIECE}))
                send(number, data)
                at[number] += len(data)
                if not ended:
                    break
    if ended:
        break
    if sum(at) == before:
        time.sleep({_POLL_S} / 4)
send({_END}, b"")
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
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in files]
        timed_out = False
        try:
            for number, data in self._sent(pid, files):
                (out, err)[number](decoders[number].decode(data))
                if time.monotonic() > deadline and not timed_out:
                    timed_out = True
                    self._end_group(pid)
            while (code := self.status(pid)) is None:
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

    def _sent(self, pid: int, files: Sequence[str]) -> Iterator[tuple[int, bytes]]:
        """What is written to files until a program of `spawn` ends: which file, and a piece of it.

        Now and then an empty piece, where nothing comes.
        """
        token, line = secrets.token_hex(16).encode(), self.line(FILES)
        argv = ["/usr/bin/python3", "-I", "-S", "-c", _SEND, token.decode(), str(pid), *files]
        sender, buffer, begun = self.spawn(argv), bytearray(), False
        while True:
            if not select.select([line], [], [], _POLL_S)[0]:
                if self.status(sender) is not None and not select.select([line], [], [], 0)[0]:
                    raise GuestError(
                        f"output does not come from guest {self.name}: {self.log(sender).strip()}"
                    )
                yield 0, b""
                continue
            data = line.recv(_PIECE)
            if not data:
                raise GuestError("the guest died")
            buffer += data
            if not begun:
                if (at := buffer.find(token)) < 0:
                    del buffer[: -len(token)]
                    continue
                del buffer[: at + len(token)]
                begun = True
            while (frame := _frame(buffer)) is not None:
                if frame[0] == _END:
                    return
                yield frame

    def _end_group(self, pid: int) -> None:
        """End a program of `spawn` with what it has started in its process group."""
        for number in (signal.SIGINT, signal.SIGKILL):
            if self.status(pid) is None:
                self.spawn(["kill", f"-{int(number)}", "--", str(-pid)])
            deadline = time.monotonic() + _ENDS_WITHIN_S
            while self.status(pid) is None and time.monotonic() < deadline:
                time.sleep(_POLL_S)


def _frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take a whole piece of output out of a buffer, and which it is of; None where there is none yet.

    Raises:
        GuestError: It is not as it should be.
    """
    head, newline, _ = bytes(buffer[:_HEAD_BYTES]).partition(b"\n")
    if not newline and len(buffer) < _HEAD_BYTES:
        return None
    match = _HEAD.fullmatch(head)
    if match is None or int(match[2]) > _PIECE:
        raise GuestError(f"the guest's output can't be read: {head!r}")
    begin = len(head) + 1
    end = begin + int(match[2])
    if len(buffer) < end:
        return None
    data = bytes(buffer[begin:end])
    del buffer[:end]
    return int(match[1]), data


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
