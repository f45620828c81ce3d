"""How is a guest saved once and restored for every trial? QEMU's migration, to a file.

**Why the bits are the same.** With -icount the guest's clock counts its instructions, and its idle time is
skipped: nothing that the guest can see comes from the host's clock. It stops itself, at an instruction of
its own choosing, by a write to a port at which QEMU pauses; so the moment of saving is the guest's, too.
What differs from trial to trial comes in as an order, a blob of fixed size that the guest's program reads
when it goes on.

**States of a machine.** *Booting* from kernel and initramfs; *paused* at its own request; *saved* to a
staged file; *kept* under its name, a hash over all that decides its bits; *restored* from there, any number
of times at once; *ended*. Only a whole file ever has the name: it is renamed from the staged one once QEMU
says that all is written. A QEMU process dies with ours, and its other files are in memory, so that what can
be left behind is a staged file and nothing else.

**What may go wrong, and when.**

- Killed while saving: the staged file is named after a process that has ended. The next one that saves
  removes it.
- Two save the same machine at once: each has a staged file of its own; the later rename wins, and either
  file is good.
- QEMU's threads race as the guest stops: two outcomes, both consistent, with different hashes. See `_save`
  for how one is made likely, recognised, and tried for again. If it can't be had, the other one is kept:
  hashes are then comparable among trials from this file, which is all that is ever promised.
- The disk is full: QEMU reports it, the staged file is removed, and nothing else has changed.
- A kept file is removed while others restore from it (to make room, or by `lab clean`): those that have
  opened it read on; one that has not yet is told that it is gone.
- A kept file is damaged, or of a QEMU that can't read it: the restore fails, the file is removed, and the
  next run boots and saves anew. A damage that QEMU does not notice would show as another hash.
- QEMU, the kernel, a program or an option is replaced: that is another name.
- The host is busy: time limits count the CPU time that QEMU got. The clock counts at a high multiple only,
  which ends a QEMU that hangs without using any.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from schedtuna.errors import UsageError
from schedtuna.files import make_folder, move, read_all, remove
from schedtuna.lab.deterministic.orders import ORDER_BYTES, ORDER_NAME, Report
from schedtuna.lab.errors import BootError, GuestError, LabError
from schedtuna.lab.image import LayerFile, write_layer
from schedtuna.lab.qemu.process import last_words, start_bound, used_cpu_s
from schedtuna.lab.qemu.program import PROGRAM, bare_options
from schedtuna.lab.qemu.qmp import Qmp
from schedtuna.lab.shape import GuestShape
from schedtuna.lab.store import Kernel, Lab
from schedtuna.lab.vm import BOOT_WITHIN_S
from schedtuna.machine.labfolder import lab_directory

MOST_CPUS = 4
FOLDER = "snapshots"
_STAGED = ".staged"
_KEEP_BYTES = 2 << 30
# Without the crypto library's tests of itself, which run beside the first seconds of a command.
_APPEND = (
    "console=ttyS0 panic=-1 quiet nokaslr random.trust_cpu=off random.trust_bootloader=off "
    "cryptomgr.notests mitigations=off"
)
_PATIENCE_S = 600.0  # on a busy host; what counts is the time that QEMU really ran
_MOST_STRETCHED = 30
_LOOK_EVERY_S = 5.0
_UNLIMITED = 1 << 50
_ATTEMPTS = 3
_WARPED_NS = 10_000  # stopping itself takes the guest less than a microsecond


@dataclass(frozen=True)
class MachineSpec:
    """The machine that is saved.

    Attributes:
        kernel: What it boots.
        cpus: Virtual CPUs, 1 to 4: they take turns.
        memory_mib: Memory in MiB.
        shift: An instruction takes 2**shift ns of the guest's time.
        topology: How its CPUs are laid out; None: cores of one cache.
    """

    kernel: Kernel
    cpus: int = 1
    memory_mib: int = 512
    shift: int = 0
    topology: str | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.cpus <= MOST_CPUS and 256 <= self.memory_mib <= 1 << 14 and 0 <= self.shift <= 10):
            raise UsageError(
                f"a deterministic guest has 1 to {MOST_CPUS} CPUs and 256 to 16384 MiB of memory"
            )
        _ = self.shape

    @property
    def shape(self) -> GuestShape:
        """How its CPUs are laid out."""
        return GuestShape.of(self.cpus, self.topology)


@dataclass(frozen=True)
class SavedMachine:
    """A machine that waits for its order.

    Attributes:
        file: Its memory and devices.
        spec: What it is.
        boot_s: Seconds that it took to boot and save it; None where it was there already.
    """

    file: Path
    spec: MachineSpec
    boot_s: float | None


@dataclass(frozen=True)
class Answer:
    """What came of one order.

    Attributes:
        report: What the guest's program reported.
        console: What its kernel printed.
        restore_s: Seconds until it ran.
        restore_cpu_s: Seconds of this host's CPUs that this took, which other load does not stretch.
    """

    report: Report
    console: bytes
    restore_s: float
    restore_cpu_s: float


class _Machine:
    """A QEMU process; leaving it ends it. All its files are in memory, so that nothing is left behind."""

    def __init__(
        self, lab: Lab, spec: MachineSpec, order: bytes, options: Sequence[str], *inherited: int
    ) -> None:
        self._resources = ExitStack()
        try:
            self.report = self._file("report")
            self.console = self._file("console")
            self.errors = self._file("qemu")
            blob = self._file("order")
            blob.write(order)
            ours, theirs = socket.socketpair()
            self._resources.callback(ours.close)
            with theirs:
                files = [self.report.fileno(), self.console.fileno(), blob.fileno(), theirs.fileno()]
                argv = [*lab.qemu.argv, *_machine_options(spec, *files), *options]
                self._process = start_bound(argv, self.errors.fileno(), pass_fds=[*files, *inherited])
            self._resources.callback(self._end)
            self.qmp = Qmp(ours)
        except BaseException:
            self._resources.close()
            raise

    def _file(self, name: str) -> IO[bytes]:
        return self._resources.enter_context(
            os.fdopen(os.memfd_create(f"schedtuna-{name}"), "w+b", buffering=0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """Seconds of this host's CPUs that it has used."""
        return used_cpu_s(self._process.pid)

    def be_nice(self) -> None:
        """Let QEMU's first thread, which does not run the guest, wait for the others."""
        os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)

    def last_words(self) -> str:
        """What QEMU and the guest's kernel said last."""
        said = b"\n".join(read_all(file.fileno()) for file in (self.errors, self.console))
        return last_words(said.decode(errors="replace"))


def _machine_options(spec: MachineSpec, report: int, console: int, order: int, line: int) -> list[str]:
    return [
        *("-accel", "tcg", "-icount", f"shift={spec.shift},sleep=off", "-seed", "1"),
        *("-rtc", "base=2026-01-01T00:00:00,clock=vm", "-cpu", "max,-rdrand,-rdseed,-erms,-fsrm"),
        *bare_options(spec.shape, spec.memory_mib),
        *("-chardev", f"file,id=console,path=/proc/self/fd/{console}", "-serial", "chardev:console"),
        *("-chardev", f"file,id=report,path=/proc/self/fd/{report}"),
        *("-device", "isa-debugcon,iobase=0x480,chardev=report"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-device", "pvpanic", "-action", "panic=pause"),
        *("-fw_cfg", f"name={ORDER_NAME},file=/proc/self/fd/{order}"),
        *("-chardev", f"socket,id=qmp,fd={line}", "-mon", "chardev=qmp,mode=control"),
    ]


# ---- saving --------------------------------------------------------------------------------------


def snapshot(
    lab: Lab, spec: MachineSpec, files: Mapping[str, LayerFile], *, cache: Path | None = None
) -> SavedMachine:
    """Return a machine with these files that waits for its order: the kept one, or boot one and save it.

    Args:
        lab: What is installed.
        spec: The machine.
        files: The guest's initramfs.
        cache: Where snapshots are kept; default: in the lab's folder.

    Raises:
        BootError: It does not come up; the end of its console is in the message.
        LabError: It can't be saved, such as on a full disk.
    """
    folder = cache or lab_directory() / FOLDER
    with os.fdopen(os.memfd_create("schedtuna-initrd"), "w+b") as initrd:
        write_layer(files, initrd)
        initrd.flush()
        file = folder / f"{_key(lab, spec, initrd)}.mig"
        try:
            os.utime(file)  # the oldest ones go first
            return SavedMachine(file, spec, None)
        except FileNotFoundError:
            pass
        try:
            make_folder(folder)
        except OSError as error:
            raise LabError(f"snapshots can't be kept in {folder}: {error.strerror}") from None
        _make_room(folder)
        started = time.monotonic()
        staged = folder / f"{_STAGED}-{os.getpid()}"
        try:
            for _ in range(_ATTEMPTS):
                if _save(lab, spec, initrd.fileno(), staged):
                    break
            move(staged, file)
        finally:
            remove(staged, missing_ok=True)
        return SavedMachine(file, spec, time.monotonic() - started)


def _key(lab: Lab, spec: MachineSpec, initrd: BufferedRandom) -> str:
    """Return a hash over all that decides the bits of a snapshot."""
    initrd.seek(0)
    files = hashlib.file_digest(initrd, "sha256").hexdigest()
    program = next((Path(word) for word in lab.qemu.argv if word.endswith(PROGRAM)), Path(lab.qemu.argv[0]))
    qemu = f"{lab.qemu.version} {program.stat().st_size} {program.stat().st_mtime_ns}"
    options = " ".join([_APPEND, *_machine_options(spec, 0, 0, 0, 0)])
    parts = (files, spec.kernel.sha256, qemu, options)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _make_room(folder: Path) -> None:
    """Remove the snapshots that were not used for longest, and what a killed run left."""
    kept = 0
    for _, size, file in sorted(_sizes(folder), reverse=True):
        kept += size
        owner = file.name.partition(f"{_STAGED}-")[2]
        if kept > _KEEP_BYTES or (owner and not Path("/proc", owner).exists()):
            remove(file, missing_ok=True)


def _sizes(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Time of the last use, and bytes, of each file; others may remove some meanwhile."""
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            yield status.st_mtime, status.st_size, file


def _save(lab: Lab, spec: MachineSpec, initrd: int, file: Path) -> bool:
    """Boot a machine and save it; returns whether it is the one of two that others get, too.

    Two threads of QEMU race when the guest stops itself: if the one that runs it comes first, all CPUs
    seem to idle, and the guest's clock is moved on to its next timer. Either machine is as good as the
    other, but their hashes differ. So the outcome is made likely, and looked at: the thread that runs
    the guest wins against a nice one.
    """
    boot = [
        "-kernel",
        str(spec.kernel.unpacked or spec.kernel.image),
        "-initrd",
        f"/proc/self/fd/{initrd}",
        "-append",
        _APPEND,
    ]
    with _Machine(lab, spec, bytes(ORDER_BYTES), boot, initrd) as machine:

        def give_up(passed: float) -> bool:
            return passed > _PATIENCE_S or machine.cpu_s() > BOOT_WITHIN_S

        try:
            machine.qmp.open()
            machine.be_nice()
            machine.qmp.await_event("GUEST_PANICKED", 1.0, give_up=give_up)
            machine.qmp.await_event("STOP", 1.0, give_up=give_up)
        except GuestError as error:
            raise BootError(
                f"kernel {spec.kernel.version} did not come up in a deterministic guest: "
                f"{error}{machine.last_words()}"
            ) from None
        try:
            _watch_migration(machine.qmp)
            machine.qmp.execute("migrate-set-parameters", **{"max-bandwidth": _UNLIMITED})
            machine.qmp.execute("migrate", uri=f"file:{file}")
            machine.qmp.await_migration(_PATIENCE_S)
        except GuestError as error:
            raise LabError(f"a guest can't be saved in {file.parent}: {error}") from None
        machine.qmp.execute("cont")  # there is no order for it: it says how long it stood still, and ends
        machine.qmp.await_end(_PATIENCE_S)
        return Report.parse(read_all(machine.report.fileno())).numbers("stopped")[0] > _WARPED_NS


def _watch_migration(qmp: Qmp) -> None:
    qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])


# ---- restoring -----------------------------------------------------------------------------------


def restore(lab: Lab, saved: SavedMachine, order: bytes, *, within_cpu_s: float) -> Answer:
    """Restore a machine, give it an order, and wait for its end.

    Args:
        lab: What is installed.
        saved: The machine.
        order: The blob that its program reads.
        within_cpu_s: How long QEMU may run; a busy host waits for it longer, to a limit.

    Raises:
        GuestError: It died, hangs, or could not be restored.
    """
    try:
        memory = saved.file.open("rb")
    except OSError as error:
        raise GuestError(f"the snapshot {saved.file} is gone: {error.strerror}") from None
    started = time.monotonic()
    options = ["-incoming", "defer", "-global", "migration.announce-rounds=0"]
    with memory, _Machine(lab, saved.spec, order, options, memory.fileno()) as machine:
        try:
            machine.qmp.open()
            _watch_migration(machine.qmp)
            machine.qmp.execute("migrate-incoming", uri=f"file:/proc/self/fd/{memory.fileno()}")
            machine.qmp.await_migration(_PATIENCE_S)
            restore_cpu_s = machine.cpu_s()
        except GuestError as error:
            remove(saved.file, missing_ok=True)
            raise GuestError(
                f"the snapshot can't be restored, and was removed: {error}{machine.last_words()}",
                hint="run the command again: the guest is booted and saved anew",
            ) from None

        def give_up(passed: float) -> bool:
            return passed > _MOST_STRETCHED * within_cpu_s or machine.cpu_s() > within_cpu_s

        try:
            machine.qmp.execute("cont")
            restore_s = time.monotonic() - started
            machine.qmp.await_end(_LOOK_EVERY_S, give_up=give_up)
        except GuestError as error:
            raise GuestError(f"{error}{machine.last_words()}") from None
        report = Report.parse(read_all(machine.report.fileno()))
        if "failed" in report.sections:
            raise GuestError(f"the guest can't carry out its order: {report.text('failed')}")
        if not report.complete:
            raise GuestError(f"the guest died{machine.last_words()}")
        return Answer(report, read_all(machine.console.fileno()), restore_s, restore_cpu_s)
