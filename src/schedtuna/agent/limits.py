"""What the agent never changes, whatever a policy says. Pure: it judges facts that the loop has read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from schedtuna.agent.contract import ADVICE, Intent, RunningScheduler
from schedtuna.agent.managers import Manager, group_manager, owner_of
from schedtuna.knobs.effects import Effect, effect_of
from schedtuna.knobs.position import Position
from schedtuna.knobs.scheduler_process import SchedulerProcess

FAIR_POLICIES = {0: "other", 3: "batch", 5: "idle"}  # include/uapi/linux/sched.h
_INIT = 1
_VOID = (Effect.NOTHING, Effect.REFUSED)


@dataclass(frozen=True)
class Limits:
    """How much the agent changes at most.

    Attributes:
        changes_per_interval: New changes in one interval.
        most_standing: Changes that are in force at a time.
        settings: The only settings that may be changed; empty: all.
        cgroups: The only control groups whose threads may be changed, with those below; empty: all.
        tgids: The only processes, with their threads and what they start; empty: all. Where both are
            named, what is in either may be changed.
        proven_only: Whether what no past study proves here and now is only advised.
    """

    changes_per_interval: int = 20
    most_standing: int = 200
    settings: frozenset[str] = frozenset()
    cgroups: tuple[str, ...] = ()
    tgids: frozenset[int] = frozenset()
    proven_only: bool = False


@dataclass(frozen=True)
class ThreadFacts:
    """What is read of a thread just before it is changed.

    Attributes:
        tgid: Its process.
        is_kernel_thread: Whether it is the kernel's own.
        policy: The kernel's number.
        cgroup: Its path below the root; empty where unknown.
        delegated: Whether somebody was given that group.
        fellows: Of a session's leader: process and control group of all its threads.
    """

    tgid: int
    is_kernel_thread: bool
    policy: int
    cgroup: str = ""
    delegated: bool = False
    fellows: frozenset[tuple[int, str]] = frozenset()

    @property
    def everybody(self) -> frozenset[tuple[int, str]]:
        """Process and control group of all whom a change reaches."""
        return self.fellows | {(self.tgid, self.cgroup)}


@dataclass(frozen=True)
class Surroundings:
    """What is so of the machine and this process.

    Attributes:
        own_tgids: This process, what it descends from, and what it started.
        managers: Programs that own settings.
        scheduler: Which one is in charge.
        taken: Settings of targets that somebody else has set: `Intent.key` -> who, when and what.
        own_scheduler: Whether the agent itself has put the one in charge there.
    """

    own_tgids: Collection[int] = ()
    managers: Collection[Manager] = ()
    scheduler: RunningScheduler = field(default_factory=lambda: RunningScheduler("eevdf"))
    taken: Mapping[str, str] = field(default_factory=dict)
    own_scheduler: bool = False


@dataclass(frozen=True)
class Refusal:
    """Why an intent is not carried out.

    Attributes:
        reason: For people.
        advise: Whether somebody else may want to do it: it is told as advice.
        quiet: Whether nobody wants to hear of it.
    """

    reason: str
    advise: bool = False
    quiet: bool = False


def refusal(
    intent: Intent, limits: Limits, around: Surroundings, thread: ThreadFacts | None
) -> Refusal | None:
    """Return why an intent is not carried out; None: it may be.

    Args:
        intent: What a policy wants.
        limits: How much may be changed.
        around: The machine.
        thread: Of a thread as target, or a session's leader: what is known of it; None: it is gone.
    """
    if not _is_asked_for(intent, limits, thread):
        return Refusal("it is not among the processes and control groups that may be changed", quiet=True)
    if intent.target.kind in ("thread", "session") and thread is None:
        return Refusal("the thread is gone", quiet=True)
    if intent.key in around.taken:
        return Refusal(f"it is somebody else's: {around.taken[intent.key]}", advise=True)
    if limits.settings and intent.setting not in limits.settings:
        return Refusal(f"{intent.setting} is not among the settings that may be changed", advise=True)
    if limits.proven_only and intent.why_unproven:
        return Refusal(f"it is not proven: {intent.why_unproven}", advise=True)
    if intent.target.kind == "scheduler":
        return _scheduler_refusal(intent, around)
    if owner := owner_of(intent.setting, around.managers):
        return Refusal(f"{owner.name} runs, and {owner.does}: {intent.setting} is its own", advise=True)
    if intent.setting == SchedulerProcess.name:
        return None if around.own_scheduler else _others_scheduler(around.scheduler)
    if around.scheduler.is_ext:
        effect, why, _ = effect_of(intent.setting, Position.EXT)
        if effect in _VOID:
            return Refusal(f"{around.scheduler.name} is in charge: {why}")
    if intent.target.kind in ("thread", "session"):
        return None if thread is None else _thread_refusal(around, thread)
    if intent.target.kind == "cgroup":
        return _group_refusal(intent.target.cgroup, delegated=bool(thread and thread.delegated))
    return None


def _is_asked_for(intent: Intent, limits: Limits, thread: ThreadFacts | None) -> bool:
    """Whether limits leave the target in; a machine's settings are named by their own limit."""
    if intent.target.kind in ("thread", "session") and thread is not None:
        return all(is_within(limits, tgid, cgroup) for tgid, cgroup in thread.everybody)
    return is_within(limits, intent.target.tgid, intent.target.cgroup) or intent.target.kind == "machine"


def _scheduler_refusal(intent: Intent, around: Surroundings) -> Refusal | None:
    running, wanted = around.scheduler, intent.target.scheduler
    if owner := owner_of("scheduler", around.managers):
        return Refusal(f"{owner.name} runs, and {owner.does}: their parameters are its own", advise=True)
    if running.name != wanted:
        return Refusal(f"{running.name} is in charge, not {wanted}")
    if intent.setting != ADVICE and intent.setting not in running.parameters:
        return Refusal(f"{wanted} has no parameter {intent.setting} that can be set while it runs")
    return None


def _others_scheduler(running: RunningScheduler) -> Refusal | None:
    if running.is_ext:
        return Refusal(f"{running.name} is in charge, which somebody else has started", advise=True)
    return None


def _thread_refusal(around: Surroundings, thread: ThreadFacts) -> Refusal | None:
    if thread.is_kernel_thread:
        return Refusal("it is a thread of the kernel")
    if thread.tgid == _INIT:
        return Refusal("it is process 1")
    if any(tgid in around.own_tgids for tgid, _ in thread.everybody):
        return Refusal("it is this agent, or what it descends from")
    if thread.policy not in FAIR_POLICIES:
        return Refusal("it is a realtime, deadline or sched_ext thread")
    if manager := group_manager(thread.cgroup):
        return Refusal(f"its control group belongs to {manager}", advise=True)
    return None


def _group_refusal(cgroup: str, *, delegated: bool) -> Refusal | None:
    if cgroup in ("", "/"):
        return Refusal("it is the root of all control groups")
    if manager := group_manager(cgroup):
        return Refusal(f"the control group belongs to {manager}", advise=True)
    if delegated:
        return Refusal("the control group was delegated to somebody else", advise=True)
    return None


def is_within(limits: Limits, tgid: int, cgroup: str) -> bool:
    """Return whether limits let a process or a control group be changed: one of them is named, or none is."""
    if not limits.tgids and not limits.cgroups:
        return True
    return tgid in limits.tgids or any(_is_below(cgroup, group) for group in limits.cgroups)


def _is_below(cgroup: str, group: str) -> bool:
    return PurePosixPath(cgroup or "/").is_relative_to(PurePosixPath("/", group.strip("/")))
