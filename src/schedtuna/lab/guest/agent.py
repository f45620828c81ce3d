"""The guest's side of the lab: carries out orders that come over a virtio-serial port.

One JSON object per line each way, one answer per order: ``{"op": "read", "path": ...}`` is answered
by ``{"ok": ...}`` or ``{"error": ...}``. Between an order and its answer the agent sleeps in the
kernel, so that it does not disturb what is measured. Standard library only: this file is all that
the guest has of schedtuna, besides the launcher. Its imports are few, since they are paid at every
boot: no pathlib, no shutil, no base64.
"""

from __future__ import annotations

import binascii
import json
import os
import signal
import socket
import stat
import subprocess
import sys

TYPE_CHECKING = False  # typing's own would be imported for it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

PORT_NAME = "schedtuna.agent"
LAUNCHER = "/usr/lib/schedtuna/schedtuna-launch"
SHARE = "/share"
MESSAGE_SIZE = 96  # struct launch_message
HELD = 1
CHUNK = 1 << 18


class Agent:
    """Carries out orders; `processes` are those that it started and that nobody has forgotten."""

    def __init__(self, share: str = SHARE, launcher: str = LAUNCHER) -> None:
        self.share = share
        self.launcher = launcher
        self.processes: dict[int, tuple[subprocess.Popen[bytes], str]] = {}
        self.before = self._files()
        self.orders: dict[str, Callable[..., Any]] = {
            "read": self.read,
            "run": self.run,
            "spawn": self.spawn,
            "status": self.status,
            "signal": self.signal,
            "log": self.log,
            "changed": self.changed,
            "get": self.get,
        }

    def serve(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        """Answer orders until the line ends or `poweroff` comes."""
        hello = {"release": os.uname().release, "uptime_s": _uptime_s()}
        _say(writer, {"ok": hello})
        for line in reader:
            order = json.loads(line)
            operation = order.pop("op")
            if operation == "poweroff":
                return
            try:
                _say(writer, {"ok": self.orders[operation](**order)})
            except Exception as error:  # noqa: BLE001 - every failure is the host's to judge
                _say(writer, {"error": f"{type(error).__name__}: {error}"})

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        try:
            return _text(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def run(
        self, argv: list[str], environment: dict[str, str], folder: str, timeout_ms: int, keep_bytes: int
    ) -> dict[str, Any]:
        """Run a command through the launcher; returns its messages and its output."""
        program = self._find(argv[0], folder)
        if program is None:
            return {"missing": argv[0]}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = [f"--program={program}", f"--timeout-ms={timeout_ms}", f"--keep-bytes={keep_bytes}"]
        with ours, open("/tmp/.stdout", "w+b") as out, open("/tmp/.stderr", "w+b") as err:  # noqa: S108
            with theirs:
                process = subprocess.Popen(
                    [self.launcher, *options, f"--folder={folder}", str(theirs.fileno()), "--", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, **environment},
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            message = ours.recv(MESSAGE_SIZE)
            if int.from_bytes(message[:4], sys.byteorder) == HELD:
                ours.send(b"g")
                message = ours.recv(MESSAGE_SIZE)
            ours.close()
            process.wait()
            return {"message": _encoded(message), "stdout": _content(out), "stderr": _content(err)}

    def _find(self, name: str, folder: str) -> str | None:
        places = [folder] if "/" in name else os.get_exec_path()
        paths = (os.path.join(place, name) for place in places)
        return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)

    def spawn(self, argv: list[str]) -> int:
        """Start a program in the background; returns its pid."""
        log = f"/tmp/.log-{len(self.processes)}"  # noqa: S108 - nobody else is here
        with open(log, "wb") as file:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.processes[process.pid] = (process, log)
        return process.pid

    def status(self, pid: int) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        return self.processes[pid][0].poll()

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program that `spawn` started, and to no other."""
        process = self.processes[pid][0]
        if process.poll() is None:
            handle = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def log(self, pid: int) -> str:
        """What it has printed."""
        return _text(self.processes[pid][1])

    def changed(self) -> list[tuple[str, int, int]]:
        """Path, size and permissions of each regular file that is new or changed in the shared folder."""
        now = self._files()
        found = [(name, row[0], row[2]) for name, row in now.items() if self.before.get(name) != row]
        self.before = now
        return found

    def get(self, path: str, offset: int) -> str:
        """A piece of a file of the shared folder."""
        with open(os.path.join(self.share, path), "rb") as file:
            file.seek(offset)
            return _encoded(file.read(CHUNK))

    def _files(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for at, _, names in os.walk(self.share):
            for name in names:
                path = os.path.join(at, name)
                row = os.lstat(path)
                if stat.S_ISREG(row.st_mode):
                    key = os.path.relpath(path, self.share)
                    found[key] = (row.st_size, row.st_mtime_ns, stat.S_IMODE(row.st_mode))
        return found


def _text(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return _encoded(file.read())


def _encoded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _uptime_s() -> float:
    return float(_text("/proc/uptime").split()[0])


def _say(writer: IO[bytes], value: dict[str, Any]) -> None:
    writer.write(json.dumps(value).encode() + b"\n")
    writer.flush()


def _find_port() -> str:
    for port in os.listdir("/sys/class/virtio-ports"):
        if _text(f"/sys/class/virtio-ports/{port}/name").strip() == PORT_NAME:
            return f"/dev/{port}"
    sys.exit("schedtuna: the guest has no line to the host")


def main() -> None:
    """Serve the virtio-serial port."""
    port = os.open(_find_port(), os.O_RDWR)
    with os.fdopen(port, "rb", buffering=1 << 16) as reader, os.fdopen(os.dup(port), "wb") as writer:
        Agent().serve(reader, writer)


if __name__ == "__main__":
    main()
