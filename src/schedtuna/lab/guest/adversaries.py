"""Loads that try to make a scheduler forget a task, run inside a guest: prints what it saw as a JSON object.

VET_ADVERSARY, VET_SECONDS and SCHEDTUNA_SEED in the environment say which, how long, and what it
draws. Beside each runs a crowd of tasks that spin or sleep, and know how long they stood still. What
disturbs them is a real-time task, which does not wait for the scheduler at hand. All that it changes in the
guest is of the guest's own; nothing else of the package is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import time

TYPE_CHECKING = False  # typing's own would be imported for it
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any, NoReturn

    Answer = dict[str, Any]
    Steps = Generator[float, None, None]

SCHED_EXT = "/sys/kernel/sched_ext/state"
GROUPS = "/sys/fs/cgroup"
ADVERSARY, SECONDS, SEED = "VET_ADVERSARY", "VET_SECONDS", "SCHEDTUNA_SEED"
ANSWER_WITHIN_S = 75.0  # the kernel finds a stall within 1.5 x 30 s, the longest time-out that it takes
_LOOK_EVERY_S = 0.05


class CannotRunError(Exception):
    """Here it can't be tried; the message says why."""


class Crowd:
    """Tasks that run until a time, and then answer.

    Args:
        end: That time, as `time.monotonic` tells it.
        rng: What is drawn.
    """

    def __init__(self, end: float, rng: random.Random) -> None:
        self.end, self.rng = end, rng
        self.cpus = sorted(os.sched_getaffinity(0))
        self.tasks: dict[int, tuple[str, int]] = {}  # pid -> kind, and the pipe that its answer comes by

    def start(self, kind: str, work: Callable[[], Answer], *, cpus: Sequence[int] = (), nice: int = 0) -> int:
        """Start a task; `work` returns what it has to tell. Returns its pid."""
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            _be_task(work, writer, cpus, nice)
        os.close(writer)
        self.tasks[pid] = kind, reader
        return pid

    def spin(self) -> Answer:
        """Run without a pause; returns the longest standstill."""
        last, longest = time.monotonic(), 0.0
        while (now := time.monotonic()) < self.end:
            longest, last = max(longest, now - last), now
        return {"longest_wait_s": max(longest, now - last)}

    def sleep(self) -> Answer:
        """Sleep for 3 ms over and over; returns how late it woke at worst."""
        longest = 0.0
        while (before := time.monotonic()) < self.end:
            time.sleep(0.003)
            longest = max(longest, time.monotonic() - before - 0.003)
        return {"longest_wait_s": longest}

    def beside(self) -> None:
        """Start those that any scheduler has to serve: of each kind one more than there are CPUs."""
        for _ in range(len(self.cpus) + 1):
            self.start("spinner", self.spin, nice=self.rng.choice((0, 0, 5, 19)))
            self.start("sleeper", self.sleep, nice=self.rng.choice((0, 0, -5, 10)))

    def draw_task(self) -> int:
        """Return one of the tasks."""
        return self.rng.choice(list(self.tasks))

    def gather(self, ejected: Callable[[], bool]) -> tuple[list[Answer], list[str]]:
        """Return the answers, each with its kind, and the kinds of those that gave none.

        Args:
            ejected: Whether the scheduler has gone: who has stood still until then answers soon after.
        """
        answers, pipes = [], {reader: kind for kind, reader in self.tasks.values()}
        until = self.end + ANSWER_WITHIN_S
        while pipes and time.monotonic() < until:
            for reader in select.select(list(pipes), [], [], _LOOK_EVERY_S)[0]:
                text = os.read(reader, 1 << 16)
                answers.append({"kind": pipes.pop(reader), **(json.loads(text) if text else {})})
            if pipes and ejected():
                until = min(until, time.monotonic() + 5)
        for pid in self.tasks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return answers, sorted(pipes.values())


def _be_task(work: Callable[[], Answer], writer: int, cpus: Sequence[int], nice: int) -> NoReturn:
    try:
        if cpus:
            os.sched_setaffinity(0, cpus)
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        os.write(writer, json.dumps(work()).encode())
    finally:
        os._exit(0)


# ---- the adversaries: each starts its tasks, and yields what disturbs them, step by step ------------


def pinned(crowd: Crowd) -> Steps:
    """Tasks that may run on one CPU each, twice as many there as elsewhere."""
    for cpu in crowd.cpus:
        for _ in range(2):
            crowd.start("pinned spinner", crowd.spin, cpus=[cpu], nice=crowd.rng.choice((0, 10, 19)))
            crowd.start("pinned sleeper", crowd.sleep, cpus=[cpu])
    while True:
        yield 0.2


def affinity(crowd: Crowd) -> Steps:
    """CPUs of running and sleeping tasks are taken away and given back."""
    while True:
        chosen = crowd.rng.sample(crowd.cpus, crowd.rng.randint(1, len(crowd.cpus)))
        with contextlib.suppress(ProcessLookupError):  # it has come to its end
            os.sched_setaffinity(crowd.draw_task(), chosen)
        yield crowd.rng.uniform(0.0, 0.01)


def policies(crowd: Crowd) -> Steps:
    """Tasks leave the scheduler's class and come back, and change their nice values."""
    ways = (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE, os.SCHED_RR)
    while True:
        pid = crowd.draw_task()
        policy, nice = crowd.rng.choice(ways), crowd.rng.randint(-20, 19)
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(pid, policy, os.sched_param(int(policy == os.SCHED_RR)))
            os.setpriority(os.PRIO_PROCESS, pid, nice)
        yield crowd.rng.uniform(0.0, 0.01)
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def real_time(crowd: Crowd) -> Steps:
    """Real-time tasks take CPUs, for up to 0.3 s, on which others are pinned, too."""
    for cpu in crowd.cpus:
        crowd.start("pinned spinner", crowd.spin, cpus=[cpu])

    def take() -> Answer:
        rng = random.Random(crowd.rng.random())
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while time.monotonic() < crowd.end:
            os.sched_setaffinity(0, [rng.choice(crowd.cpus)])
            until = time.monotonic() + rng.uniform(0.005, 0.3)
            while time.monotonic() < until:
                pass
            time.sleep(rng.uniform(0.01, 0.1))
        return {}

    crowd.start("real-time task", take)
    while True:
        yield 0.2


def hotplug(crowd: Crowd) -> Steps:
    """CPUs go and come back, with tasks that were pinned to them."""
    for cpu in crowd.cpus[1:]:
        crowd.start("pinned sleeper", crowd.sleep, cpus=[cpu])
    while True:
        cpu = crowd.rng.choice(crowd.cpus[1:])
        for state in "01":
            with open(f"/sys/devices/system/cpu/cpu{cpu}/online", "w") as file:
                file.write(state)
            yield crowd.rng.uniform(0.02, 0.3)


def fork_storm(crowd: Crowd) -> Steps:
    """Tasks that live for a moment, one after the other from each of several parents."""

    def storm() -> Answer:
        nr_forks = 0
        while time.monotonic() < crowd.end:
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
            nr_forks += 1
        return {"forks": nr_forks}

    for _ in range(2 * len(crowd.cpus)):
        crowd.start("parent", storm)
    while True:
        yield 0.2


def quota(crowd: Crowd) -> Steps:
    """Groups whose quota, weight and members change; those in one tenth of a CPU wait most of the time."""
    folders = [f"{GROUPS}/vet{number}" for number in range(3)]
    try:
        _write(f"{GROUPS}/cgroup.subtree_control", "+cpu")
        for folder in folders:
            os.mkdir(folder)
    except OSError as error:
        raise CannotRunError(f"no groups with the cpu controller: {error.strerror}") from None
    if not os.path.exists(f"{folders[0]}/cpu.max"):
        raise CannotRunError("this kernel has no quotas for groups")
    for number in range(3 * len(folders)):
        pid = crowd.start("spinner of a group", crowd.spin)
        _write(f"{folders[number % len(folders)]}/cgroup.procs", str(pid))
    while True:
        folder = crowd.rng.choice(folders)
        choice = crowd.rng.randrange(3)
        if choice == 0:
            _write(f"{folder}/cpu.max", crowd.rng.choice(("10000 100000", "50000 100000", "max 100000")))
        elif choice == 1:
            _write(f"{folder}/cpu.weight", str(crowd.rng.choice((1, 100, 10000))))
        else:
            with contextlib.suppress(ProcessLookupError):
                _write(f"{folder}/cgroup.procs", str(crowd.draw_task()))
        yield crowd.rng.uniform(0.0, 0.05)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def migration_disabled(crowd: Crowd) -> Steps:
    """Tasks that lose their CPU inside a BPF program, within which the kernel lets nobody move them."""
    program = _Spinning()

    def run() -> Answer:
        nr_preempted = nr_runs = 0
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        while time.monotonic() < crowd.end:
            program.run()
            now = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
            nr_preempted, nr_runs, before = nr_preempted + now - before, nr_runs + 1, now
        return {"preempted": nr_preempted, "runs": nr_runs}

    for _ in range(2 * len(crowd.cpus)):
        crowd.start("migration-disabled task", run)
    while True:
        yield 0.2


class _Spinning:
    """A BPF program that only loops: since 6.15 the kernel ends it after a quarter of a second.

    It is run by a system call, sleepable, so that it may be preempted, and with migration disabled, as all
    BPF programs are.
    """

    _LOAD, _RUN = 5, 10  # enum bpf_cmd
    _CALL = 321  # x86-64's number of bpf(2)
    _SYSCALL, _SLEEPABLE = 31, 1 << 4
    _CODE = (
        (0xB7, 0, 0, 0),  # r0 = 0
        (0xE5, 0, 1, 0),  # may_goto +1: leaves the loop when the time is over
        (0x05, 0, -2, 0),  # goto -2
        (0x95, 0, 0, 0),  # exit
    )

    def __init__(self) -> None:
        self._bpf = ctypes.CDLL(None, use_errno=True).syscall
        packed = b"".join(struct.pack("<BBhi", *one) for one in self._CODE)
        code = ctypes.create_string_buffer(packed, len(packed))
        name = ctypes.create_string_buffer(b"GPL")
        self._kept = code, name
        attributes = struct.pack(
            "<IIQQIIQII",
            *(self._SYSCALL, len(self._CODE), ctypes.addressof(code), ctypes.addressof(name)),
            *(0, 0, 0, 0, self._SLEEPABLE),
        )
        self._fd = self._call(self._LOAD, attributes)
        if self._fd < 0:
            raise CannotRunError(
                f"the kernel takes no BPF program that loops: {os.strerror(ctypes.get_errno())}"
            )

    def run(self) -> None:
        """Run it once."""
        if self._call(self._RUN, struct.pack("<I", self._fd)) < 0:
            raise CannotRunError(f"a BPF program can't be run: {os.strerror(ctypes.get_errno())}")

    def _call(self, command: int, attributes: bytes) -> int:
        buffer = ctypes.create_string_buffer(attributes.ljust(152, b"\0"), 152)
        return int(self._bpf(self._CALL, command, buffer, 152))


# Name -> what makes its tasks and disturbs them, and the fewest CPUs that it needs.
ADVERSARIES: dict[str, tuple[Callable[[Crowd], Steps], int]] = {
    "pinned": (pinned, 1),
    "migration_disabled": (migration_disabled, 1),
    "affinity": (affinity, 2),
    "policies": (policies, 1),
    "real_time": (real_time, 1),
    "hotplug": (hotplug, 2),
    "fork_storm": (fork_storm, 1),
    "quota": (quota, 1),
}

_TRIED = {"migration_disabled": "preempted"}  # what must have been counted, or it was not tried


def state() -> str:
    """What the kernel says of sched_ext; empty where it has none."""
    try:
        with open(SCHED_EXT) as file:
            return file.read().strip()
    except OSError:
        return ""


def attack(name: str, seconds: float, seed: int) -> Answer:
    """Run an adversary; returns what was seen.

    Raises:
        CannotRunError: It can't be tried here.
    """
    # Who disturbs must not wait for whom it disturbs; its children begin as usual tasks.
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(2))
    first, began = state(), time.monotonic()
    crowd = Crowd(began + seconds, random.Random(seed))
    ejected_after_s: float | None = None

    def ejected() -> bool:
        nonlocal ejected_after_s
        if ejected_after_s is None and state() != first:
            ejected_after_s = time.monotonic() - began
        return ejected_after_s is not None

    crowd.beside()
    nr_steps, next_step = 0, ADVERSARIES[name][0](crowd)
    while time.monotonic() < crowd.end and not ejected():
        time.sleep(min(next(next_step), max(crowd.end - time.monotonic(), 0)))
        nr_steps += 1
    answers, silent = crowd.gather(ejected)
    next_step.close()
    waits = [(one["longest_wait_s"], one["kind"]) for one in answers if "longest_wait_s" in one]
    longest_wait_s, longest_kind = max(waits, default=(None, ""))
    counts = {key: sum(one.get(key, 0) for one in answers) for key in ("forks", "preempted", "runs")}
    if not ejected() and not counts.get(_TRIED.get(name, ""), 1):
        raise CannotRunError("no task lost its CPU there: this kernel preempts nothing within itself")
    return {
        "ejected_after_s": ejected_after_s,
        "longest_wait_s": longest_wait_s,
        "longest_kind": longest_kind,
        "silent": silent,
        "nr_tasks": len(crowd.tasks),
        "nr_steps": nr_steps,
        "counts": {key: number for key, number in counts.items() if number},
    }


def main() -> None:
    """Run what the environment says."""
    name, seconds, seed = (os.environ[key] for key in (ADVERSARY, SECONDS, SEED))
    try:
        found = attack(name, float(seconds), int(seed))
    except CannotRunError as error:
        found = {"cannot": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
