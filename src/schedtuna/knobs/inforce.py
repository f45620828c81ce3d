"""Was a setting in force? What it should be, against what the tasks had that did the work. Pure.

A command may undo a setting: `taskset`, `chrt` and `nice` do, and so does a program that sets its own
affinity or leaves its session or control group. So its tasks are looked at, and each counts by the CPU
time that it used. A setting that tasks with less than half of that time had was not in force; where a
helper thread alone goes its own way, it was, and that is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.printable import exact

UNDONE_FROM = 0.5  # of the CPU time, used by tasks without it: it was not in force
TOLD_FROM = 0.02  # from here on it is told that it was not in force everywhere
LEAST_SEEN = 0.5  # of the work: of less, nothing is said

_POLICIES = {0: "other", 1: "fifo", 2: "rr", 3: "batch", 5: "idle", 6: "deadline", 7: "ext"}
_FAIR = frozenset({"other", "batch", "idle"})
_SLICED = frozenset({"other", "batch"})
_REALTIME = frozenset({"fifo", "rr"})


class Force(StrEnum):
    """Whether a setting was in force in a run."""

    IN_FORCE = "in force"
    PARTLY = "partly in force"
    UNDONE = "not in force"
    NOT_CHECKED = "not checked"

    @classmethod
    def of(cls, text: str) -> Force:
        """Which one a finding's text tells.

        >>> Force.of("partly in force: 12% of the CPU time had 0 (helper)")
        <Force.PARTLY: 'partly in force'>
        """
        return cls(text.partition(":")[0])


@dataclass(frozen=True)
class Attributes:
    """What a task had, in the kernel's terms.

    Attributes:
        policy: Its number: see sched(7).
        nice: As getpriority(2) tells it, of whatever policy.
        slice_ns: As sched_getattr(2) tells it of a fair task.
        slack_ns: Its timer slack; None where this user can't read it.
        cpus: Where it may run; None where that is unknown.
        autogroup_nice: Of its session; None without autogroups.
        inside: Knobs of control groups whose group the task was in, or below it.
    """

    policy: int
    nice: int
    slice_ns: int
    slack_ns: int | None
    cpus: tuple[int, ...] | None
    autogroup_nice: int | None = None
    inside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Seen:
    """Tasks that had the same while they used some CPU time."""

    name: str
    attributes: Attributes
    cpu_ns: int


@dataclass(frozen=True)
class SettingFinding:
    """What became of one setting in one run.

    Attributes:
        force: Whether it was in force.
        without: The share of the CPU time that was seen of tasks without it.
        detail: What was there instead, and whose; empty where that is known of nobody.
    """

    force: Force
    without: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.force}: {self.detail}" if self.detail else str(self.force)


@dataclass(frozen=True)
class _Rule:
    """How one knob's setting is recognised in a task.

    Attributes:
        read: What a task has of it; None where a task of its policy has no such attribute. Raises
            LookupError where that could not be read.
        holds: Whether what a task has is what it should have.
        show: What a task has, for people.
    """

    read: Callable[[Attributes], Any]
    holds: Callable[[Any, Any], bool] = lambda wanted, had: bool(wanted == had)
    show: Callable[[Any], str] = str


def _policy(task: Attributes) -> str:
    return _POLICIES.get(task.policy, str(task.policy))


def _known(value: Any) -> Any:
    if value is None:
        raise LookupError
    return value


def _within(wanted: Sequence[int], had: Sequence[int] | None) -> bool:
    """A thread that is bound to one CPU of the set is where the setting wants it."""
    return had is not None and set(had) <= set(wanted)


def _group(knob: str) -> _Rule:
    return _Rule(lambda task: True if knob in task.inside else None, show=lambda _: "another control group")


_RULES: dict[str, _Rule] = {
    "nice": _Rule(
        lambda task: task.nice if _policy(task) in _FAIR else None,
        show=lambda nice: "a policy without nice" if nice is None else f"nice {nice}",
    ),
    "policy": _Rule(_policy, show=lambda policy: f"policy {policy}"),
    "realtime": _Rule(
        lambda task: _policy(task) if _policy(task) in _REALTIME else "none",
        show=lambda policy: "no realtime policy" if policy == "none" else f"policy {policy}",
    ),
    "slice_us": _Rule(
        lambda task: task.slice_ns if _policy(task) in _SLICED else None,
        show=lambda ns: "a policy without slices" if ns is None else f"a slice of {exact(ns / 1000)} us",
    ),
    "timer_slack_us": _Rule(
        lambda task: _known(task.slack_ns) or None,
        show=lambda ns: "no timer slack" if ns is None else f"a timer slack of {exact(ns / 1000)} us",
    ),
    "affinity": _Rule(lambda task: _known(task.cpus), _within, lambda cpus: f"CPUs {format_cpu_list(cpus)}"),
    "autogroup_nice": _Rule(
        lambda task: _known(task.autogroup_nice), show=lambda nice: f"a session of autogroup nice {nice}"
    ),
    "cpu_weight": _group("cpu_weight"),
    "cpu_quota": _group("cpu_quota"),
    "cpuset": _group("cpuset"),
}


def expectations(knobs: Sequence[str], found: Attributes) -> dict[str, Any]:
    """Return what tasks should have of these knobs, from what one has that nothing has run in yet.

    Knobs that are not of tasks are left out, and those that the task can't have: no slice goes with
    policy idle.
    """
    wanted = {}
    for knob in knobs:
        value = _value(knob, found) if knob in _RULES else None
        if value is not None:
            wanted[knob] = value
    return wanted


def file_finding(before: str, after: str) -> SettingFinding:
    """Say whether a setting that is a file was in force, from its text before and after the run."""
    if before == after:
        return SettingFinding(Force.IN_FORCE)
    return SettingFinding(Force.UNDONE, 1.0, f"it was changed to {after!r} during the run")


def findings(wanted: Mapping[str, Any], seen: Sequence[Seen], work_ns: int = 0) -> dict[str, SettingFinding]:
    """Say of each setting whether it was in force.

    Args:
        wanted: From `expectations`.
        seen: The tasks that were looked at.
        work_ns: All CPU time that the work took, seen or not; at least what was seen.
    """
    return {knob: _finding(knob, value, seen, work_ns) for knob, value in wanted.items()}


def _finding(knob: str, wanted: Any, seen: Sequence[Seen], work_ns: int) -> SettingFinding:
    rule, with_ns, without_ns = _RULES[knob], 0, 0
    worst = (0, "", "")
    for row in seen:
        try:
            had = rule.read(row.attributes)
        except LookupError:
            continue
        if rule.holds(wanted, had):
            with_ns += row.cpu_ns
        else:
            without_ns += row.cpu_ns
            name = "".join(c if c.isprintable() else "?" for c in row.name)
            worst = max(worst, (row.cpu_ns, name, rule.show(had)))
    known_ns = with_ns + without_ns
    if known_ns <= 0 or known_ns < LEAST_SEEN * work_ns:
        return SettingFinding(Force.NOT_CHECKED)
    share = without_ns / known_ns
    if share < TOLD_FROM:
        return SettingFinding(Force.IN_FORCE, share)
    _, name, had_instead = worst
    detail = f"{share:.0%} of the CPU time had {had_instead} ({name})"
    return SettingFinding(Force.UNDONE if share >= UNDONE_FROM else Force.PARTLY, share, detail)


def _value(knob: str, task: Attributes) -> Any:
    try:
        return _RULES[knob].read(task)
    except LookupError:
        return None
