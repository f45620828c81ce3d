"""A running guest: a QEMU process, and the line to guestd in it.

A guest dies with its parent: the kernel kills QEMU when the process that started it is gone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schedtuna.configfile import parse_json
from schedtuna.errors import UntrustedError, UsageError
from schedtuna.files import Folder, require_own
from schedtuna.lab.errors import BootError, GuestError
from schedtuna.lab.image import Layer, assemble
from schedtuna.lab.layers import kernel_layer, program_layer, recording_layer, share_layer
from schedtuna.lab.qemu.process import last_words, start_bound, used_cpu_s
from schedtuna.lab.qemu.program import accelerator_options, machine_options
from schedtuna.lab.store import Kernel, Lab
from schedtuna.machine.patience import Patience
from schedtuna.workload.command import KEEP_BYTES, RawRun, raw_run
from schedtuna.workload.launcher import Message

BOOT_WITHIN_S = 60.0
TERMINAL, TERMINAL_SIZE = "terminal", "size"
_GUESTD = "agent"
ANSWER_WITHIN_S = 60.0
_POWEROFF_WITHIN_S = 5.0
_GRACE_S = 60.0  # over a command's own timeout, which the launcher in the guest keeps
# The kernel's tests of its own ciphers would take a third of a second of every boot.
_APPEND = "console=ttyS0 panic=-1 quiet cryptomgr.notests"
# Half a second: there is no speculation in an emulated CPU that anything could leak from. And on a
# busy host the kernel would find that its timer does not tick: QEMU's does, when QEMU runs.
_APPEND_EMULATED = " mitigations=off no_timer_check"


@dataclass(frozen=True)
class GuestSpec:
    """What a guest is made of.

    Attributes:
        kernel: Version; None for the lab's default.
        cpus: Virtual CPUs.
        memory_mib: Memory in MiB; the guest's files are in it.
        programs: Programs of the host, copied to /usr/local/bin with their libraries.
        share: Folder that is copied to /share; None: nothing of the host is visible.
        recording: Whether it can count `sched.*` metrics.
        terminal: Whether it has a virtual console, on the line `terminal`, whose size comes on `size`.
        lines: Names of more lines to it.
    """

    kernel: str | None = None
    cpus: int = 2
    memory_mib: int = 1024
    programs: tuple[Path, ...] = ()
    share: Path | None = None
    recording: bool = False
    terminal: bool = False
    lines: tuple[str, ...] = ()


class BootedGuest:
    """A guest that has booted; close it, or use it as a context manager.

    It is a `scheduler.scx.Machine`.

    Raises:
        BootError: It did not come up in time; the message has the end of its console.
        UsageError: A program or the shared folder can't be had.
    """

    def __init__(
        self, lab: Lab, spec: GuestSpec, *, accelerator: str = "", within_s: float = BOOT_WITHIN_S
    ) -> None:
        if not (1 <= spec.cpus <= 64 and 512 <= spec.memory_mib <= 1 << 20):
            raise UsageError("a guest has 1 to 64 CPUs and at least 512 MiB of memory")
        self.spec = spec
        self.kernel = lab.kernel(spec.kernel)
        self._resources = ExitStack()
        started = time.monotonic()
        try:
            self._boot(lab, accelerator or lab.accelerator, within_s)
        except BaseException:
            self._resources.close()
            raise
        self.boot_s = time.monotonic() - started

    def _boot(self, lab: Lab, accelerator: str, within_s: float) -> None:
        _require_own_scratch()
        folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="schedtuna-lab-")))
        self._console = folder / "console"
        self._errors = folder / "qemu"
        assemble(lab.image, guest_layers(lab, self.kernel, self.spec), folder / "initrd")
        self._sockets: dict[str, socket.socket] = {}
        self._broken: BaseException | None = None
        with ExitStack() as passed, self._errors.open("wb") as errors:
            lines, fds = self._open_lines(passed)
            argv = [
                *lab.qemu.argv,
                *accelerator_options(accelerator),
                *machine_options(
                    cpus=self.spec.cpus,
                    memory_mib=self.spec.memory_mib,
                    image=self.kernel.unpacked or self.kernel.image,
                    initrd=folder / "initrd",
                    append=_APPEND + (_APPEND_EMULATED if accelerator == "tcg" else ""),
                ),
                *("-serial", f"file:{self._console}"),
                *("-device", "virtio-serial-pci", *lines),
            ]
            self._process = start_bound(argv, errors.fileno(), pass_fds=fds)
        self._resources.callback(self._end)
        self._socket = self._sockets[_GUESTD]
        self._lines = self._socket.makefile("rb")
        self._resources.callback(self._lines.close)
        try:
            self._await_boot(within_s)
            self.hello = self._answer(ANSWER_WITHIN_S)
        except GuestError as error:
            raise BootError(f"kernel {self.kernel.version} did not come up in a guest: {error}") from None
        (folder / "initrd").unlink()

    def _open_lines(self, passed: ExitStack) -> tuple[list[str], list[int]]:
        """Open a line for each purpose; returns QEMU's options for them, and the descriptors that it needs.

        A console must be the first: port 0 can be nothing else.
        """
        options: list[str] = []
        fds: list[int] = []
        consoles, sizes = ([TERMINAL], [TERMINAL_SIZE]) if self.spec.terminal else ([], [])
        for name in (*consoles, _GUESTD, *sizes, *self.spec.lines):
            ours, theirs = socket.socketpair()
            self._resources.callback(ours.close)
            passed.callback(theirs.close)
            self._sockets[name] = ours
            fds.append(theirs.fileno())
            kind = "virtconsole" if name == TERMINAL else "virtserialport"
            options += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
            options += ["-device", f"{kind},chardev={name},name=schedtuna.{name}"]
        return options, fds

    def _await_boot(self, within_s: float) -> None:
        """Wait for guestd's first words.

        What counts is the time that QEMU really ran: on a busy host a good boot takes long.
        """
        patience = Patience(within_s, self.cpu_s)
        while not select.select([self._socket], [], [], 0.2)[0]:
            if patience.ended():
                raise GuestError(f"no answer within {patience.passed_s():.0f} s{self._last_words()}")

    def cpu_s(self) -> float:
        """Seconds of this host's CPUs that the guest has used."""
        return used_cpu_s(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Power it off; it leaves nothing behind."""
        self._resources.close()

    # ---- orders ---------------------------------------------------------------------------------

    def order(self, operation: str, *, within_s: float = ANSWER_WITHIN_S, **arguments: Any) -> Any:
        """Let guestd do something, and return what it answers.

        Raises:
            GuestError: It refused, or the guest died or hangs; then it is of no further use.
        """
        self.ask(operation, **arguments)
        return self._answer(within_s)

    def ask(self, operation: str, **arguments: Any) -> None:
        """Give an order whose `answer` is awaited elsewhere; nothing else may be ordered until then.

        Raises:
            GuestError: The guest died.
        """
        if self._broken is not None:
            raise self._broken
        with self._exchange():
            try:
                self._socket.settimeout(ANSWER_WITHIN_S)
                self._socket.sendall(json.dumps({"op": operation, **arguments}).encode() + b"\n")
            except OSError:
                raise GuestError(f"the guest died{self._last_words()}") from None

    def answer(self) -> Any:
        """What the guest answers to `ask`: at once where `fileno` is readable."""
        return self._answer(ANSWER_WITHIN_S)

    def fileno(self) -> int:
        """File descriptor that is readable once there is an answer, or the guest is gone."""
        return self._socket.fileno()

    def line(self, name: str) -> socket.socket:
        """Our end of a line to it: `terminal`, or one of the spec's."""
        return self._sockets[name]

    def read(self, path: str) -> str | None:
        """The text of one of its files; None where there is none."""
        text: str | None = self.order("read", path=path)
        return text

    def spawn(self, argv: Sequence[str]) -> int:
        """Start a program in the background; returns its pid."""
        with _understood():
            return int(self.order("spawn", argv=list(argv)))

    def status(self, pid: int) -> int | None:
        """Exit code of a program of `spawn`, minus a signal's number, or None while it runs."""
        code: int | None = self.order("status", pid=pid)
        return code

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a program of `spawn`."""
        self.order("signal", pid=pid, number=number)

    def log(self, pid: int) -> str:
        """What a program of `spawn` has printed."""
        return str(self.order("log", pid=pid))

    def run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str = "/share",
        timeout_s: float = 300.0,
    ) -> RawRun:
        """Run a command to its end.

        Raises:
            UsageError: The guest has no such command.
            WorkloadError: The command can't be run, such as a script without an interpreter.
            GuestError: The guest died or hangs.
        """
        return self._run(argv, environment=environment, folder=folder, timeout_s=timeout_s)[0]

    def run_recorded(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str = "/share",
        timeout_s: float = 300.0,
    ) -> tuple[RawRun, Any]:
        """Run a command as `run` does, in a guest that is `recording`.

        Returns:
            The run, and what the kernel counted of it, for `trace.aggregates.remote`.

        Raises:
            GuestError: Or the guest's kernel can't count.
        """
        raw, answer = self._run(
            argv, environment=environment, folder=folder, timeout_s=timeout_s, record=True
        )
        try:
            return raw, parse_json(answer["recorded"])
        except (KeyError, TypeError, ValueError):
            raise GuestError("the guest's recorder did not say what it counted") from None

    def _run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None,
        folder: str,
        timeout_s: float,
        **more: bool,
    ) -> tuple[RawRun, Any]:
        started_at = time.time()
        answer = self.order(
            "run",
            within_s=timeout_s + _GRACE_S,
            argv=list(argv),
            environment=dict(environment or {}),
            folder=folder,
            timeout_ms=max(1, round(timeout_s * 1000)),
            keep_bytes=KEEP_BYTES,
            **more,
        )
        if "missing" in answer:
            raise UsageError(
                f"the guest has no command {answer['missing']}",
                hint="--with PROGRAM copies a program of this machine into it; --share DIR copies a folder",
            )
        with _understood():
            message, out, err = (base64.b64decode(answer[key]) for key in ("message", "stdout", "stderr"))
        raw = raw_run(Message.unpack(message), BytesIO(out), BytesIO(err), argv=argv, started_at=started_at)
        return raw, answer

    def fetch_changes(self) -> list[Path]:
        """Copy files that are new or changed in the shared folder back; returns their paths.

        Raises:
            GuestError: The guest names a file outside of the folder.
        """
        if self.spec.share is None:
            return []
        fetched = []
        with _understood():
            changed = [(str(name), int(size), int(mode)) for name, size, mode in self.order("changed")]
        for name, size, mode in changed:
            path = inside(self.spec.share, name)
            # What is there is replaced, never followed: the folder may be anybody's.
            with (
                Folder(path.parent, create=True, own=False) as folder,
                folder.writing(path.name, mode=0o600) as file,
            ):
                while file.tell() < size:
                    with _understood():
                        piece = base64.b64decode(self.order("get", path=name, offset=file.tell()))
                    if not piece:
                        break
                    file.write(piece)
                os.fchmod(file.fileno(), mode & 0o777)
            fetched.append(path)
        return fetched

    def console(self) -> str:
        """What the guest's kernel has printed."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def _answer(self, within_s: float) -> Any:
        with self._exchange():
            self._socket.settimeout(max(0.001, within_s))
            try:
                line = self._lines.readline()
            except TimeoutError:
                raise GuestError(f"no answer within {within_s:.0f} s{self._last_words()}") from None
            except OSError:
                line = b""
            if not line.endswith(b"\n"):
                raise GuestError(f"the guest died{self._last_words()}")
            with _understood():
                answer = dict(parse_json(line, any_text=True))
                refused = None if "ok" in answer else answer["error"]
        if refused is not None:
            raise GuestError(f"the guest refused: {refused}")
        return answer["ok"]

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """Remember what broke an exchange off: the next answer would be the one to this order.

        Whoever goes on, such as what ends a program in the guest after Ctrl-C, gets the same again.
        """
        try:
            yield
        except BaseException as error:
            self._broken = error
            raise

    def _last_words(self) -> str:
        return last_words(f"{self._errors.read_text(errors='replace')}\n{self.console()}")

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.settimeout(1)
            self._socket.sendall(b'{"op": "poweroff"}\n')
        try:
            self._process.wait(_POWEROFF_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def guest_layers(lab: Lab, kernel: Kernel, spec: GuestSpec) -> Iterable[Layer]:
    """What a guest has beyond the base."""
    yield kernel_layer(kernel.version, kernel.config)
    if spec.recording:
        yield recording_layer(lab.guest_root)
    if spec.programs:
        yield program_layer(spec.programs, lab.guest_root)
    if spec.share is not None:
        yield share_layer(spec.share, lab.guest_root)


def _require_own_scratch() -> None:
    """QEMU reads and writes by path, below TMPDIR."""
    try:
        require_own(Path(tempfile.gettempdir()))
    except UntrustedError as error:
        raise UntrustedError(
            f"temporary files would lie where others can exchange them: {error}",
            hint="set TMPDIR to a folder of your own, or unset it",
        ) from None


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """Have an answer that is not as it should be be the guest's fault."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise GuestError(f"the guest's answer can't be read: {error}") from None


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that the guest names, which is not trusted.

    Raises:
        GuestError: It would be outside of the folder.
    """
    base = folder.resolve()
    path = base / name
    # The parent is resolved, not the file: a link of the host's with this name is replaced, not followed.
    if ".." in Path(name).parts or not path.parent.resolve().is_relative_to(base):
        raise GuestError(f"the guest wants to write outside of {folder}: {name}")
    if path.is_symlink():
        path.unlink()
    return path
