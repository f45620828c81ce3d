"""What do the keywords of an environment of the simulated machine mean?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from gymnasium import spaces

from schedtuna.env.batch import whole_number
from schedtuna.env.terms import reward_weights
from schedtuna.errors import UsageError
from schedtuna.features.table import FEATURES, Feature
from schedtuna.sim.loads import LoadSource, read_load
from schedtuna.sim.native import (
    MACHINE_FEATURES,
    MAX_SLOTS,
    NR_OTHER_ACTIONS,
    TASK_FEATURES,
    BadInputError,
    NativeScheduler,
    PickNextSetup,
    Workload,
)
from schedtuna.sim.schedulers import SchedulerSource, chosen_scheduler
from schedtuna.sim.simulation import complete_costs
from schedtuna.sim.topology import MachineShape
from schedtuna.workload.families import FAMILIES

# What a decision costs in the form that is deployed: docs/environments.md.
DECISION_NS = {"bpf": 500, "user": 20_000}
ALL_FAMILIES = "families"
NR_MEMBERS = 4  # of each family that is drawn from
DEFAULT_ARRIVALS = range(256)
_MOST_NS = 2**40

EnvLoad = LoadSource | Sequence[LoadSource]


@dataclass(frozen=True, kw_only=True)
class LoadSetting:
    """The keywords of every environment whose episodes are loads on a simulated machine.

    Attributes:
        workload: What runs: as `Simulation` takes it, or a list of such, of which one is drawn per reset;
            ``families``: members of all of them.
        cpus: How many CPUs. Default: 4, or what `topology` has.
        topology: LLCSxCORESxTHREADS.
        scheduler: The one by which rewards are divided, and which others are compared with.
        decision_ns: What a decision costs in simulated time: ns, or ``bpf`` or ``user``.
        reward: What each term weighs: `REWARD_TERMS`. Default: latency 1, energy 0.2.
        arrivals: Seeds that loads draw with; one of them is drawn per reset. Train and test on others.
        episode_ms: When an episode is truncated, in simulated time.
        costs: Constants of the machine that differ from the table of `schedtuna sim list`.

    Raises:
        UsageError: One of them is none.
    """

    workload: EnvLoad = "bursts"
    cpus: int | None = None
    topology: MachineShape | str | None = None
    scheduler: SchedulerSource = "fair"
    decision_ns: int | str = "bpf"
    reward: Mapping[str, float] | None = None
    arrivals: Sequence[int] = DEFAULT_ARRIVALS
    episode_ms: float = 500.0
    costs: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def shape(self) -> MachineShape:
        """The machine."""
        return MachineShape.of(4 if self.cpus is None and self.topology is None else self.cpus, self.topology)

    @cached_property
    def loads(self) -> list[tuple[str, Workload]]:
        """What runs, with names."""
        source = self.workload
        sources: list[LoadSource]
        if isinstance(source, str) and source == ALL_FAMILIES:
            sources = [f"{name}:member={n}" for name in FAMILIES for n in range(NR_MEMBERS)]
        elif isinstance(source, Sequence) and not isinstance(source, str):
            sources = list(source)
        else:
            sources = [source]
        seconds = max(self.episode_ms / 1000, 1.0)
        found = [
            read_load(one, nr_cpus=self.shape.nr_cpus, duration_s=seconds, costs=self.costs)
            for one in sources
        ]
        return [(facts["name"], load) for load, facts in found]

    @cached_property
    def weights(self) -> dict[str, float]:
        """What each term of the reward weighs."""
        return reward_weights(self.reward)

    @cached_property
    def cost_ns(self) -> int:
        """What a choice costs."""
        if isinstance(self.decision_ns, str):
            if self.decision_ns not in DECISION_NS:
                known = ", ".join(DECISION_NS)
                raise UsageError(f"decision_ns={self.decision_ns!r}: expected ns, or one of {known}")
            return DECISION_NS[self.decision_ns]
        return whole_number("decision_ns", self.decision_ns, 0, 10**9)

    @property
    def seeds(self) -> list[int]:
        """The arrivals, checked."""
        return [whole_number("arrivals", seed, 0, 2**64 - 1) for seed in self.arrivals]

    @property
    def episode_ns(self) -> int:
        """How long an episode is."""
        return whole_number("episode_ms", round(self.episode_ms * 1e6), 1, _MOST_NS)


@dataclass(frozen=True, kw_only=True)
class PickNextSetting(LoadSetting):
    """The keywords of `schedtuna/PickNext-v0`: those of `LoadSetting`, and two more.

    Attributes:
        nr_slots: For how many candidates there is a slot.
        slice_us: How long a task runs before its CPU chooses again.
    """

    nr_slots: int = 16
    slice_us: int = 4000

    @cached_property
    def native(self) -> PickNextSetup:
        """What environments share."""
        return self.setup(f"external:slice_us={self.slice_us}")

    def setup(self, scheduler: str) -> PickNextSetup:
        """Return what environments share in which this scheduler decides.

        Raises:
            UsageError: There is none of this name, or a keyword is out of bounds.
        """
        whole_number("nr_slots", self.nr_slots, 2, MAX_SLOTS)
        lengths = {
            "episode_ns": self.episode_ns,
            "decision_ns": self.cost_ns,
            "idle_ns": 4_000_000,
            "delay_ns": 100_000,
        }
        try:
            return PickNextSetup(
                [load for _, load in self.loads],
                self.seeds,
                self.shape.native(),
                complete_costs(self.costs),
                lengths,
                chosen_scheduler(scheduler, self.shape)[0],
                _native_baseline(self.scheduler),
                self.weights,
                self.nr_slots,
                [row.bins.edges()[1:].tolist() for row in (*task_features(), *machine_features())],
            )
        except BadInputError as error:
            raise UsageError(str(error)) from error

    @property
    def observation_space(self) -> spaces.Box:
        """Bins of features, from 0 to 1: those of each slot, then the machine's."""
        return spaces.Box(0.0, 1.0, (self.native.nr_observed,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """See `action_names`."""
        return spaces.Discrete(self.native.nr_actions)

    @property
    def observation_names(self) -> list[str]:
        """What each number of an observation is."""
        slots = [f"slot{slot}.{name}" for slot in range(self.nr_slots) for name in TASK_FEATURES]
        return [*slots, *MACHINE_FEATURES]

    @property
    def action_names(self) -> list[str]:
        """What each action does."""
        slots = [f"{verb} slot{slot}" for verb in ("run", "boost") for slot in range(self.nr_slots)]
        return [*slots, *OTHER_ACTIONS]


OTHER_ACTIONS = ("idle", "delay", "preempt")
assert len(OTHER_ACTIONS) == NR_OTHER_ACTIONS


def task_features() -> list[Feature]:
    """Return what is observed of each candidate."""
    return [FEATURES[name] for name in TASK_FEATURES]


def machine_features() -> list[Feature]:
    """Return what is observed of the machine."""
    return [FEATURES[name] for name in MACHINE_FEATURES]


def _native_baseline(scheduler: SchedulerSource) -> NativeScheduler:
    native, facts = chosen_scheduler(scheduler)
    if facts["name"] == "external" or ":" in facts["name"]:
        raise UsageError(
            f"scheduler={facts['name']}: rewards are divided by what a built-in scheduler comes to",
            hint="`schedtuna sim list` shows them",
        )
    return native
