"""Runs a workload's command once: held at a gate, measured, bounded, and ended with all it started."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from schedtuna.errors import WorkloadError
from schedtuna.files import read_all
from schedtuna.machine.procstat import ProcStat, read_proc_stat
from schedtuna.printable import printable
from schedtuna.workload.counters import Counters
from schedtuna.workload.covariates import covariates
from schedtuna.workload.identity import environment, find_identity
from schedtuna.workload.launcher import Launcher, Message, MessageKind, RunFlag, Stage
from schedtuna.workload.spec import SEED_PLACEHOLDER, Workload

SHELL = Path("/bin/sh")
KEEP_BYTES = 16 << 20  # of each output: of more, the first and the last half


@dataclass(frozen=True)
class RawRun:
    """What one run of a command did, before any metric is read from it.

    Attributes:
        exit_code: None where a signal ended the command.
        signal: The signal that ended it, or None.
        timed_out: Whether it was ended because its time was up.
        started_at: Unix time in seconds at which the gate opened.
        usage: Wall time, CPU time, memory and switches, by metric name.
        stdout: What it printed; the middle of more than KEEP_BYTES is left out.
        stderr: Likewise.
        truncated: Whether some output was left out.
        nr_leftovers: Processes that outlived the command, and were ended.
        warnings: What else went wrong, for people.
        covariates: What the machine did meanwhile.
        counters: perf counters and, where a backend recorded it, `sched.*`, by metric name.
        in_force: Of each setting, whether it was in force, where a backend watched that.
        clients: Tasks seen meanwhile that hand their work to others, by name.
    """

    exit_code: int | None
    signal: int | None
    timed_out: bool
    started_at: float
    usage: dict[str, float]
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    nr_leftovers: int = 0
    warnings: tuple[str, ...] = ()
    covariates: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    in_force: dict[str, str] = field(default_factory=dict)
    clients: tuple[str, ...] = ()

    @property
    def wall_time_s(self) -> float:
        """From the opening of the gate to the command's exit."""
        return self.usage["wall_time_s"]

    @property
    def failure(self) -> str:
        """Why the command did not succeed; empty if it did."""
        if self.timed_out:
            return f"the command was still running after {self.wall_time_s:.1f} s, its timeout, and was ended"
        if self.signal is not None:
            return f"the command was ended by {_signal_name(self.signal)}"
        if self.exit_code:
            return f"the command exited with code {self.exit_code}"
        return ""

    def tail(self, nr_lines: int = 10) -> str:
        """The last lines of what it printed, standard error last; what would steer a terminal is spelled."""
        lines = [line for text in (self.stdout, self.stderr) for line in text.splitlines()[-nr_lines:]]
        return "\n".join(printable(line[:500].expandtabs()) for line in lines)


class Held:
    """A command that waits at its gate: apply knobs to `pid`, then `go()`, then `wait()`.

    A context manager: leaving it, by an exception or Ctrl-C too, ends the command's whole tree.
    """

    def __init__(
        self,
        pid: int,
        launcher: Launcher,
        *,
        outputs: Sequence[IO[bytes]],
        counters: Counters | None,
        argv: Sequence[str],
        resources: ExitStack,
    ) -> None:
        self.pid = pid
        self._launcher = launcher
        self._outputs = outputs
        self._counters = counters
        self._argv = argv
        self._resources = resources
        self._before: ProcStat | None = None
        self._started_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def go(self) -> None:
        """Open the gate: the clock starts and the command runs."""
        self._before = read_proc_stat()
        if self._counters is not None:
            self._counters.start()
        self._started_at = time.time()
        self._launcher.go()

    def stop(self) -> None:
        """End the whole tree; `wait` then returns what it did so far."""
        self._launcher.stop()

    def wait(self) -> RawRun:
        """Wait until the command has exited and all that it started is gone.

        Raises:
            WorkloadError: The command never ran: not found, not executable, no such folder.
        """
        message = self._launcher.receive()
        outputs = [read_all(file.fileno()) for file in self._outputs]
        raw = raw_run(message, *outputs, argv=self._argv, started_at=self._started_at)
        raw = replace(
            raw,
            covariates=covariates(read_proc_stat() - self._before, raw.usage["cpu_time_s"])
            if self._before
            else {},
            counters=self._counters.read() if self._counters is not None else {},
        )
        self.close()
        return raw

    def close(self) -> None:
        """End the whole tree, if it still runs."""
        self._resources.close()


def raw_run(
    message: Message, stdout: bytes, stderr: bytes, *, argv: Sequence[str], started_at: float
) -> RawRun:
    """Return what the launcher's last message and the files of outputs that it left say.

    Raises:
        WorkloadError: The command never ran: not found, not executable, no such folder.
    """
    message = _expect(message, MessageKind.DONE, argv)
    return RawRun(
        exit_code=os.WEXITSTATUS(message.status) if os.WIFEXITED(message.status) else None,
        signal=os.WTERMSIG(message.status) if os.WIFSIGNALED(message.status) else None,
        timed_out=bool(message.flags & RunFlag.TIMED_OUT),
        started_at=started_at,
        usage=_usage(message),
        stdout=_kept(stdout, message.stdout_bytes),
        stderr=_kept(stderr, message.stderr_bytes),
        truncated=max(message.stdout_bytes, message.stderr_bytes) > KEEP_BYTES,
        nr_leftovers=message.nr_leftovers,
        warnings=_warnings(message),
    )


def start(workload: Workload, seed: int, *, counters: Sequence[str] = ()) -> Held:
    """Start the workload's process and hold it at its gate, before it becomes the command.

    Args:
        workload: What to run.
        seed: Replaces `{seed}` in the command, and is in its environment as SCHEDTUNA_SEED.
        counters: perf counters to count (see `counters.COUNTERS`).

    Raises:
        WorkloadError: The command or its folder is not there.
        UnavailableError: Root is needed for another user, or a counter is not to be had.
        UsageError: The user is unknown.
    """
    program = check(workload)
    argv = command_line(workload, seed)
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile(prefix="schedtuna-")) for _ in range(2)]
        launcher = Launcher(
            argv[0] if workload.user and not workload.shell and "/" not in argv[0] else program,
            argv,
            environment=environment(workload, seed),
            stdout=outputs[0],
            stderr=outputs[1],
            keep_bytes=KEEP_BYTES,
            timeout_s=workload.timeout_s,
            folder=workload.folder,
            identity=find_identity(workload.user) if workload.user else None,
        )
        stack.callback(launcher.close)
        pid = _expect(launcher.receive(), MessageKind.HELD, argv).pid
        opened = stack.enter_context(closing(Counters(pid, counters))) if counters else None
        return Held(pid, launcher, outputs=outputs, counters=opened, argv=argv, resources=stack.pop_all())


def run(workload: Workload, seed: int, *, counters: Sequence[str] = ()) -> RawRun:
    """Run the workload once as the machine is, after its rest and its warm-up runs.

    Raises:
        WorkloadError: As `start`; a warm-up run that fails raises, too.
    """
    for _ in range(workload.warmup_runs):
        time.sleep(workload.washout_s)
        with start(workload, seed) as held:
            held.go()
            raw = held.wait()
        if raw.failure:
            raise WorkloadError(f"warm-up run: {raw.failure}; its last lines:\n{raw.tail()}")
    time.sleep(workload.washout_s)
    with start(workload, seed, counters=counters) as held:
        held.go()
        return held.wait()


def command_line(workload: Workload, seed: int) -> list[str]:
    """Return the argument list with the seed filled in."""
    argv = [argument.replace(SEED_PLACEHOLDER, str(seed)) for argument in workload.argv]
    return [str(SHELL), "-c", " ".join(argv)] if workload.shell else argv


def check(workload: Workload) -> Path:
    """Find the program to run, or raise what running the workload would end in.

    Another user's is the first in that user's PATH; the launcher passes over what the user may not run.

    Raises:
        WorkloadError: The folder or the command is not there, or the command is not executable.
        UnavailableError: Root is needed to run as another user.
        UsageError: The user is unknown.
    """
    if workload.folder is not None and not workload.folder.is_dir():
        raise WorkloadError(
            f"no such folder: {workload.folder}", hint="it is the workload's working directory"
        )
    if workload.user is not None:
        find_identity(workload.user)
    return SHELL if workload.shell else _find_program(workload.argv[0], workload)


def _find_program(name: str, workload: Workload) -> Path:
    if not name:
        raise WorkloadError("the command's name is empty")
    if "/" not in name:
        path = environment(workload).get("PATH", os.defpath)
        found = shutil.which(name, path=path)
        if found is None:
            raise _no_command(name, errno.ENOENT, path if workload.user else None)
        return Path(found).absolute()
    file = Path(workload.folder or ".", name).absolute()
    if not file.exists():
        raise _no_command(name, errno.ENOENT)
    if file.is_dir() or not os.access(file, os.X_OK):
        raise _no_command(name, errno.EACCES)
    return file


def _no_command(name: str, error: int, users_path: str | None = None) -> WorkloadError:
    if error == errno.ENOENT and "/" not in name and users_path is not None:
        return WorkloadError(
            f"command not found: {name}",
            hint=f"with --user it is looked for in that user's PATH, {users_path}; or give its path",
        )
    if error == errno.ENOENT and "/" not in name:
        return WorkloadError(
            f"command not found: {name}",
            hint="is it installed, and in PATH? a shell's own commands and operators need --shell",
        )
    if error == errno.ENOENT:
        return WorkloadError(f"command not found: {name}", hint="does the file, and its interpreter, exist?")
    if error in (errno.EACCES, errno.EPERM):
        return WorkloadError(f"not executable: {name}", hint=f"a script needs `chmod +x {name}`")
    if error == errno.ENOEXEC:
        return WorkloadError(
            f"not a program of this machine: {name}", hint="a script needs a first line such as #!/bin/sh"
        )
    return WorkloadError(f"can't run {name}: {os.strerror(error)}")


_SETUP_HINTS = {
    Stage.USER: "--user gives up every capability, which takes CAP_SETUID, CAP_SETGID and CAP_SETPCAP: start "
    "the container with them (--cap-add SETPCAP), or as that user and without --user",
    Stage.FOLDER: "may the workload's user enter it, and every folder above?",
}


def _expect(message: Message, kind: MessageKind, argv: Sequence[str]) -> Message:
    if message.kind == kind:
        return message
    if message.stage == Stage.EXEC:
        raise _no_command(argv[0], message.error)
    what = {
        Stage.USER: "can't become the workload's user",
        Stage.FOLDER: "can't enter the workload's folder",
    }.get(Stage(message.stage), "can't set the command up")
    raise WorkloadError(
        f"{what}: {os.strerror(message.error)}", hint=_SETUP_HINTS.get(Stage(message.stage), "")
    )


def _usage(message: Message) -> dict[str, float]:
    user_s, system_s = message.user_us / 1e6, message.system_us / 1e6
    return {
        "wall_time_s": message.wall_ns / 1e9,
        "cpu_time_s": user_s + system_s,
        "user_time_s": user_s,
        "system_time_s": system_s,
        "max_rss_kib": float(message.max_rss_kib),
        "nr_voluntary_switches": float(message.nr_voluntary_switches),
        "nr_involuntary_switches": float(message.nr_involuntary_switches),
    }


def _warnings(message: Message) -> tuple[str, ...]:
    texts = {
        RunFlag.LEFT_BEHIND: "some processes of the command could not be ended; they still run",
        RunFlag.OUTPUT_LOST: "some output could not be kept: is the disk of temporary files full?",
    }
    return tuple(text for flag, text in texts.items() if message.flags & flag)


def _kept(data: bytes, nr_bytes: int) -> str:
    """Read back what the launcher kept: all, or the first half and the ring of the last half."""
    if nr_bytes > KEEP_BYTES:
        half = KEEP_BYTES // 2
        oldest = half + (nr_bytes - half) % half
        note = f"\n[{nr_bytes - KEEP_BYTES} bytes not kept]\n".encode()
        data = data[:half] + note + data[oldest:] + data[half:oldest]
    return data.decode(errors="replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
