"""The scheduling attributes of threads: EEVDF slice, policy, nice, timer slack."""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from schedtuna.capabilities import read_kernel_file
from schedtuna.kernel.slices import read_back_slice
from schedtuna.kernel.syscalls import (
    SLICE_MAX_NS,
    SLICE_MIN_NS,
    SchedPolicy,
    sched_getattr,
    sched_setattr,
)
from schedtuna.knobs.base import Availability, Scope, Target, as_int
from schedtuna.knobs.kernel_files import write_kernel_file
from schedtuna.knobs.task_knob import TaskKnob, first_task
from schedtuna.machine.tasks import may_schedule_all
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

FAIR = {"other": SchedPolicy.OTHER, "batch": SchedPolicy.BATCH, "idle": SchedPolicy.IDLE}
_FAIR_NAMES = {int(number): name for name, number in FAIR.items()}


_NICE_ONLY_RISES = "without privilege nice can be raised but not put back"


class SliceSupport(NamedTuple):
    """What a scratch thread showed: the default slice, and whether another one stays set."""

    default_ns: int
    works: bool
    problem: str = ""


@cache
def slice_support() -> SliceSupport:
    """Ask the kernel once."""
    try:
        return SliceSupport(*read_back_slice())
    except OSError as error:
        return SliceSupport(0, False, error.strerror or str(error))


class Slice(TaskKnob[int]):
    """The time a thread runs before EEVDF looks for another one to run."""

    name = "slice_us"
    unit = "us"
    description = "EEVDF slice: shorter is scheduled sooner and switched more often"

    def supported(self) -> Availability:
        """Whether a slice stays set on a scratch thread."""
        support = slice_support()
        if support.works:
            return Availability(ok=True)
        reason = support.problem or "this kernel ignores a slice set on a thread"
        return Availability(False, reason, "EEVDF's slice per thread needs Linux 6.12 or newer")

    def read(self, tid: int) -> int | None:
        """The slice in nanoseconds, 0 for the default one, which reads back as a number."""
        attributes = sched_getattr(tid)
        if attributes.policy not in (SchedPolicy.OTHER, SchedPolicy.BATCH):
            return None
        default_ns = slice_support().default_ns
        return 0 if attributes.runtime_ns == default_ns else attributes.runtime_ns

    def write(self, tid: int, state: int) -> None:
        """Set the slice, and nothing else, of a thread."""
        sched_setattr(tid, replace(sched_getattr(tid), runtime_ns=state))

    def to_state(self, value: ParameterValue, target: Target) -> int:  # noqa: ARG002
        """Microseconds to nanoseconds."""
        return as_int(value) * 1000

    def to_value(self, state: int, target: Target) -> int:  # noqa: ARG002
        """Nanoseconds to microseconds."""
        return round((state or slice_support().default_ns) / 1000)

    def spec(self, target: Target) -> ParameterSpec:
        """0.1 to 100 ms, by ratio."""
        return ParameterSpec(
            name=self.name,
            type=ParameterType.INTEGER,
            default=self.show(target),
            min_value=SLICE_MIN_NS // 1000,
            max_value=SLICE_MAX_NS // 1000,
            log=True,
            unit=self.unit,
            description=self.description,
        )


class Policy(TaskKnob[str]):
    """Which of the fair policies a thread runs under."""

    name = "policy"
    description = "batch: woken later, switched less; idle: runs when others leave time"

    def read(self, tid: int) -> str | None:
        """The policy's name; None for realtime, deadline and sched_ext threads."""
        return _FAIR_NAMES.get(sched_getattr(tid).policy)

    def why_no_return(self, tid: int, old: str, new: str) -> str:
        """Without privilege nobody leaves `idle`, which counts as the highest nice value."""
        returns = old == "idle" or new != "idle" or may_have_nice(_nice(tid))
        return "" if returns else "without privilege a thread can be made idle but not put back"

    def write(self, tid: int, state: str) -> None:
        """Set the policy; nice, slice and reset-on-fork stay."""
        keep = os.sched_getscheduler(tid) & os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(tid, FAIR[state] | keep, os.sched_param(0))

    def to_state(self, value: ParameterValue, target: Target) -> str:  # noqa: ARG002
        """A policy's name is its state."""
        return str(value)

    def to_value(self, state: str, target: Target) -> str:  # noqa: ARG002
        """A policy's name is its value."""
        return state

    def spec(self, target: Target) -> ParameterSpec:
        """The fair policies; without `idle` where this user could not leave it again."""
        found = self.show(target)
        choices = tuple(name for name in FAIR if name in ("other", "batch", found))
        first = first_task(target)
        returns = target.scope is Scope.TREE or first is None or may_have_nice(_nice(first.tid))
        if returns:
            choices = tuple(FAIR)
        return ParameterSpec(
            name=self.name,
            type=ParameterType.CATEGORICAL,
            default=found,
            choices=choices,
            description=self.description,
        )


class Nice(TaskKnob[int]):
    """The weight of a thread against the others of its group."""

    name = "nice"
    description = "each step is about 1.25 times less CPU time against others of the same group"

    def probe(self, target: Target) -> Availability:
        """Say, too, that an unprivileged user can't go back."""
        found = super().probe(target)
        if not found.ok:
            return found
        now = as_int(self.show(target))
        if target.scope is not Scope.TREE and not may_have_nice(now):
            return Availability(False, _NICE_ONLY_RISES, "run as root")
        if _lowest_nice(now) >= 19:
            return Availability(
                False, "nice is 19 already, and without privilege it only rises", "run as root"
            )
        return found

    def why_no_return(self, tid: int, old: int, new: int) -> str:  # noqa: ARG002
        """Without privilege it only rises."""
        return "" if new <= old or may_have_nice(old) else _NICE_ONLY_RISES

    def read(self, tid: int) -> int | None:
        """The nice value of a fair thread."""
        return None if _FAIR_NAMES.get(sched_getattr(tid).policy) is None else _nice(tid)

    def write(self, tid: int, state: int) -> None:
        """Set the nice value; policy and slice stay."""
        os.setpriority(os.PRIO_PROCESS, tid, state)

    def to_state(self, value: ParameterValue, target: Target) -> int:  # noqa: ARG002
        """A nice value is its own state."""
        return as_int(value)

    def to_value(self, state: int, target: Target) -> int:  # noqa: ARG002
        """A nice value is its own value."""
        return state

    def spec(self, target: Target) -> ParameterSpec:
        """-20 to 19; for unprivileged users from what RLIMIT_NICE allows, or else from what is set."""
        found = as_int(self.show(target))
        return ParameterSpec(
            name=self.name,
            type=ParameterType.INTEGER,
            default=found,
            min_value=_lowest_nice(found),
            max_value=19,
            description=self.description,
        )


class TimerSlack(TaskKnob[int]):
    """How much later than asked a thread's sleeps and timeouts may end."""

    name = "timer_slack_us"
    unit = "us"
    description = "how late timers may fire so that wakeups share an interrupt"

    def supported(self) -> Availability:
        """Whether the slack of other processes can be set."""
        if not os.path.exists("/proc/self/timerslack_ns"):  # noqa: PTH110 - it is hot
            return Availability(False, "this kernel has no /proc/PID/timerslack_ns", "it needs Linux 4.6+")
        if not may_schedule_all():
            return Availability(False, "only root sets the timer slack of another process", "run as root")
        return Availability(ok=True)

    def read(self, tid: int) -> int | None:
        """The slack in nanoseconds; None for realtime threads, which have none."""
        return read_slack_ns(tid) or None

    def write(self, tid: int, state: int) -> None:
        """Set the slack in nanoseconds."""
        write_slack_ns(tid, state)

    def to_state(self, value: ParameterValue, target: Target) -> int:  # noqa: ARG002
        """Microseconds to nanoseconds."""
        return as_int(value) * 1000

    def to_value(self, state: int, target: Target) -> int:  # noqa: ARG002
        """Nanoseconds to microseconds, at least 1."""
        return max(1, round(state / 1000))

    def spec(self, target: Target) -> ParameterSpec:
        """1 us to 10 ms, by ratio."""
        found = as_int(self.show(target))
        return ParameterSpec(
            name=self.name,
            type=ParameterType.INTEGER,
            default=found,
            min_value=1,
            max_value=max(10_000, found),
            log=True,
            unit=self.unit,
            description=self.description,
        )


def autogroup_enabled() -> bool:
    """Whether each session is a scheduling group of its own."""
    try:
        return read_kernel_file("/proc/sys/kernel/sched_autogroup_enabled").strip() == "1"
    except OSError:
        return False


def _nice(tid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, tid)


def _lowest_nice(now: int) -> int:
    """The lowest nice value that this user may set on a thread that has `now`."""
    return next(value for value in range(-20, 20) if value >= now or may_have_nice(value))


def may_have_nice(value: int) -> bool:
    """Whether this user may lower a nice value to this (can_nice() in the kernel)."""
    if may_schedule_all():
        return True
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    return limit == resource.RLIM_INFINITY or 20 - value <= limit


def read_slack_ns(tid: int) -> int:
    """A thread's timer slack; one that is gone raises ESRCH, as from a system call."""
    try:
        return int(read_kernel_file(f"/proc/{tid}/timerslack_ns"))
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error


def write_slack_ns(tid: int, slack_ns: int) -> None:
    """Set a thread's timer slack; one that is gone raises ESRCH."""
    try:
        write_kernel_file(Path(f"/proc/{tid}/timerslack_ns"), str(slack_ns))
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
