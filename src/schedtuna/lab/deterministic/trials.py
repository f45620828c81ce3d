"""What does a command do when nothing but its seed can change? The same bits, every run.

One CPU is the reliable case. With more, QEMU now and then lets them take turns in another order
(about one run in thirty), so every trial is made twice, and a third time where the two differ.

Hashes mean something on one QEMU, one kernel and one initramfs: compare them with each other, never
with a number that was written down.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from schedtuna.errors import UsageError
from schedtuna.lab.closure import closure
from schedtuna.lab.deterministic.orders import Order, Perturbation, Report, digest, perturbation
from schedtuna.lab.deterministic.snapshot import Answer, MachineSpec, SavedMachine, restore, snapshot
from schedtuna.lab.errors import GuestError
from schedtuna.lab.layers import guest_program
from schedtuna.lab.store import Lab
from schedtuna.scheduler.arguments import command_line
from schedtuna.scheduler.scx import DISABLED, SchedulerError, Startup, ejection, startup
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.command import KEEP_BYTES, RawRun, raw_run
from schedtuna.workload.launcher import Message, MessageKind, Stage
from schedtuna.workload.spec import SEED_PLACEHOLDER, SEED_VARIABLE

HASHED = "console output, exit code, guest time and context switches"
LIMITS = (
    "the guest's clock counts instructions: caches, memory and devices cost nothing",
    "no throughput on several CPUs: they share one budget of instructions, and idle ones leave theirs",
    "one run is one sample: other seeds, not other runs, show the spread",
)
_LOG_LINES = 20
_CPU_PER_GUEST_S = 5.0  # about 1.1 is usual
_MORE_CPU_S = 120.0  # for what surrounds the command, such as a scheduler that is verified


@dataclass(frozen=True)
class DeterministicSpec:
    """What runs, and where.

    Attributes:
        argv: The command; ``{seed}`` in it becomes the seed.
        kernel: Version; None for the lab's default.
        cpus: Virtual CPUs, 1 to 4.
        memory_mib: Memory of the guest in MiB.
        shift: An instruction takes 2**shift ns of the guest's time.
        programs: Programs of the host, copied to /usr/local/bin with their libraries.
        share: Folder that is copied to /share; nothing comes back.
        scheduler: A sched_ext scheduler that is in charge of each run; None: the kernel's own.
        scheduler_program: Its program on the host.
        topology: How the CPUs are laid out, as `lab.shape` reads it; None: cores of one cache.
    """

    argv: tuple[str, ...]
    kernel: str | None = None
    cpus: int = 1
    memory_mib: int = 512
    shift: int = 0
    programs: tuple[Path, ...] = ()
    share: Path | None = None
    scheduler: SchedulerConfig | None = None
    scheduler_program: Path | None = None
    topology: str | None = None


@dataclass(frozen=True)
class DeterministicRun:
    """One trial.

    Attributes:
        seed: What was perturbed by, and how: `perturbation`.
        perturbation: What that changed.
        raw: What the command did; its times are the guest's.
        console: What the guest's kernel printed meanwhile.
        guest_ns: The guest's time from the command's start to its end.
        nr_switches: Context switches of the whole guest in that time.
        hash: Over `HASHED`.
        hashes: Of all runs that were made of this trial: one on one CPU, else two or three.
        ejected: Why the scheduler was not in charge all the time; empty if it was.
        restore_s: Seconds on the host's clock until the guest ran.
        restore_cpu_s: Seconds of the host's CPUs that this took.
        wall_s: Seconds on the host's clock for one run.
        scheduler_log: What the scheduler's program printed.
    """

    seed: int
    perturbation: Perturbation
    raw: RawRun
    console: str
    guest_ns: int
    nr_switches: int
    hash: str
    ejected: str
    restore_s: float
    restore_cpu_s: float
    wall_s: float
    hashes: tuple[str, ...] = ()
    scheduler_log: str = ""

    @property
    def nr_mismatches(self) -> int:
        """Runs of this trial that differ from it."""
        return sum(other != self.hash for other in self.hashes)

    @property
    def reproduced(self) -> bool:
        """Whether it was seen twice, or needs no second look."""
        return len(self.hashes) == 1 or self.hashes.count(self.hash) > 1


class Deterministic:
    """One command in one machine, which is booted and saved once and restored for every trial.

    Args:
        lab: What is installed.
        spec: What runs, and where.
        cache: Where snapshots are kept; default: in the lab's folder.

    Attributes:
        saved: The machine that is restored.

    Raises:
        UsageError: A program is nowhere, or the machine can't be had.
        UnavailableError: The kernel is not installed.
        BootError: The machine does not come up.
    """

    def __init__(self, lab: Lab, spec: DeterministicSpec, *, cache: Path | None = None) -> None:
        kernel = lab.kernel(spec.kernel)
        machine = MachineSpec(kernel, spec.cpus, spec.memory_mib, spec.shift, spec.topology)
        programs = [*spec.programs, *([spec.scheduler_program] if spec.scheduler_program else [])]
        self._closure = closure(spec.argv, lab.guest_root, kernel, programs=programs, share=spec.share)
        self._lab = lab
        self.spec = spec
        self.saved: SavedMachine = snapshot(lab, machine, self._closure.layer, cache=cache)

    @property
    def qemu_version(self) -> str:
        """Of the QEMU that runs the machine."""
        return self._lab.qemu.version

    def run(
        self, seed: int, *, environment: Mapping[str, str] | None = None, timeout_s: float = 300.0
    ) -> DeterministicRun:
        """Run the command with this seed; more than once on several CPUs.

        Args:
            seed: Changes what `Perturbation` says, and is in the environment as SCHEDTUNA_SEED.
            environment: Added to the guest's.
            timeout_s: Of the command, in seconds of the guest.

        Raises:
            GuestError: The guest died or hangs.
            SchedulerError: The scheduler did not start.
            WorkloadError: The command can't be run.
        """
        return settle(lambda: self.once(seed, environment or {}, timeout_s), cpus=self.spec.cpus)

    def once(self, seed: int, environment: Mapping[str, str], timeout_s: float) -> DeterministicRun:
        """Run the command with this seed once, whatever the number of CPUs; see `run`."""
        if not (0 < timeout_s < math.inf):
            raise UsageError("a command's time-out is more than 0 seconds")
        changed = perturbation(seed, self.spec.cpus)
        argv = [text.replace(SEED_PLACEHOLDER, str(seed)) for text in self._closure.argv]
        order = Order(
            cpus=self.spec.cpus,
            perturbation=changed,
            argv=argv,
            options=[
                f"--program={self._closure.program}",
                f"--timeout-ms={max(1, round(timeout_s * 1000))}",
                f"--keep-bytes={KEEP_BYTES}",
                f"--folder={self._closure.folder}",
            ],
            environment={**environment, SEED_VARIABLE: str(seed)},
            scheduler=self._scheduler_argv(),
        )
        started_at, started = time.time(), time.monotonic()
        answer = restore(
            self._lab, self.saved, order.pack(), within_cpu_s=_MORE_CPU_S + _CPU_PER_GUEST_S * timeout_s
        )
        wall_s = time.monotonic() - started
        ejected = self._judge_scheduler(answer.report)
        run = _read(answer, argv, started_at)
        return replace(
            run,
            seed=seed,
            perturbation=changed,
            ejected=ejected,
            wall_s=wall_s,
            hashes=(run.hash,),
            scheduler_log=answer.report.text("scheduler_log"),
        )

    def _scheduler_argv(self) -> list[str]:
        if self.spec.scheduler is None or self.spec.scheduler_program is None:
            return []
        return [
            guest_program(self.spec.scheduler_program),
            *command_line(self.spec.scheduler),
        ]

    def _judge_scheduler(self, report: Report) -> str:
        """Return why the scheduler was not in charge all the time.

        Raises:
            SchedulerError: It never was.
        """
        program = self.spec.scheduler_program
        if program is None:
            return ""
        before, _ = report.scx("scx_before")
        now, code = report.scx("scx_started")
        stage, reason = startup(before, now, code, is_own=True)  # nothing else runs yet that could load one
        if stage is not Startup.READY:
            reason = reason or f"it was not enabled, sched_ext is {now.state or DISABLED}"
            log = "\n".join(report.text("scheduler_log").splitlines()[-_LOG_LINES:])
            raise SchedulerError(f"{program.name} did not start: {reason}", log=log)
        ended, code = report.scx("scx_ended")
        return ejection(now, ended, code)


def settle(once: Callable[[], DeterministicRun], *, cpus: int) -> DeterministicRun:
    """Run a trial as often as its number of CPUs asks for; returns the run that was seen most often.

    Args:
        once: Runs it.
        cpus: One CPU needs one run; more need two, and a third where those differ.
    """
    runs = [once()]
    if cpus > 1:
        runs.append(once())
        if runs[0].hash != runs[1].hash:
            runs.append(once())
    hashes = tuple(run.hash for run in runs)
    most, _ = Counter(hashes).most_common(1)[0]
    return replace(runs[hashes.index(most)], hashes=hashes)


def _read(answer: Answer, argv: Sequence[str], started_at: float) -> DeterministicRun:
    report = answer.report
    numbers = report.numbers("clock")
    if len(numbers) != 3:
        raise GuestError("the guest did not report its clock")
    message = Message.unpack(report.sections.get("message", b""))
    if message.kind == MessageKind.FAILED and message.stage == Stage.EXEC:
        raise UsageError(
            f"the guest has no command {argv[0]}",
            hint="--with PROGRAM copies a program of this machine into it; --share DIR copies a folder",
        )
    outputs = [report.sections.get(name, b"") for name in ("stdout", "stderr")]
    hashed = {name: report.sections.get(name, b"") for name in ("clock", "message", "stdout", "stderr")}
    return DeterministicRun(
        seed=0,
        perturbation=Perturbation(0, 0, 0, b""),
        raw=raw_run(message, *outputs, argv=argv, started_at=started_at),
        console=answer.console.decode(errors="replace"),
        guest_ns=numbers[1] - numbers[0],
        nr_switches=numbers[2],
        hash=digest({**hashed, "console": answer.console}),
        ejected="",
        restore_s=answer.restore_s,
        restore_cpu_s=answer.restore_cpu_s,
        wall_s=0.0,
    )
