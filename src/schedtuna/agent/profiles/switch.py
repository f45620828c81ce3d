"""Which policy and limits has the agent under a power profile? And who sees to it that they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from schedtuna.agent.contract import AgentPolicy
from schedtuna.agent.guard.guard import ExperimentGuard
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.profiles.holds import BALANCED
from schedtuna.errors import UsageError

LEASE_S = 15.0  # who asks for a profile asks again within it, else the agent is as it was configured

MakeProfile = Callable[[str], tuple[AgentPolicy, LoopOptions]]


@dataclass
class ProfileSwitch:
    """The profile that an agent is under.

    Attributes:
        make: Gives the policy and options of a profile.
        now_s: Tells the time.
        name: The profile; `BALANCED` is as configured.
    """

    make: MakeProfile
    now_s: Callable[[], float] = time.monotonic
    name: str = BALANCED
    _until_s: float = 0.0

    def set(self, agent: Agent, name: str) -> Mapping[str, str]:
        """Put an agent under a profile, for `LEASE_S` from now on.

        Raises:
            UsageError: There is no such profile, or what it names is wrong, or needs what is not sensed.
        """
        if name != self.name:
            policy, options = self.make(name)
            if lacking := policy.needs - agent.senses.needs:
                told = ", ".join(sorted(lacking))
                raise UsageError(
                    f"the policy {policy.name} of the profile {name} needs {told}",
                    hint="start the agent anew: it did not open that",
                )
            agent.policy = policy
            agent.options = replace(options, advise=agent.options.advise)
            if isinstance(agent.guard, ExperimentGuard) and not agent.stopped:
                agent.guard.resume()  # what it knows is of another policy
            agent.log.write("profile", reason=f"{self.name} -> {name}", policy=policy.name)
            agent.tell(f"profile {name}: policy {policy.name}")
            self.name = name
        self._until_s = self.now_s() + LEASE_S
        return {"profile": name, "policy": agent.policy.name}

    def expire(self, agent: Agent) -> None:
        """Go back to what was configured, where nobody asks for another profile any more."""
        if self.name != BALANCED and self.now_s() > self._until_s:
            agent.tell(f"nobody asks for the profile {self.name} any more")
            self.set(agent, BALANCED)
