"""Realtime policies: on request only, and never without a limit on running without a break."""

from __future__ import annotations

import os
import resource
from typing import TypedDict

from schedtuna.kernel.syscalls import SchedPolicy, sched_getattr
from schedtuna.knobs.base import Availability, Target
from schedtuna.knobs.task_attributes import FAIR, read_slack_ns, write_slack_ns
from schedtuna.knobs.task_knob import TaskKnob
from schedtuna.machine.tasks import may_schedule_all
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

_REALTIME = {"fifo": SchedPolicy.FIFO, "rr": SchedPolicy.RR}
_POLICY_NAMES = {int(number): name for name, number in {**FAIR, **_REALTIME}.items()}

# A realtime thread that runs this long without blocking gets SIGXCPU: nothing else ends it, and what the
# kernel keeps for others meanwhile (the fair server's 5%; before Linux 6.12, RT throttling) may be switched
# off. Only the soft limit is set, because putting a hard limit back takes CAP_SYS_RESOURCE.
REALTIME_LIMIT_US = 5_000_000
REALTIME_PRIORITY = 1


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


def _limit_realtime(tid: int, soft_us: int) -> None:
    hard_us = resource.prlimit(tid, resource.RLIMIT_RTTIME)[1]
    if hard_us != resource.RLIM_INFINITY and (soft_us == resource.RLIM_INFINITY or soft_us > hard_us):
        soft_us = hard_us
    resource.prlimit(tid, resource.RLIMIT_RTTIME, (soft_us, hard_us))
