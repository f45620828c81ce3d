"""What this machine can do for a tuner, what it can't, what that costs, and how to get it.

A check is one row of `GROUPS`: a function of a `Probe` that looks and judges. An ability is one row
of `ABILITIES`: what a user wants to do, and the checks that it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from schedtuna.machine.checks import cgroup, cpu, kernel, privileges, programs, tracing
from schedtuna.machine.checks.finding import Check, Finding, Status, warning
from schedtuna.machine.probe import Probe

GROUPS: dict[str, tuple[Check, ...]] = {
    "Kernel": kernel.CHECKS,
    "Tracing": tracing.CHECKS,
    "Privileges": privileges.CHECKS,
    "CPU": cpu.CPU_CHECKS,
    "Noise": cpu.NOISE_CHECKS,
    "Control groups": cgroup.CHECKS,
    "Programs": programs.CHECKS,
}


@dataclass(frozen=True)
class Ability:
    """What a user may want to do.

    Attributes:
        name: Identifier.
        title: For people.
        needs: Names of the checks that must not be `missing`.
        better_with: Names of the checks whose absence narrows it.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    better_with: tuple[str, ...] = ()


ABILITIES = (
    Ability("tune", "tune `fair`", ("kernel",), ("eevdf_slice", "cap_sys_nice", "cgroup_cpu")),
    Ability("record", "record with BPF", ("tp_btf", "btf")),
    Ability(
        "sched_ext",
        "run scx_* schedulers",
        ("sched_ext", "btf", "cap_bpf", "cap_sys_admin", "scx_schedulers"),
        ("kernel_config",),
    ),
    Ability("lab", "boot the VM lab", ("lab",), ("kvm",)),
    Ability("simulate", "simulate loads", ("simulator",)),
    Ability("remote", "use other machines", ()),
)


@dataclass(frozen=True)
class Examination:
    """What all checks came to.

    Attributes:
        findings: By the checks' names, in the order of `GROUPS`.
        abilities: By the abilities' names.
    """

    findings: Mapping[str, Finding]
    abilities: Mapping[str, Finding]

    @property
    def counts(self) -> dict[Status, int]:
        """How many findings have each status."""
        return {status: sum(one.status is status for one in self.findings.values()) for status in Status}

    def to_dict(self) -> dict[str, Any]:
        """All of it, for programs."""
        groups = {check.name: group for group, checks in GROUPS.items() for check in checks}
        return {
            "abilities": {name: asdict(finding) for name, finding in self.abilities.items()},
            "checks": {name: {"group": groups[name]} | asdict(one) for name, one in self.findings.items()},
            "counts": self.counts,
        }


def examine(probe: Probe) -> Examination:
    """Run every check, and judge what can be done here."""
    findings = run_checks(probe)
    return Examination(findings, judge_abilities(findings))


def run_checks(probe: Probe) -> dict[str, Finding]:
    """Run every check; the findings by the checks' names, in the order of `GROUPS`.

    A check that fails on something unforeseen becomes a warning: a doctor that dies is of no use.
    """
    return {check.name: _run(check, probe) for checks in GROUPS.values() for check in checks}


def _run(check: Check, probe: Probe) -> Finding:
    try:
        return check.run(probe)
    except (OSError, ValueError, ArithmeticError, LookupError) as error:
        return warning(f"could not be read: {error}", "unknown")


def judge_abilities(findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """Whether each ability is there, by its name; `seen` names the checks that stand in the way."""
    return {ability.name: _judge(ability, findings) for ability in ABILITIES}


def _judge(ability: Ability, findings: Mapping[str, Finding]) -> Finding:
    titles = {check.name: check.title for checks in GROUPS.values() for check in checks}

    def absent(names: tuple[str, ...]) -> list[str]:
        return [titles[name] for name in names if findings[name].status is Status.MISSING]

    if lacking := absent(ability.needs):
        return Finding(Status.MISSING, f"no: lacks {', '.join(lacking)}", facts={"lacks": lacking})
    if narrowed := absent(ability.better_with):
        return Finding(Status.WARNING, f"yes, but without {', '.join(narrowed)}", facts={"lacks": narrowed})
    return Finding(Status.OK, "yes", facts={"lacks": []})
