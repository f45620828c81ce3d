"""The knobs of control groups: weight, quota and CPUs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from schedtuna.errors import KnobError
from schedtuna.knobs.affinity import ALL, AS_FOUND, strategies
from schedtuna.knobs.base import Availability, Reverted, Scope, Target, as_int
from schedtuna.knobs.cgroup_knob import CgroupKnob
from schedtuna.machine.cpu_lists import format_cpu_list, parse_cpu_list
from schedtuna.machine.topology import read_topology
from schedtuna.space import ParameterSpec, ParameterType, ParameterValue


class CpuWeight(CgroupKnob):
    """A group's share of the CPUs against its siblings."""

    name = "cpu_weight"
    description = "share of CPU time against sibling control groups; 100 is the usual share"
    controller = "cpu"
    file_names = ("cpu.shares", "cpu.weight")
    offered_in = frozenset({Scope.CGROUP})

    def probe(self, target: Target) -> Availability:
        """Say, too, whether the group is idle: the kernel refuses every weight then."""
        found = super().probe(target)
        path = self.file(target) if found.ok else None
        if path is None:
            return found
        idle = path.with_name("cpu.idle")  # since Linux 5.15
        if not idle.exists() or self.text(idle) != "1":
            return found
        return Availability(
            False,
            f"{idle} is 1, and an idle group has no weight of its own",
            f"echo 0 > {idle}, then write {path.name} again: the kernel has forgotten what it was",
        )

    def untouched(self) -> int:
        """The kernel's default weight."""
        return 100

    def to_value(self, text: str, group: Path) -> int:
        """Shares are weights times 10.24, as the kernel and systemd have it."""
        number = int(text)
        return min(10_000, max(1, round(number * 100 / 1024))) if (group / "cpu.shares").exists() else number

    def to_text(self, value: ParameterValue, group: Path, version: int) -> str:  # noqa: ARG002
        """A weight, or shares of at least 2."""
        weight = as_int(value)
        return str(max(2, round(weight * 1024 / 100)) if version == 1 else weight)

    def spec(self, target: Target) -> ParameterSpec:
        """1 to 10000, by ratio."""
        return ParameterSpec(
            name=self.name,
            type=ParameterType.INTEGER,
            default=self.show(target),
            min_value=1,
            max_value=10_000,
            log=True,
            description=self.description,
        )


class CpuQuota(CgroupKnob):
    """The most CPU time that a group may use."""

    name = "cpu_quota"
    unit = "% of a CPU"
    description = "the most CPU time the control group may use; all CPUs mean no limit"
    controller = "cpu"
    file_names = ("cpu.cfs_quota_us", "cpu.max")

    def untouched(self) -> int:
        """All CPUs: no limit."""
        return 100 * (os.cpu_count() or 1)

    def to_value(self, text: str, group: Path) -> int:
        """Percent of one CPU; no limit reads as all CPUs."""
        quota, _, period = text.partition(" ")
        if quota in ("max", "-1"):
            return self.untouched()
        period_us = int(period) if period else self._period_us(group)
        return max(1, round(100 * int(quota) / period_us))

    def to_text(self, value: ParameterValue, group: Path, version: int) -> str:
        """The quota for the period that is set."""
        percent = as_int(value)
        limited = percent < self.untouched()
        if version == 1:
            return str(max(1000, self._period_us(group) * percent // 100)) if limited else "-1"
        period_us = int(self.text(group / "cpu.max").split()[1])
        return f"{max(1000, period_us * percent // 100) if limited else 'max'} {period_us}"

    def spec(self, target: Target) -> ParameterSpec:
        """1 % of a CPU to all of them."""
        found = as_int(self.show(target))
        return ParameterSpec(
            name=self.name,
            type=ParameterType.INTEGER,
            default=found,
            min_value=1,
            max_value=max(found, self.untouched()),
            unit=self.unit,
            description=self.description,
        )

    def _period_us(self, group: Path) -> int:
        return int(self.text(group / "cpu.cfs_period_us"))


_EFFECTIVE = "cpuset.cpus.effective"  # in version 2


class Cpuset(CgroupKnob):
    """The CPUs that a group may use; unlike with affinity, its processes can't leave them."""

    name = "cpuset"
    description = "on which CPUs the control group runs, with affinity's names"
    controller = "cpuset"
    file_names = ("cpuset.cpus", "cpuset.cpus")
    alike = (
        "it runs where its parent does, as before, but this kernel refuses an empty cpuset.cpus while the "
        "group has processes: it names these CPUs now, and those that the parent gets later are not added"
    )

    def untouched(self) -> str:
        """No set of its own."""
        return ALL

    def to_value(self, text: str, group: Path) -> str:
        """The strategy that has exactly these CPUs; none of its own reads as all."""
        if not text:
            return ALL
        for name, cpus in self._strategies(group).items():
            if cpus == parse_cpu_list(text):
                return name
        return AS_FOUND

    def to_text(self, value: ParameterValue, group: Path, version: int) -> str:  # noqa: ARG002
        """The strategy's CPUs."""
        if value == AS_FOUND:
            return self.text(group / self.file_names[0])
        return format_cpu_list(self._strategies(group)[str(value)])

    def spec(self, target: Target) -> ParameterSpec:
        """The strategies among the CPUs that the parent has."""
        found = str(self.show(target))
        choices = tuple(self._strategies(self.group_or_future(target)))
        return ParameterSpec(
            name=self.name,
            type=ParameterType.CATEGORICAL,
            default=found,
            choices=choices if found in choices else (AS_FOUND, *choices),
            description=self.description,
        )

    def _put_back(self, path: Path, old: str) -> Reverted:
        """Write the old text; where the kernel refuses an empty one, the CPUs that it stands for."""
        try:
            return super()._put_back(path, old)
        except KnobError as error:
            group, refused = path.parent, error.__cause__
            full = isinstance(refused, OSError) and refused.errno == errno.ENOSPC
            if old or not full or not (group / _EFFECTIVE).exists():
                raise
        parents = self.text(group.parent / _EFFECTIVE)
        self._write(path, parents)
        if (now := self.text(group / _EFFECTIVE)) != parents:
            raise KnobError(
                f"{self.name}: {group} runs on {now or 'no CPU'}, not on its parent's {parents} as before",
                hint=f"see what holds it there: grep . {group}/cpuset.*",
            )
        return Reverted.ALIKE

    def _strategies(self, group: Path) -> dict[str, tuple[int, ...]]:
        """The sets among the CPUs that the group's parent may use."""
        topology = read_topology()
        for name in ("cpuset.effective_cpus", _EFFECTIVE):
            path = group.parent / name
            if path.exists():
                return strategies(topology, parse_cpu_list(self.text(path)))
        return strategies(topology, topology.online)
