"""The scheduling attributes of threads: EEVDF slice, policy, nice, timer slack."""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

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
from schedtuna.knobs.tasks import CAP_SYS_NICE, has_capability
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

_FAIR = {"other": SchedPolicy.OTHER, "batch": SchedPolicy.BATCH, "idle": SchedPolicy.IDLE}
_REALTIME = {"fifo": SchedPolicy.FIFO, "rr": SchedPolicy.RR}
_POLICY_NAMES = {int(number): name for name, number in {**_FAIR, **_REALTIME}.items()}

# A realtime thread that runs this long without blocking gets SIGXCPU: it would otherwise keep its
# CPU from everything else for as long as RT throttling lets it. Only the soft limit is set, because
# putting a hard limit back takes CAP_SYS_RESOURCE.
REALTIME_LIMIT_US = 5_000_000
REALTIME_PRIORITY = 1


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


class Slice(TaskKnob):
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

    def write(self, tid: int, state: Any) -> None:
        """Set the slice, and nothing else, of a thread."""
        sched_setattr(tid, replace(sched_getattr(tid), runtime_ns=int(state)))

    def to_state(self, value: ParameterValue, target: Target) -> int:  # noqa: ARG002
        """Microseconds to nanoseconds."""
        return as_int(value) * 1000

    def to_value(self, state: Any, target: Target) -> int:  # noqa: ARG002
        """Nanoseconds to microseconds."""
        return round((int(state) or slice_support().default_ns) / 1000)

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


class Policy(TaskKnob):
    """Which of the fair policies a thread runs under."""

    name = "policy"
    description = "batch: woken later, switched less; idle: runs when others leave time"

    def read(self, tid: int) -> str | None:
        """The policy's name; None for realtime, deadline and sched_ext threads."""
        return _fair_name(sched_getattr(tid).policy)

    def write(self, tid: int, state: Any) -> None:
        """Set the policy; nice, slice and reset-on-fork stay."""
        keep = os.sched_getscheduler(tid) & os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(tid, _FAIR[str(state)] | keep, os.sched_param(0))

    def to_state(self, value: ParameterValue, target: Target) -> str:  # noqa: ARG002
        """A policy's name is its state."""
        return str(value)

    def to_value(self, state: Any, target: Target) -> str:  # noqa: ARG002
        """A policy's name is its value."""
        return str(state)

    def spec(self, target: Target) -> ParameterSpec:
        """The fair policies; without `idle` where this user could not leave it again."""
        found = self.show(target)
        choices = tuple(name for name in _FAIR if name in ("other", "batch", found))
        first = first_task(target)
        returns = target.scope is Scope.TREE or first is None or may_have_nice(_nice(first.tid))
        if returns:
            choices = tuple(_FAIR)
        return ParameterSpec(
            name=self.name,
            type=ParameterType.CATEGORICAL,
            default=found,
            choices=choices,
            description=self.description,
        )


class Nice(TaskKnob):
    """The weight of a thread against the others of its group."""

    name = "nice"
    description = "each step is about 1.25 times less CPU time against others of the same group"

    def probe(self, target: Target) -> Availability:
        """Say what else has to be known: autogroups, and that an unprivileged user can't go back."""
        found = super().probe(target)
        if not found.ok:
            return found
        now = as_int(self.show(target))
        if target.scope is not Scope.TREE and not may_have_nice(now):
            return Availability(False, "without privilege nice can be raised but not put back", "run as root")
        if _lowest_nice(now) >= 19:
            return Availability(
                False, "nice is 19 already, and without privilege it only rises", "run as root"
            )
        if autogroup_enabled():
            return Availability(
                True, "", "autogroup is on: nice counts only among the threads of one session"
            )
        return found

    def read(self, tid: int) -> int | None:
        """The nice value of a fair thread."""
        return None if _fair_name(sched_getattr(tid).policy) is None else _nice(tid)

    def write(self, tid: int, state: Any) -> None:
        """Set the nice value; policy and slice stay."""
        os.setpriority(os.PRIO_PROCESS, tid, int(state))

    def to_state(self, value: ParameterValue, target: Target) -> int:  # noqa: ARG002
        """A nice value is its own state."""
        return as_int(value)

    def to_value(self, state: Any, target: Target) -> int:  # noqa: ARG002
        """A nice value is its own value."""
        return int(state)

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


class TimerSlack(TaskKnob):
    """How much later than asked a thread's sleeps and timeouts may end."""

    name = "timer_slack_us"
    unit = "us"
    description = "how late timers may fire so that wakeups share an interrupt"

    def supported(self) -> Availability:
        """Whether the slack of other processes can be set."""
        if not Path("/proc/self/timerslack_ns").exists():
            return Availability(False, "this kernel has no /proc/PID/timerslack_ns", "it needs Linux 4.6+")
        if not has_capability(CAP_SYS_NICE):
            return Availability(False, "only root sets the timer slack of another process", "run as root")
        return Availability(ok=True)

    def read(self, tid: int) -> int | None:
        """The slack in nanoseconds; None for realtime threads, which have none."""
        return _read_slack_ns(tid) or None

    def write(self, tid: int, state: Any) -> None:
        """Set the slack in nanoseconds."""
        _write_slack_ns(tid, int(state))

    def to_state(self, value: ParameterValue, target: Target) -> int:  # noqa: ARG002
        """Microseconds to nanoseconds."""
        return as_int(value) * 1000

    def to_value(self, state: Any, target: Target) -> int:  # noqa: ARG002
        """Nanoseconds to microseconds, at least 1."""
        return max(1, round(int(state) / 1000))

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


class Realtime(TaskKnob):
    """Realtime policies, for those who ask for them."""

    name = "realtime"
    description = f"realtime policy at priority {REALTIME_PRIORITY}: runs before every normal thread"
    offered_in = frozenset()

    def supported(self) -> Availability:
        """Whether this user may set a realtime policy, and put the timer slack back that it clears."""
        if has_capability(CAP_SYS_NICE):
            return Availability(ok=True)
        return Availability(False, "realtime policies need a privilege", "run as root, or grant CAP_SYS_NICE")

    def may_change(self, state: Any) -> bool:
        """Threads that are realtime already stay as they are."""
        return state is not None and state["policy"] in _FAIR

    def read(self, tid: int) -> dict[str, Any] | None:
        """Policy, priority, the limit on running without blocking, and the timer slack."""
        attributes = sched_getattr(tid)
        name = _POLICY_NAMES.get(attributes.policy)
        if name is None:
            return None
        soft_us = resource.prlimit(tid, resource.RLIMIT_RTTIME)[0]
        return {
            "policy": name,
            "priority": attributes.priority,
            "limit_us": soft_us,
            "slack_ns": _read_slack_ns(tid),
        }

    def write(self, tid: int, state: Any) -> None:
        """Set the limit first, so that no thread is realtime without one."""
        policy = {**_FAIR, **_REALTIME}[state["policy"]]
        keep = os.sched_getscheduler(tid) & os.SCHED_RESET_ON_FORK
        if state["policy"] in _REALTIME:
            _limit_realtime(tid, int(state["limit_us"]))
        os.sched_setscheduler(tid, policy | keep, os.sched_param(int(state["priority"])))
        if state["policy"] in _FAIR:
            _limit_realtime(tid, int(state["limit_us"]))
            if _read_slack_ns(tid) == 0:  # a thread born realtime has none to come back to
                _write_slack_ns(tid, int(state["slack_ns"]))

    def to_state(self, value: ParameterValue, target: Target) -> dict[str, Any]:
        """The policy with priority 1 and the limit."""
        if value == "none":
            state: dict[str, Any] = self.state_now(target)
            return state
        return {
            "policy": str(value),
            "priority": REALTIME_PRIORITY,
            "limit_us": REALTIME_LIMIT_US,
            "slack_ns": 0,
        }

    def to_value(self, state: Any, target: Target) -> str:  # noqa: ARG002
        """The policy's name; `none` for the fair ones."""
        return state["policy"] if state["policy"] in _REALTIME else "none"

    def spec(self, target: Target) -> ParameterSpec:
        """None, fifo or rr."""
        return ParameterSpec(
            name=self.name,
            type=ParameterType.CATEGORICAL,
            default=self.show(target),
            choices=("none", *_REALTIME),
            description=self.description,
        )


def autogroup_enabled() -> bool:
    """Whether each session is a scheduling group of its own."""
    try:
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    except OSError:
        return False


def _limit_realtime(tid: int, soft_us: int) -> None:
    hard_us = resource.prlimit(tid, resource.RLIMIT_RTTIME)[1]
    if hard_us != resource.RLIM_INFINITY and (soft_us == resource.RLIM_INFINITY or soft_us > hard_us):
        soft_us = hard_us
    resource.prlimit(tid, resource.RLIMIT_RTTIME, (soft_us, hard_us))


def _fair_name(policy: int) -> str | None:
    name = _POLICY_NAMES.get(policy)
    return name if name in _FAIR else None


def _nice(tid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, tid)


def _lowest_nice(now: int) -> int:
    """The lowest nice value that this user may set on a thread that has `now`."""
    return next(value for value in range(-20, 20) if value >= now or may_have_nice(value))


def may_have_nice(value: int) -> bool:
    """Whether this user may lower a nice value to this (can_nice() in the kernel)."""
    if has_capability(CAP_SYS_NICE):
        return True
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    return limit == resource.RLIM_INFINITY or 20 - value <= limit


# A thread that is gone has no folder in /proc; callers want to hear ESRCH, as from a system call.
def _read_slack_ns(tid: int) -> int:
    try:
        return int(Path(f"/proc/{tid}/timerslack_ns").read_text())
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error


def _write_slack_ns(tid: int, slack_ns: int) -> None:
    try:
        write_kernel_file(Path(f"/proc/{tid}/timerslack_ns"), str(slack_ns))
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
