"""Realtime policies: on request only, and never without a limit on running without a break."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TypedDict

from schedtuna.kernel.syscalls import SchedPolicy, sched_getattr
from schedtuna.knobs.base import Availability, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.scheduler_process import read_sysfs
from schedtuna.knobs.task_attributes import FAIR, read_slack_ns, write_slack_ns
from schedtuna.knobs.task_knob import TaskKnob, first_task
from schedtuna.machine.tasks import may_schedule_all
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

_REALTIME = {"fifo": SchedPolicy.FIFO, "rr": SchedPolicy.RR}
_POLICY_NAMES = {int(number): name for name, number in {**FAIR, **_REALTIME}.items()}

# A realtime thread that runs this long without blocking gets SIGXCPU: nothing else ends it, and what the
# kernel keeps for others meanwhile (the fair server's 5%; before Linux 6.12, RT throttling) may be switched
# off. Only the soft limit is set, because putting a hard limit back takes CAP_SYS_RESOURCE.
REALTIME_LIMIT_US = 5_000_000
REALTIME_PRIORITY = 1
_LIMIT = Path("/proc/sys/kernel/sched_rt_runtime_us")
_BUDGET = "write some microseconds to its cpu.rt_runtime_us; the groups above it need as much"


class RealtimeState(TypedDict):
    """Policy, priority, the limit on running without blocking, and the timer slack."""

    policy: str
    priority: int
    limit_us: int
    slack_ns: int


class Realtime(TaskKnob[RealtimeState]):
    """Realtime policies, for those who ask for them."""

    name = "realtime"
    description = f"realtime policy at priority {REALTIME_PRIORITY}: runs before every normal thread"
    offered_in = frozenset()

    def supported(self) -> Availability:
        """Whether this user may set a realtime policy, and put the timer slack back that it clears."""
        if may_schedule_all():
            return Availability(ok=True)
        return Availability(False, "realtime policies need a privilege", "run as root, or grant CAP_SYS_NICE")

    def probe(self, target: Target) -> Availability:
        """Say whether it can be set, and the target's control group has a realtime budget."""
        found, first = super().probe(target), first_task(target)
        if found.ok and first is not None and (group := _group_without_budget(first.tid)):
            return Availability(False, f"{group} has no realtime budget (CONFIG_RT_GROUP_SCHED)", _BUDGET)
        return found

    def may_change(self, state: RealtimeState | None) -> bool:
        """Threads that are realtime already stay as they are."""
        return state is not None and state["policy"] in FAIR

    def read(self, tid: int) -> RealtimeState | None:
        """Its state; None under other policies than these."""
        attributes = sched_getattr(tid)
        name = _POLICY_NAMES.get(attributes.policy)
        if name is None:
            return None
        soft_us = resource.prlimit(tid, resource.RLIMIT_RTTIME)[0]
        return {
            "policy": name,
            "priority": attributes.priority,
            "limit_us": soft_us,
            "slack_ns": read_slack_ns(tid),
        }

    def write(self, tid: int, state: RealtimeState) -> None:
        """Set the limit first, so that no thread is realtime without one."""
        policy = {**FAIR, **_REALTIME}[state["policy"]]
        keep = os.sched_getscheduler(tid) & os.SCHED_RESET_ON_FORK
        if state["policy"] in _REALTIME:
            _limit_realtime(tid, state["limit_us"])
        os.sched_setscheduler(tid, policy | keep, os.sched_param(state["priority"]))
        if state["policy"] in FAIR:
            _limit_realtime(tid, state["limit_us"])
            if read_slack_ns(tid) == 0:  # a thread born realtime has none to come back to
                write_slack_ns(tid, state["slack_ns"])

    def to_state(self, value: ParameterValue, target: Target) -> RealtimeState:
        """The policy with priority 1 and the limit."""
        if value == "none":
            return self.state_now(target)
        return {
            "policy": str(value),
            "priority": REALTIME_PRIORITY,
            "limit_us": REALTIME_LIMIT_US,
            "slack_ns": 0,
        }

    def to_value(self, state: RealtimeState, target: Target) -> str:  # noqa: ARG002
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

    def hint_of_refusal(self, tid: int, error: OSError) -> str | None:
        """Whether it is the thread's control group that has no budget, as a new one of version 1 has none."""
        return _BUDGET if _group_without_budget(tid) else super().hint_of_refusal(tid, error)


def _group_without_budget(tid: int) -> Path | None:
    """The thread's group of version 1 that may run no realtime thread (kernel/sched/syscalls.c)."""
    hierarchy = find_hierarchy("cpu")
    group = hierarchy.group_of(tid) if hierarchy is not None else None
    bounded = not read_sysfs(_LIMIT).startswith("-")  # -1 ends the throttling of all groups
    return group if bounded and group and read_sysfs(group / "cpu.rt_runtime_us") == "0" else None


def _limit_realtime(tid: int, soft_us: int) -> None:
    hard_us = resource.prlimit(tid, resource.RLIMIT_RTTIME)[1]
    if hard_us != resource.RLIM_INFINITY and (soft_us == resource.RLIM_INFINITY or soft_us > hard_us):
        soft_us = hard_us
    resource.prlimit(tid, resource.RLIMIT_RTTIME, (soft_us, hard_us))
