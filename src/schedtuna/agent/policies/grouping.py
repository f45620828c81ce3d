"""Where the kernel shares CPUs out among groups, who steps back: a thread, or its whole group? Pure.

A nice value counts inside the group alone: a control group of the cpu controller or, where tasks are in its
root, a session (autogroup). So where all that wants a CPU in a group steps back, the group does, by its
own weight. Where others of it want one, too, nice counts between them; but as soon as several such groups
compete, what a thread waits for is mostly the other groups, and a group whose hog is light has less weight on
that CPU just when its other threads wake up there (calc_group_shares()): they are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from schedtuna.agent.contract import ChangeTarget, Intent, SensedTasks, Standing
from schedtuna.agent.policies.behaviour import Behaviour, BehaviourLimits, behaviours, rates
from schedtuna.knobs.base import as_int
from schedtuna.trace.fairness import group_weight
from schedtuna.trace.groups import AUTOGROUP
from schedtuna.trace.tasks import clean_name

_LEAST_DEMAND_PERCENT = 1.0  # of one CPU: who uses less, and does not wake up often, is in nobody's way
_STEPS_BY = ("nice", "policy")  # what a thread steps back by, and what has no say outside its group


class GroupSteps:
    """Has groups step back in place of their threads, and remembers of whom.

    A policy decides of threads all along: it is shown what is in force as if each of them had stepped back
    by itself (`unfold`), and what it decides becomes what the kernel honours (`fold`).
    """

    def __init__(self) -> None:
        self._instead_of: dict[str, list[Intent]] = {}  # a group's Intent.key -> those of its threads

    def unfold(self, standing: Mapping[str, Standing]) -> dict[str, Standing]:
        """Return what is in force, by threads."""
        result = {key: one for key, one in standing.items() if key not in self._instead_of}
        for key, intents in self._instead_of.items():
            if key in standing:
                since_ns = standing[key].since_ns
                result |= {one.key: Standing(one, since_ns, one.old) for one in intents}
        return result

    def fold(
        self,
        intents: Sequence[Intent],
        tasks: SensedTasks,
        cgroups: Mapping[int, str],
        *,
        stepping_back: Collection[tuple[int, int]],
    ) -> list[Intent]:
        """Return the intents that have an effect.

        Args:
            intents: As a policy decided of threads.
            tasks: All that it was shown.
            cgroups: Paths by id.
            stepping_back: The threads of those intents that step back because of what they do.
        """
        self._instead_of = {}
        identities = list(zip(tasks["tid"].tolist(), tasks["start_time_ns"].tolist(), strict=True))
        steps_back = np.array([one in stepping_back for one in identities], bool)
        groups = tasks["sched_group"]
        concerned = [int(group) for group in np.unique(groups[steps_back]) if group]
        if not concerned:
            return list(intents)
        among_others = {int(group) for group in np.unique(groups[_wanting(tasks) & ~steps_back])}
        mixed = among_others.intersection(concerned)
        group_of = dict(zip(identities, groups.tolist(), strict=True))
        kept, theirs = [], dict[int, list[Intent]]()
        for one in intents:
            thread = one.target.tid, one.target.start_time_ns
            group = group_of.get(thread, 0) if one.target.kind == "thread" else 0
            if not group or thread not in stepping_back or one.setting not in _STEPS_BY:
                kept.append(one)
            elif group not in mixed:
                theirs.setdefault(group, []).append(one)
            elif len(mixed) == 1:
                kept.append(one)
        for group, members in theirs.items():
            if (whole := _of_group(group, members, tasks, cgroups)) is None:
                continue
            self._instead_of[whole.key] = members
            if all(one.key != whole.key for one in kept):
                kept.append(whole)
        return kept

    def keys(self, by_threads: Collection[str]) -> list[str]:
        """Return the keys of what is in force for these keys of threads; a group's stands for all of it."""
        groups = [
            key for key, members in self._instead_of.items() if any(one.key in by_threads for one in members)
        ]
        folded = {one.key for members in self._instead_of.values() for one in members}
        return [*(key for key in by_threads if key not in folded), *groups]


def _wanting(tasks: SensedTasks) -> npt.NDArray[np.bool_]:
    """Who wants a CPU: runs or waits for some of the time, or wakes up often, or may, as nobody knows yet."""
    found = rates(tasks)
    demand = np.nan_to_num(found.cpu_percent + found.wait_percent)
    interactive = behaviours(found, BehaviourLimits()) == Behaviour.INTERACTIVE
    return np.asarray((demand >= _LEAST_DEMAND_PERCENT) | interactive | (tasks["observed_ns"] == 0))


def _of_group(
    group: int, members: Sequence[Intent], tasks: SensedTasks, cgroups: Mapping[int, str]
) -> Intent | None:
    """What has a whole group step back as far as the least far of its threads; None: nothing can."""
    steps = [one for one in members if one.setting == "nice"]
    if not steps:
        return None
    first = min(steps, key=lambda one: as_int(one.new))
    nice = as_int(first.new)
    reason = f"all of it that wants a CPU steps back: {first.reason}"
    features = {"nr_threads": float(len(steps))}
    if not group & AUTOGROUP:
        path = cgroups.get(group, "")
        target = ChangeTarget("cgroup", cgroup=path)
        whole = Intent(target, "cpu_weight", None, group_weight(nice), reason, features, first.policy)
        return whole if path.strip("/") else None
    sessions = tasks["session"][tasks["sched_group"] == group]
    leader = tasks[(tasks["tid"] == sessions[0]) & (tasks["tgid"] == sessions[0])]
    if not len(leader):
        return None
    number = int(leader["tid"][0])
    target = ChangeTarget(
        "session",
        tid=number,
        tgid=number,
        start_time_ns=int(leader["start_time_ns"][0]),
        comm=clean_name(leader["comm"][0]),
    )
    return Intent(target, "autogroup_nice", 0, nice, reason, features, first.policy)
