"""What the parts of the agent hand each other: what was sensed, what is to change, what a guard says of it.

One interval: `Sensed` -> `AgentPolicy.decide` -> `Intent` -> `AgentGuard.judge` -> `GuardVerdict` -> acts.
Policies and guards are pure: no clocks, files or processes; what they remember is in their own objects,
and comes from what they were given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from schedtuna.space import ParameterValue

# One row per thread. Times and counts are of the interval, but for those named `total_`.
SENSED_DTYPE = np.dtype(
    [
        ("tid", "<u4"),
        ("tgid", "<u4"),
        ("ppid", "<u4"),
        ("start_time_ns", "<u8"),  # (tid, start_time_ns) is a thread's identity; CLOCK_MONOTONIC
        ("comm", "S16"),
        ("cgroup_id", "<u8"),  # a key of `Sensed.cgroups`; 0: unknown
        ("nice", "i1"),
        ("policy", "u1"),  # the kernel's number, SCHED_*
        ("is_kernel_thread", "?"),
        ("weight", "<u4"),  # 1024 is nice 0; 0: unknown
        ("slice_ns", "<u8"),  # asked for by sched_setattr; 0: none, or unknown
        ("cpus_hash", "<u8"),  # alike where the sets of CPUs allowed are alike; 0: unknown
        ("nr_cpus_allowed", "<u4"),  # 0: unknown
        ("sched_group", "<u8"),  # that it shares CPUs in, as `trace.groups` has ids; 0: the root, or unknown
        ("session", "<u4"),  # its leader's number; 0: unknown
        ("observed_ns", "<u8"),  # how much of the interval it was watched; 0: new, so no rates are known
        ("cpu_time_ns", "<u8"),
        ("run_delay_ns", "<u8"),  # all waiting on a runqueue, as the kernel's schedstat has it
        ("nr_voluntary", "<u8"),  # switches; each is followed by one wakeup
        ("nr_involuntary", "<u8"),
        ("total_cpu_time_ns", "<u8"),
        ("total_run_delay_ns", "<u8"),
        ("total_nr_voluntary", "<u8"),
        ("total_nr_involuntary", "<u8"),
    ]
)
SensedTasks = npt.NDArray[np.void]

ADVICE = (
    "advice"  # the setting of an intent to answer what a scheduler asks: a service, no value of the machine
)


class Need(StrEnum):
    """What a policy has to be given; where one is not there, it does not run."""

    TASKS = "tasks"  # rows of `Sensed.tasks`
    MACHINE = "machine"  # `Sensed.machine`
    KERNEL = "kernel"  # `Sensed.kernel`, which takes the privilege to load BPF programs
    SCHEDULER = "scheduler"  # a sched_ext scheduler whose parameters can be set while it runs
    SWAPS = "swaps"  # a kernel that other schedulers can be loaded into


@dataclass(frozen=True)
class SloReading:
    """The value of a service-level objective.

    Attributes:
        name: Of the metric.
        value: In the metric's own unit; None where none was ever read.
        limit: What it is held against.
        at_most: Whether the limit is an upper one.
        age_ns: How old the value is; what is older than `stale_ns` is no value.
        stale_ns: From when on it is.
    """

    name: str
    value: float | None
    limit: float
    at_most: bool
    age_ns: int
    stale_ns: int

    @property
    def is_stale(self) -> bool:
        """Whether nothing may be concluded from it."""
        return self.value is None or self.age_ns > self.stale_ns

    @property
    def is_met(self) -> bool | None:
        """Whether it is met; None where it is unknown."""
        if self.value is None or self.is_stale:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(frozen=True)
class RunningScheduler:
    """Which scheduler is in charge.

    Attributes:
        name: As `schedtuna schedulers` calls it; `eevdf` or `cfs` for the kernel's own.
        is_ext: Whether it is a sched_ext scheduler.
        version: Of its program; empty where unknown.
        parameters: What can be set of it while it runs, as it is now; empty: nothing, or nobody asked.
    """

    name: str
    is_ext: bool = False
    version: str = ""
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


class SwapResult(StrEnum):
    """What became of a scheduler that the agent was to put in charge."""

    ENABLED = "enabled"
    FAILED = "failed"  # it did not start, or may not
    EJECTED = "ejected"  # the kernel threw it out, or its program ended by itself
    TAKEN = "taken"  # somebody stopped it


@dataclass(frozen=True)
class SwapEvent:
    """Something that happened to a scheduler of the agent's.

    Attributes:
        arm: Its name and values.
        result: What happened.
        reason: Why, where it did not go well; the kernel's words where it had some.
        disable_s: From the order to stop the one before until the kernel's own was back; 0: none ran.
        enable_s: From the start of its program until it was in charge, the verifier included.
    """

    arm: str
    result: SwapResult
    reason: str = ""
    disable_s: float = 0.0
    enable_s: float = 0.0

    @property
    def scheduler(self) -> str:
        """Its name, without values."""
        return self.arm.partition(":")[0]


@dataclass(frozen=True)
class Sensed:
    """What was sensed in one interval.

    Attributes:
        number: Of the interval, from 0.
        start_ns, end_ns: On CLOCK_MONOTONIC.
        tasks: `SENSED_DTYPE`, all threads that were there at the end of the interval, by tid.
        cgroups: Paths below the root of control groups (such as `/system.slice/cron.service`) by id.
        machine: The names and units of `record.procfs.SYSTEM_METRICS`; what a kernel lacks is missing.
        kernel: Aggregates of the kernel over all tasks: `wakeup_latency_p99_us`, `wakeup_latency_mean_us`,
            the same of `preempt_delay` and `first_run_delay`, `turnaround_mean_us`, `fairness_cv`,
            `run_delay_ms_per_s`, `switches_per_s`; what could not be measured is missing, never 0.
        scheduler: Which one is in charge.
        slos: The objectives' values.
        unknown: What could not be sensed, and why, by name; empty where all could be.
        swaps: What happened to schedulers of the agent's since the interval before.
    """

    number: int
    start_ns: int
    end_ns: int
    tasks: SensedTasks
    cgroups: Mapping[int, str]
    machine: Mapping[str, float]
    kernel: Mapping[str, float]
    scheduler: RunningScheduler
    slos: Sequence[SloReading] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    swaps: Sequence[SwapEvent] = ()

    @property
    def seconds(self) -> float:
        """How long the interval was."""
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True)
class ChangeTarget:
    """What a change concerns.

    Attributes:
        kind: A thread, a session (autogroup), a control group, the machine, or the scheduler in charge.
        tid, tgid, start_time_ns, comm: The thread, or the session's leader; the first three identify it,
            comm is for people.
        cgroup: The control group's path below the root, of a thread, too.
        scheduler: The sched_ext scheduler's name.
    """

    kind: Literal["thread", "session", "cgroup", "machine", "scheduler"]
    tid: int = 0
    tgid: int = 0
    start_time_ns: int = 0
    comm: str = ""
    cgroup: str = ""
    scheduler: str = ""

    @property
    def key(self) -> str:
        """What tells it from all others in this boot."""
        match self.kind:
            case "thread" | "session":
                return f"{self.kind}:{self.tid}:{self.start_time_ns}"
            case "cgroup":
                return f"cgroup:{self.cgroup}"
            case "scheduler":
                return f"scheduler:{self.scheduler}"
        return "machine"

    def tell(self) -> str:
        """Name it for people."""
        match self.kind:
            case "thread":
                return f"{self.comm or 'thread'} ({self.tid})"
            case "session":
                return f"the session of {self.comm or 'process'} ({self.tid})"
            case "cgroup":
                return f"control group {self.cgroup}"
            case "scheduler":
                return self.scheduler
        return "this machine"


@dataclass(frozen=True)
class ExpectedEffect:
    """What a change is expected to bring.

    Attributes:
        metric: Which metric, with its unit.
        ratio_low, ratio_high: Its interval, as a ratio to the value without the change.
        basis: Where it comes from (a study, a replay, past windows of this agent).
    """

    metric: str
    ratio_low: float
    ratio_high: float
    basis: str


@dataclass(frozen=True)
class IntentProof:
    """The study that says something of just what an intent, with the others of its target, would set.

    Attributes:
        evidence: Twelve digits that name its result.
        study: Its folder, in which its raw trials are.
        metric: What was judged.
        told: What it says, for people.
        expires_s: Unix time from which on it is too old.
        lacks: Why it does not hold here and now; empty: it holds.
    """

    evidence: str
    study: str
    metric: str
    told: str
    expires_s: float
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Intent:
    """One change that a policy intends.

    Attributes:
        target: What is changed.
        setting: A knob's name (`knobs.registry`), or a parameter of the scheduler in charge.
        old: What is there now, as a value of the setting; None where the policy did not see it.
        new: What is to be there.
        reason: Why, in one clause, for people.
        features: The numbers that decided, with units in their names.
        policy: The policy's name, and its version after a `/` where it has one.
        expected: None: unknown.
        propensity: With which probability the policy chose so; 1 where it does not draw.
        proof: What a past study says of it; None: none does. The loop sees to it, not the policy.
    """

    target: ChangeTarget
    setting: str
    old: ParameterValue | None
    new: ParameterValue
    reason: str
    features: Mapping[str, float] = field(default_factory=dict)
    policy: str = ""
    expected: ExpectedEffect | None = None
    propensity: float = 1.0
    proof: IntentProof | None = None

    @property
    def why_unproven(self) -> str:
        """Why it is not proven; empty: it is."""
        if self.proof is None:
            return "no past study says anything of it"
        return "; ".join(self.proof.lacks)

    @property
    def key(self) -> str:
        """What it turns; of two changes with one key the later takes the place of the earlier."""
        return f"{self.target.key}:{self.setting}"

    @property
    def id(self) -> str:
        """Ten digits that stay the same while target, setting and new value do."""
        return hashlib.sha256(f"{self.key}={self.new}".encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Standing:
    """A change that is in force by this agent.

    Attributes:
        intent: As it was decided.
        since_ns: When it was made (CLOCK_MONOTONIC).
        found: What was there before, as a value of the setting.
    """

    intent: Intent
    since_ns: int
    found: ParameterValue | None


class GuardDecision(StrEnum):
    """What a guard says. An interval's strictest verdict holds."""

    ALLOW = "allow"
    HOLD = "hold"  # nothing new is changed; what is in force stays
    SUSPEND = "suspend"  # all is put back while it says so (an off window); then made again
    ROLL_BACK = "roll_back"  # all is put back, and nothing is changed any more until the agent is told to


@dataclass(frozen=True)
class GuardVerdict:
    """What a guard says of an interval.

    Attributes:
        decision: What holds.
        reason: Why, for people and the log; never empty but for `ALLOW`.
        facts: Figures for the log: effect, interval, e-value, ... with units in their names.
    """

    decision: GuardDecision
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class AgentPolicy(Protocol):
    """Decides what to change.

    Attributes:
        name: As `--policy` names it.
        needs: What it has to be given.
    """

    name: str
    needs: frozenset[Need]

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return all changes that should be in force after this interval, by this policy.

        What is in force and not in the list any more is put back. So one that is to stay is
        returned again, with the same target, setting and new value; the same input gives the same list.

        Args:
            sensed: The interval.
            standing: What is in force by this agent, by `Intent.key`.
        """
        ...


@runtime_checkable
class RunsBetween(Protocol):
    """Something of a policy that runs between intervals while an intent of it is in force."""

    @property
    def runs(self) -> bool:
        """Whether it does."""
        ...

    def start(self) -> None:
        """Begin; raises a SchedtunaError where it can't."""
        ...

    def stop(self) -> None:
        """End."""
        ...


@runtime_checkable
class AgentGuard(Protocol):
    """Watches what the agent's changes do to the machine."""

    def judge(self, sensed: Sensed, standing: Mapping[str, Standing]) -> GuardVerdict:
        """Say whether changes may be made and may stay, after each interval, once.

        Called before `decide`; in intervals in which `standing` is empty, too.
        """
        ...


@runtime_checkable
class IntentProofs(Protocol):
    """Says what past studies have proven of settings."""

    def judge(self, intents: Sequence[Intent], sensed: Sensed) -> list[Intent]:
        """Return the same intents with their proofs, and with what is expected of those that hold."""
        ...
