"""On which CPUs threads may run, as named strategies instead of masks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from schedtuna.errors import KnobError
from schedtuna.knobs.base import Availability, Scope, Target
from schedtuna.knobs.task_knob import TaskKnob
from schedtuna.machine.topology import Topology, topology_now
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue

ALL = "all"
AS_FOUND = "as_found"
ALL_BUT_ONE_CORE = "all_but_one_core"
_EVERY_COUNT_UP_TO = 8


def all_but_one_core(topology: Topology, allowed: Iterable[int]) -> tuple[int, ...]:
    """Return the CPUs that may be used but for those of the last core; all, where there is one core."""
    allowed = set(allowed)
    last = max((core for core in topology.cores if allowed & set(core)), key=max, default=())
    return tuple(sorted(allowed - set(last) or allowed))


def strategies(topology: Topology, allowed: Iterable[int]) -> dict[str, tuple[int, ...]]:
    """Name the distinct sets of CPUs that are worth trying, out of those that may be used.

    `all`; `one_per_core` (no SMT siblings); `one_llc` (the last-level cache with the most CPUs);
    `cpus_N`: N CPUs, cores before siblings, cache by cache. Every N up to 8, then powers of two.

    >>> from schedtuna.machine.topology import Cpu
    >>> two = Topology(cpus=tuple(
    ...     Cpu(cpu=n, core=n, socket=0, numa_node=0, llc=0, siblings=(n,)) for n in (0, 1)))
    >>> strategies(two, {0, 1})
    {'all': (0, 1), 'cpus_1': (0,)}
    """
    allowed = set(allowed)
    llcs = [[cpu for cpu in llc if cpu in allowed] for llc in topology.llcs]
    firsts = [next((cpu for cpu in core if cpu in allowed), None) for core in topology.cores]
    llcs.sort(key=len, reverse=True)
    order = [cpu for llc in llcs for cpu in sorted(llc, key=lambda cpu: (cpu not in firsts, cpu))]
    candidates = {
        ALL: order,
        "one_per_core": [cpu for cpu in firsts if cpu is not None],
        "one_llc": llcs[0] if llcs else [],
    }
    count = 1
    while count < len(order):
        candidates[f"cpus_{count}"] = order[:count]
        count = count + 1 if count < _EVERY_COUNT_UP_TO else count * 2
    distinct: dict[str, tuple[int, ...]] = {}
    for name, cpus in candidates.items():
        chosen = tuple(sorted(cpus))
        if chosen and chosen not in distinct.values():
            distinct[name] = chosen
    return distinct


class Affinity(TaskKnob[list[int]]):
    """Which CPUs the threads may use."""

    name = "affinity"
    description = "on which CPUs: all, one per core, one last-level cache, or N of them"

    def probe(self, target: Target) -> Availability:
        """Say whether there is a choice at all."""
        found = super().probe(target)
        if found.ok and len(self.strategies(target)) < 2:
            return Availability(False, "there is only one CPU to run on")
        return found

    def strategies(self, target: Target) -> Mapping[str, tuple[int, ...]]:
        """The strategies among the CPUs this process may use (a tree), or all that are online."""
        topology = topology_now()
        allowed = os.sched_getaffinity(0) if target.scope is Scope.TREE else topology.online
        return strategies(topology, allowed)

    def read(self, tid: int) -> list[int]:
        """The CPUs a thread may use."""
        return sorted(os.sched_getaffinity(tid))

    def write(self, tid: int, state: list[int]) -> None:
        """Set the CPUs a thread may use."""
        os.sched_setaffinity(tid, state)

    def to_state(self, value: ParameterValue, target: Target) -> list[int]:
        """The CPUs of a strategy, or of `all_but_one_core`."""
        if value == AS_FOUND:
            return self.state_now(target)
        if value == ALL_BUT_ONE_CORE:
            return list(all_but_one_core(topology_now(), self.strategies(target)[ALL]))
        try:
            return list(self.strategies(target)[str(value)])
        except KeyError:
            raise KnobError(f"{self.name}={value}: this machine has no such set of CPUs") from None

    def to_value(self, state: list[int], target: Target) -> str:
        """The strategy that has exactly these CPUs."""
        for name, cpus in self.strategies(target).items():
            if set(cpus) == set(state):
                return name
        return AS_FOUND

    def is_same(self, one: ParameterValue, other: ParameterValue, target: Target) -> bool:
        """Whether two names are of the same CPUs."""
        return one == other or self.to_state(one, target) == self.to_state(other, target)

    def spec(self, target: Target) -> ParameterSpec:
        """The strategies, and `as_found` where what is set is none of them."""
        found = str(self.show(target))
        choices = tuple(self.strategies(target))
        return ParameterSpec(
            name=self.name,
            type=ParameterType.CATEGORICAL,
            default=found,
            choices=choices if found in choices else (AS_FOUND, *choices),
            description=self.description,
        )
