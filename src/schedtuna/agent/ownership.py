"""Whose is a thread's setting: nobody's yet, this agent's, or somebody's who set it on purpose? Pure.

Somebody's is what is neither the kernel's default nor what the thread's parent had, what another process
was seen to set, and what is no more as the agent left it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from schedtuna.agent.contract import ChangeTarget, Intent, SensedTasks, Standing
from schedtuna.agent.limits import FAIR_POLICIES
from schedtuna.record.sense import Touch, TouchReach
from schedtuna.space import ParameterValue
from schedtuna.trace.tasks import clean_name

_MOST_TAKEN = 10_000
# What is known to have been set, of what was seen.
_SEEN = {TouchReach.SEEN: "policy", TouchReach.NICE: "nice"}
_DEFAULTS: dict[str, ParameterValue | None] = {"nice": 0, "policy": "other", "slice_us": None}
SENSED_SETTINGS = frozenset(_DEFAULTS)  # of threads: rows tell their values
# Of groups: no row tells them, so that the files are read.
GROUP_DEFAULTS: dict[str, ParameterValue] = {"autogroup_nice": 0, "cpu_weight": 100}


@dataclass(frozen=True)
class Taken:
    """Somebody has made a change of this agent's their own.

    Attributes:
        key: The change's `Intent.key`.
        who: Process and name, or that it is unknown.
        what: What is set now.
    """

    key: str
    who: str
    what: str

    def tell(self) -> str:
        """It, for people."""
        return f"{self.who} set {self.what}"


@dataclass
class Ownership:
    """Remembers who has set what.

    Attributes:
        taken: What is somebody's: `Intent.key` -> who and what.
    """

    taken: dict[str, str] = field(default_factory=dict)

    def see(
        self, tasks: SensedTasks, touches: Sequence[Touch], standing: Mapping[str, Standing]
    ) -> list[Taken]:
        """Note what others have set, and return what of this agent's is theirs now.

        Args:
            tasks: All threads, by tid.
            touches: What others were seen to set since the last call.
            standing: What is in force by this agent, by `Intent.key`.
        """
        found: dict[str, Taken] = {}
        calls = [touch for touch in touches if touch.reach not in _SEEN]
        for touch in (one for one in touches if one.reach in _SEEN):
            who = f"{touch.actor_comm} (process {touch.actor_tgid})"
            for setting, value in _told(touch).items():
                key = f"thread:{touch.tid}:{touch.start_time_ns}:{setting}"
                mine = standing.get(key)
                if setting != _SEEN[touch.reach] and (
                    key in self.taken if mine is None else value == mine.intent.new
                ):
                    continue  # as it was: whether it was set again with the policy is not known
                if mine is not None:
                    found[key] = Taken(key, who, f"{setting} to {value}")
                elif value != _DEFAULTS[setting] or key in self.taken:
                    self._take(key, f"{who} set {setting} to {value}")
        for key, one in standing.items():
            row = row_of(tasks, one.intent.target)
            if row is None or key in found:
                continue
            now = values_of(row).get(one.intent.setting, one.intent.new)
            if now != one.intent.new:
                found[key] = Taken(key, _who(calls, one.intent.target.tid), f"{one.intent.setting} to {now}")
        for taken in found.values():
            self._take(taken.key, taken.tell())
        return list(found.values())

    def claim(self, intent: Intent, tasks: SensedTasks, standing: Mapping[str, Standing]) -> None:
        """Note an intent's setting as somebody's where it is."""
        setting, target = intent.setting, intent.target
        if target.kind != "thread" or intent.key in standing or intent.key in self.taken:
            return
        row = row_of(tasks, target)
        if row is None or setting not in _DEFAULTS:
            return
        now, inherited = values_of(row)[setting], _inherited(row, setting, tasks, standing)
        if now != _DEFAULTS[setting]:
            self._take(intent.key, f"{setting} was {now} when it was first looked at")
        elif inherited not in (None, now) and setting != "slice_us":
            self._take(intent.key, f"{setting} is {now}, and its parent has {inherited}")

    def claim_group(self, intent: Intent, now: ParameterValue | None) -> None:
        """Note a group's weight as somebody's where it is; `now`: what it is, None: unknown."""
        if now not in (None, GROUP_DEFAULTS[intent.setting]) and intent.key not in self.taken:
            self._take(intent.key, f"{intent.setting} was {now} when it was first looked at")

    def _take(self, key: str, what: str) -> None:
        if len(self.taken) >= _MOST_TAKEN:
            del self.taken[next(iter(self.taken))]
        self.taken[key] = what


def _who(calls: Sequence[Touch], tid: int) -> str:
    """Who may have set a thread's attribute, by the last call for it."""
    for reach in (TouchReach.CALL, TouchReach.MANY):
        for call in reversed(calls):
            if call.reach is reach and (reach is TouchReach.MANY or call.tid == tid):
                return f"{call.actor_comm} (process {call.actor_tgid})"
    return "somebody, unseen,"


def heirs(tasks: SensedTasks, standing: Mapping[str, Standing]) -> list[Intent]:
    """Return what threads have inherited from those that this agent has changed, as intents of its own.

    Each has as `old` what the one before it had before the change, and stands here once, however many it
    may have it from: its process's other threads, and its parent's.
    """
    result: dict[str, Intent] = {}
    for one in standing.values():
        target = one.intent.target
        if target.kind != "thread":
            continue
        related = (tasks["tgid"] == target.tgid) | (tasks["ppid"] == target.tgid)
        younger = tasks["start_time_ns"].astype(np.int64) > one.since_ns
        for row in tasks[related & younger]:
            heir = ChangeTarget(
                kind="thread",
                tid=int(row["tid"]),
                tgid=int(row["tgid"]),
                start_time_ns=int(row["start_time_ns"]),
                comm=clean_name(row["comm"]),
                cgroup=target.cgroup,
            )
            intent = replace(
                one.intent, target=heir, old=one.found, reason=f"inherited from {target.tell()}", features={}
            )
            if intent.key not in standing and _has_the_same(row, one.intent, row_of(tasks, target)):
                result.setdefault(intent.key, intent)
    return list(result.values())


def _has_the_same(row: np.void, intent: Intent, changed: np.void | None) -> bool:
    """Whether a thread has what was set of another one; of CPUs only whether they are the same is known."""
    if intent.setting in _DEFAULTS:
        return values_of(row)[intent.setting] == intent.new
    known = intent.setting == "affinity" and changed is not None and row["cpus_hash"] != 0
    return bool(known and changed is not None and row["cpus_hash"] == changed["cpus_hash"])


def row_of(tasks: SensedTasks, target: ChangeTarget) -> np.void | None:
    """Return a thread's row; None where it is gone, or the target is no thread."""
    if target.kind != "thread" or not len(tasks):
        return None
    place = int(np.searchsorted(tasks["tid"], target.tid))
    if place == len(tasks) or tasks["tid"][place] != target.tid:
        return None
    row: np.void = tasks[place]
    return row if int(row["start_time_ns"]) == target.start_time_ns else None


def values_of(row: np.void) -> dict[str, ParameterValue | None]:
    """Return what a thread has, as values of the settings; a slice of its own, or None."""
    return {
        "nice": int(row["nice"]),
        "policy": FAIR_POLICIES.get(int(row["policy"]), f"number {int(row['policy'])}"),
        "slice_us": int(row["slice_ns"]) // 1000 or None,
    }


def _told(touch: Touch) -> dict[str, ParameterValue | None]:
    """What may have been set by it."""
    if touch.reach is TouchReach.NICE:
        return {"nice": touch.nice}
    return {
        "nice": touch.nice,
        "policy": FAIR_POLICIES.get(touch.policy, f"number {touch.policy}"),
        "slice_us": touch.slice_ns // 1000 or None,
    }


def _inherited(
    row: np.void, setting: str, tasks: SensedTasks, standing: Mapping[str, Standing]
) -> ParameterValue | None:
    """What the parent process's first thread has, or had before this agent changed it; None: unknown."""
    parent = int(row["ppid"])
    place = int(np.searchsorted(tasks["tid"], parent))
    if place == len(tasks) or tasks["tid"][place] != parent:
        return None
    other = tasks[place]
    mine = standing.get(f"thread:{parent}:{int(other['start_time_ns'])}:{setting}")
    return values_of(other)[setting] if mine is None else mine.found
