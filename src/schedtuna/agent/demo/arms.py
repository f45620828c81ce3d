"""What is compared: nothing, chance, one command, policies, and an oracle; each as a policy of the agent.

All of them but the policies under test set the same, nice +10, and differ in what they know. So a share of
the oracle's gain says how well the roles were found, not how bold a setting is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from schedtuna.agent.contract import AgentPolicy, ChangeTarget, Intent, Need, Sensed, Standing
from schedtuna.agent.policies.grouping import GroupSteps
from schedtuna.agent.policies.returning import Glance, Reconsidering, threads_of
from schedtuna.trace.tasks import clean_name

if TYPE_CHECKING:
    from numpy.random import Generator

STEP_BACK = 10  # nice


@dataclass(frozen=True)
class Roles:
    """Who is what in a run.

    Attributes:
        interactive, batch: Processes.
        swap_ns: When they change parts (CLOCK_MONOTONIC); after the end where they never do.
    """

    interactive: tuple[int, ...]
    batch: tuple[int, ...]
    swap_ns: int

    @property
    def everybody(self) -> tuple[int, ...]:
        """All processes of the load."""
        return (*self.interactive, *self.batch)

    def batch_at(self, now_ns: int) -> tuple[int, ...]:
        """Who computes at a moment."""
        nr_swapped = min(len(self.interactive), len(self.batch)) if now_ns >= self.swap_ns else 0
        if not nr_swapped:
            return self.batch
        # Those that swap are the last ones of both lists, in pairs.
        kept = len(self.batch) - nr_swapped
        return (*self.batch[:kept], *self.interactive[-nr_swapped:])


class NothingPolicy:
    """Changes nothing."""

    name = "none"
    needs = frozenset({Need.TASKS})

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:  # noqa: ARG002
        """Return nothing."""
        return []


class ToldPolicy:
    """Has some processes step back, as it was told.

    Args:
        name: What it is called.
        roles: Who is what.
        follows: Whether it is told, too, when they change parts.
        chosen: The processes, where it does not follow.
        reason: Why.
    """

    needs = frozenset({Need.TASKS})

    def __init__(
        self, name: str, roles: Roles, reason: str, *, chosen: Sequence[int] = (), follows: bool = False
    ) -> None:
        self.name = name
        self._roles = roles
        self._reason = reason
        self._chosen = tuple(chosen)
        self._follows = follows

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:  # noqa: ARG002
        """Return nice +10 for each thread of those processes; who follows knows of groups, too."""
        chosen = self._roles.batch_at(sensed.end_ns) if self._follows else self._chosen
        intents = [
            Intent(
                ChangeTarget(
                    "thread",
                    tid=int(task["tid"]),
                    tgid=int(task["tgid"]),
                    start_time_ns=int(task["start_time_ns"]),
                    comm=clean_name(task["comm"]),
                ),
                "nice",
                0,
                STEP_BACK,
                self._reason,
                policy=self.name,
            )
            for task in sensed.tasks[np.isin(sensed.tasks["tgid"], chosen)]
        ]
        if not self._follows:
            return intents
        back = threads_of(intents)
        return GroupSteps().fold(intents, sensed.tasks, sensed.cgroups, stepping_back=back)


class OnlyOf:
    """A policy that is shown nothing but some processes, so that nothing else on the machine counts.

    Args:
        policy: The policy.
        tgids: The processes; what they have forked is shown, too.
    """

    def __init__(self, policy: AgentPolicy, tgids: Collection[int]) -> None:
        self.name = policy.name
        self.needs = policy.needs
        self._policy = policy
        self._tgids = sorted(tgids)

    def decide(self, sensed: Sensed, standing: Mapping[str, Standing]) -> list[Intent]:
        """Return what the policy decides of what it sees."""
        tasks = sensed.tasks
        shown = tasks[np.isin(tasks["tgid"], self._tgids) | np.isin(tasks["ppid"], self._tgids)]
        return self._policy.decide(replace(sensed, tasks=shown), standing)

    def reconsider(self, glance: Glance, standing: Mapping[str, Standing]) -> list[str]:
        """Return what the policy wants to be put back between intervals; it is shown what it has changed."""
        return self._policy.reconsider(glance, standing) if isinstance(self._policy, Reconsidering) else []


NONE, PLACEBO, ONE_LINER, ORACLE = "none", "placebo", "one-liner", "oracle"


def told_policy(arm: str, roles: Roles, rng: Generator) -> AgentPolicy | None:
    """Return the policy of an arm that is told who is what; None where the arm is another one.

    Args:
        arm: Its name.
        roles: Who is what.
        rng: Chooses the placebo's processes.
    """
    if arm == NONE:
        return NothingPolicy()
    if arm == PLACEBO:
        drawn = rng.choice(roles.everybody, len(roles.batch), replace=False).tolist()
        return ToldPolicy(PLACEBO, roles, "drawn by chance", chosen=drawn)
    if arm == ONE_LINER:
        return ToldPolicy(ONE_LINER, roles, "started with nice -n 10", chosen=roles.batch)
    if arm == ORACLE:
        return ToldPolicy(ORACLE, roles, "told that it computes", follows=True)
    return None
