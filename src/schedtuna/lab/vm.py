"""A running guest: a QEMU process, and the line to guestd in it.

A guest dies with its parent: the kernel kills QEMU when the process that started it is gone.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schedtuna.errors import UntrustedError, UsageError
from schedtuna.files import require_own
from schedtuna.lab.errors import BootError, GuestError
from schedtuna.lab.image import Layer, assemble
from schedtuna.lab.layers import kernel_layer, program_layer, recording_layer, share_layer
from schedtuna.lab.orders import ANSWER_WITHIN_S, Orders
from schedtuna.lab.qemu.process import last_words, start_bound, used_cpu_s
from schedtuna.lab.qemu.program import accelerator_options, machine_options
from schedtuna.lab.shape import GuestShape
from schedtuna.lab.store import Kernel, Lab
from schedtuna.machine.patience import Patience

BOOT_WITHIN_S = 60.0
TERMINAL, TERMINAL_SIZE = "terminal", "size"
GUESTD, FILES = "agent", "files"
_POWEROFF_WITHIN_S = 5.0
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
        topology: How its CPUs are laid out, as `lab.shape` reads it; None: cores of one cache.
    """

    kernel: str | None = None
    cpus: int = 2
    memory_mib: int = 1024
    programs: tuple[Path, ...] = ()
    share: Path | None = None
    recording: bool = False
    terminal: bool = False
    lines: tuple[str, ...] = ()
    topology: str | None = None

    @classmethod
    def of(cls, cpus: int | None, topology: str | None, **more: Any) -> Self:
        """Return the guest of a number of CPUs, or a topology, or both, with more of its attributes.

        Raises:
            UsageError: They contradict each other, or can't be.
        """
        shape = GuestShape.of(cpus, topology)
        return cls(cpus=shape.nr_cpus, topology=topology and str(shape), **more)

    @property
    def shape(self) -> GuestShape:
        """How its CPUs are laid out.

        Raises:
            UsageError: They can't be, or are not as many.
        """
        return GuestShape.of(self.cpus, self.topology)

    @property
    def laid_out(self) -> str:
        """Its CPUs, in a few words: ``4 CPUs (2x2x1)``."""
        return f"{self.cpus} CPU{'s' * (self.cpus > 1)}{f' ({self.topology})' * bool(self.topology)}"


class BootedGuest(Orders):
    """A guest that has booted; close it, or use it as a context manager.

    Raises:
        BootError: It did not come up in time; the message has the end of its console.
        UsageError: A program or the shared folder can't be had.
    """

    def __init__(
        self, lab: Lab, spec: GuestSpec, *, accelerator: str = "", within_s: float = BOOT_WITHIN_S
    ) -> None:
        if not 512 <= spec.memory_mib <= 1 << 20:
            raise UsageError("a guest has at least 512 MiB of memory")
        self._shape = spec.shape
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
        with ExitStack() as passed, self._errors.open("wb") as errors:
            lines, fds, sockets = self._open_lines(passed)
            argv = [
                *lab.qemu.argv,
                *accelerator_options(accelerator),
                *machine_options(
                    self._shape,
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
        super().__init__(sockets[GUESTD], sockets, self.spec.share)
        self._resources.callback(self._lines.close)
        try:
            self._await_boot(within_s)
            self.hello = self._answer(ANSWER_WITHIN_S)
        except GuestError as error:
            raise BootError(f"kernel {self.kernel.version} did not come up in a guest: {error}") from None
        (folder / "initrd").unlink()

    def _open_lines(self, passed: ExitStack) -> tuple[list[str], list[int], dict[str, socket.socket]]:
        """Open a line for each purpose; returns QEMU's options, the descriptors that it needs, and our ends.

        A console must be the first: port 0 can be nothing else.
        """
        options: list[str] = []
        fds: list[int] = []
        sockets: dict[str, socket.socket] = {}
        consoles, sizes = ([TERMINAL], [TERMINAL_SIZE]) if self.spec.terminal else ([], [])
        for name in (*consoles, GUESTD, *sizes, *self.spec.lines):
            ours, theirs = socket.socketpair()
            self._resources.callback(ours.close)
            passed.callback(theirs.close)
            sockets[name] = ours
            fds.append(theirs.fileno())
            kind = "virtconsole" if name == TERMINAL else "virtserialport"
            options += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
            options += ["-device", f"{kind},chardev={name},name=schedtuna.{name}"]
        return options, fds, sockets

    def _await_boot(self, within_s: float) -> None:
        """Wait for guestd's first words.

        What counts is the time that QEMU really ran: on a busy host a good boot takes long.
        """
        patience = Patience(within_s, self.cpu_s)
        while not select.select([self._socket], [], [], 0.2)[0]:
            if patience.ended():
                raise GuestError(f"no answer within {patience.passed_s():.0f} s{self.last_words()}")

    @property
    def pid(self) -> int:
        """The QEMU process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Seconds of this host's CPUs that the guest has used."""
        return used_cpu_s(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Power it off; it leaves nothing behind."""
        self._resources.close()

    def console(self) -> str:
        """What the guest's kernel has printed."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def last_words(self) -> str:
        """The end of what QEMU and its kernel have printed, as the end of a message."""
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
