"""The guest's side of the lab: carries out orders that come over a virtio-serial port.

One JSON object per line each way, one answer per order: ``{"op": "read", "path": ...}`` is answered
by ``{"ok": ...}`` or ``{"error": ...}``. Between an order and its answer guestd sleeps in the
kernel, so that it does not disturb what is measured. Standard library only: this file is all that
the guest has of schedtuna, besides the launcher. Its imports are paid at every boot, a second in an
emulated guest for json, socket, subprocess and pathlib: so it uses the C modules below them.
"""

from __future__ import annotations

import _socket
import binascii
import os
import stat
import sys

TYPE_CHECKING = False  # typing's own would be imported for it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

LINES = "schedtuna."  # what names of lines to the host begin with
PORT_NAME = f"{LINES}agent"  # as in images of labs that were set up earlier
RELAY = "/usr/lib/schedtuna/relay"
LAUNCHER = "/usr/lib/schedtuna/schedtuna-launch"
SHARE = "/share"
MESSAGE_SIZE = 96  # struct launch_message
HELD = 1
RECORDER = "/usr/lib/schedtuna/recorder.py"
CHUNK = 1 << 18
CONSOLE = "/dev/hvc0"
TIOCSWINSZ = 0x5414  # asm-generic/ioctls.h
PYTHON_IGNORES = (13, 25)  # SIGPIPE, SIGXFSZ: programs don't expect that


class Guestd:
    """Carries out orders; `processes` are those that it started: pid -> exit code once known, log."""

    def __init__(self, share: str = SHARE, launcher: str = LAUNCHER) -> None:
        self.share = share
        self.launcher = launcher
        self.processes: dict[int, tuple[int | None, str]] = {}
        self.before = self._files()
        self.orders: dict[str, Callable[..., Any]] = {
            "read": self.read,
            "run": self.run,
            "spawn": self.spawn,
            "terminal": self.terminal,
            "forward": self.forward,
            "status": self.status,
            "wait": self.wait,
            "signal": self.signal,
            "log": self.log,
            "changed": self.changed,
            "get": self.get,
        }

    def serve(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        """Answer orders until the line ends or `poweroff` comes."""
        loads, dumps = _json_codec()

        def say(value: dict[str, Any]) -> None:
            writer.write(dumps(value).encode() + b"\n")
            writer.flush()

        say({"ok": {"release": os.uname().release, "uptime_s": _uptime_s()}})
        for line in reader:
            order = loads(line.decode())
            operation = order.pop("op")
            if operation == "poweroff":
                return
            try:
                say({"ok": self.orders[operation](**order)})
            except Exception as error:  # noqa: BLE001 - every failure is the host's to judge
                say({"error": f"{type(error).__name__}: {error}"})

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        try:
            return _text(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def run(
        self,
        *,
        argv: list[str],
        environment: dict[str, str],
        folder: str,
        timeout_ms: int,
        keep_bytes: int,
        record: bool = False,
    ) -> dict[str, Any]:
        """Run a command through the launcher; returns its messages and its output.

        With `record`, what the scheduler did with it, too.
        """
        program = self._find(argv[0], folder)
        if program is None:
            return {"missing": argv[0]}
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        options = [f"--program={program}", f"--timeout-ms={timeout_ms}", f"--keep-bytes={keep_bytes}"]
        os.set_inheritable(theirs.fileno(), True)
        with open("/tmp/.stdout", "w+b") as out, open("/tmp/.stderr", "w+b") as err:  # noqa: S108
            pid = _start(
                [self.launcher, *options, f"--folder={folder}", str(theirs.fileno()), "--", *argv],
                {1: out.fileno(), 2: err.fileno()},
                {**os.environ, **environment},
            )
            theirs.close()
            message = ours.recv(MESSAGE_SIZE)
            recorder = None
            if int.from_bytes(message[:4], sys.byteorder) == HELD:
                if record:
                    recorder = _Recorder(int.from_bytes(message[4:8], sys.byteorder))
                ours.send(b"g")
                message = ours.recv(MESSAGE_SIZE)
            ours.close()
            os.waitpid(pid, 0)
            answer = {"message": _encoded(message), "stdout": _content(out), "stderr": _content(err)}
        return answer if recorder is None else {**answer, "recorded": recorder.stop()}

    def _find(self, name: str, folder: str) -> str | None:
        places = [folder] if "/" in name else os.environ.get("PATH", os.defpath).split(":")
        paths = (os.path.join(place, name) for place in places)
        return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)

    def spawn(self, argv: list[str]) -> int:
        """Start a program in the background; returns its pid."""
        log = f"/tmp/.log-{len(self.processes)}"  # noqa: S108 - nobody else is here
        with open(log, "wb") as file:
            pid = _start(argv, {1: file.fileno(), 2: file.fileno()}, dict(os.environ))
        self.processes[pid] = (None, log)
        return pid

    def terminal(self, argv: list[str], environment: dict[str, str], folder: str, size: list[int]) -> int:
        """Start a program on the virtual console, which becomes its terminal; returns its pid.

        `size` is the terminal's rows and columns.
        """
        import fcntl

        os.chdir(folder)
        console = os.open(CONSOLE, os.O_RDWR | os.O_NOCTTY)
        cells = b"".join(number.to_bytes(2, sys.byteorder) for number in (*size, 0, 0))
        fcntl.ioctl(console, TIOCSWINSZ, cells)
        try:
            # The first terminal that a new session opens is its own: Ctrl-C goes there.
            pid = os.posix_spawnp(
                argv[0],
                argv,
                {**os.environ, **environment},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, CONSOLE, os.O_RDWR, 0),
                    *((os.POSIX_SPAWN_DUP2, 0, number) for number in (1, 2)),
                ],
                setsid=True,
                setsigdef=PYTHON_IGNORES,
            )
        finally:
            os.close(console)
            os.chdir("/")
        self.processes[pid] = (None, os.devnull)
        return pid

    def forward(self, line: str, port: int) -> int:
        """Relay connections from a line to a port; returns the relay's pid."""
        compiled = os.path.splitext(sys.argv[0])[1]  # .pyc, as this very program
        return self.spawn(["/usr/bin/python3", "-I", "-S", RELAY + compiled, LINES + line, str(port)])

    def status(self, pid: int) -> int | None:
        """Its exit code, minus the signal that ended it, or None while it runs."""
        return self._status(pid, os.WNOHANG)

    def wait(self, pid: int) -> int | None:
        """Its exit code, once it has ended."""
        return self._status(pid, 0)

    def _status(self, pid: int, options: int) -> int | None:
        code, log = self.processes[pid]
        if code is None:
            ended, raw = os.waitpid(pid, options)
            code = os.waitstatus_to_exitcode(raw) if ended else None
            self.processes[pid] = (code, log)
        return code

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program that `spawn` started, and to no other."""
        if self.status(pid) is None:
            os.kill(pid, number)  # it is our child, and not waited for: the pid can't be another's

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


class _Recorder:
    """The process that counts what the scheduler does with a process; it counts already.

    Raises:
        OSError: It does not.
    """

    def __init__(self, pid: int) -> None:
        stdin, self._end = os.pipe()
        out, stdout = os.pipe()
        self._pid = _start(
            ["/usr/bin/python3", "-I", "-S", RECORDER, str(pid)],
            {0: stdin, 1: stdout},
            {**os.environ, "PYTHONDONTWRITEBYTECODE": ""},  # it is started for every run
        )
        os.close(stdin)
        os.close(stdout)
        self._lines = os.fdopen(out)
        word = self._lines.readline().strip()
        if word != "ready":
            self.stop()
            raise OSError(word or "the recorder did not start")

    def stop(self) -> str:
        """Let it end; returns what it has counted."""
        os.close(self._end)
        with self._lines:
            found = self._lines.read()
        os.waitpid(self._pid, 0)
        return found


def _start(argv: list[str], outputs: dict[int, int], environment: dict[str, str]) -> int:
    """Start a program in a session of its own, with nothing to read; `outputs`: its fd -> ours."""
    return os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in outputs.items()),
        ],
        setsid=True,
        setsigdef=PYTHON_IGNORES,
    )


class _Dialect:
    """How _json's scanner is to read."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def _json_codec() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """`json.loads` and `json.dumps`, from their C parts alone where those are as we know them."""
    try:
        import _json

        scan = _json.make_scanner(_Dialect)  # type: ignore[arg-type] # any object with these attributes
        encode = _json.make_encoder(
            None, _no_default, _json.encode_basestring_ascii, None, ":", ",", False, False, True
        )
        return lambda text: scan(text, 0)[0], lambda value: "".join(encode(value, 0))
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads, json.dumps


def _no_default(value: object) -> object:
    raise TypeError(f"{value!r} can't be written as JSON")


def _text(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def _content(file: IO[bytes]) -> str:
    size = os.fstat(file.fileno()).st_size
    return _encoded(os.pread(file.fileno(), size, 0))  # to seek would move what writes to it, too


def _encoded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _uptime_s() -> float:
    return float(_text("/proc/uptime").split()[0])


def _find_port() -> str:
    for port in os.listdir("/sys/class/virtio-ports"):
        if _text(f"/sys/class/virtio-ports/{port}/name").strip() == PORT_NAME:
            return f"/dev/{port}"
    sys.exit("schedtuna: the guest has no line to the host")


def main() -> None:
    """Serve the virtio-serial port."""
    port = os.open(_find_port(), os.O_RDWR)
    with os.fdopen(port, "rb", buffering=1 << 16) as reader, os.fdopen(os.dup(port), "wb") as writer:
        Guestd().serve(reader, writer)


if __name__ == "__main__":
    main()
