"""May two results be compared? What differs between their manifests, and how much that matters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schedtuna.machine.manifest import Manifest
from schedtuna.machine.topology import Topology


class Severity(StrEnum):
    """What a difference means for a comparison; in order of weight."""

    BLOCKS = "blocks"
    WARNS = "warns"
    INFO = "info"


@dataclass(frozen=True)
class ManifestDifference:
    """One fact in which two manifests differ.

    Attributes:
        field: Name of the fact; of an entry, where the fact has several: ``mitigations.spectre_v2``.
        a: The first manifest's value; None where it is unknown.
        b: The second's.
        severity: What it means for a comparison.
        why: The reason, as a sentence for people.
    """

    field: str
    a: Any
    b: Any
    severity: Severity
    why: str


@dataclass(frozen=True)
class _Rule:
    """How a difference counts.

    Attributes:
        severity: What it means for a comparison.
        why: The reason.
        tolerance: Relative difference that is none, for numbers.
        none_known: Whether None, or an absent entry, says "there is none" and not "unknown".
    """

    severity: Severity
    why: str
    tolerance: float = 0.0
    none_known: bool = False


_B, _W, _I = Severity.BLOCKS, Severity.WARNS, Severity.INFO
_UNKNOWN = _Rule(_W, "only one of the two knows it: run both with the same privileges")

# Every fact of a manifest, in the order of the report. Dictionaries are compared entry by entry.
RULES: dict[str, _Rule] = {
    "command": _Rule(_B, "different commands measure different things"),
    "binary_hashes": _Rule(
        _B, "not the same program or input, although it may have the same name", none_known=True
    ),
    "machine_id_hash": _Rule(_B, "results of two machines differ for reasons that no test sees"),
    "architecture": _Rule(_B, "another instruction set runs other code"),
    "cpu_model": _Rule(_B, "another processor has another speed"),
    "topology": _Rule(_B, "schedulers decide by cores and caches"),
    "isolated_cpus": _Rule(_B, "isolated CPUs are not balanced"),
    "smt_control": _Rule(_B, "hardware threads share a core's speed", none_known=True),
    "kernel_release": _Rule(_B, "another kernel brings another scheduler"),
    "kernel_version": _Rule(_B, "another build of the kernel"),
    "kernel_config_hash": _Rule(_B, "the kernel is configured in another way"),
    "kernel_cmdline": _Rule(_W, "boot parameters may change the scheduler"),
    "mitigations": _Rule(_B, "mitigations change the price of every switch"),
    "microcode": _Rule(_W, "microcode may change speed and mitigations"),
    "governors": _Rule(_B, "the frequency follows other rules"),
    "turbo": _Rule(_B, "the top frequency differs", none_known=True),
    "cpuidle": _Rule(_B, "waking from idle takes another time", none_known=True),
    "clock_source": _Rule(_B, "reading the time has another price"),
    "virtualization": _Rule(_B, "a hypervisor adds exits and steals time"),
    "container": _Rule(_W, "containers add seccomp filters, network layers and limits"),
    "memory_bytes": _Rule(_B, "another amount of memory changes caching", tolerance=0.02),
    "transparent_hugepages": _Rule(_B, "huge pages change the price of memory"),
    "cgroups.version": _Rule(_B, "CPU weights work by another hierarchy"),
    "cgroups.v1_mounts": _Rule(_B, "the CPU is shared out by other groups", none_known=True),
    "cgroups.v2_mount": _Rule(_I, "another mount point", none_known=True),
    "cgroups.v2_controllers": _Rule(_W, "the CPU may be shared out by other groups"),
    "cgroups.own_v2": _Rule(
        _I, "another control group; its limits are compared by themselves", none_known=True
    ),
    "cgroups.own_v1_cpu": _Rule(
        _I, "another control group; its limits are compared by themselves", none_known=True
    ),
    "cgroups.cpu_quota": _Rule(_B, "another quota of CPU time", none_known=True),
    "cgroups.cpus_allowed": _Rule(_B, "not the same CPUs may be used"),
    "scheduler_settings": _Rule(_B, "the scheduler is set in another way"),
    "sched_ext_state": _Rule(_B, "one was measured under a sched_ext scheduler", none_known=True),
    "sched_ext_ops": _Rule(_B, "not the same scheduler was loaded", none_known=True),
    "daemons": _Rule(_W, "a daemon that changes scheduling ran beside one of them"),
    "gpus": _Rule(_W, "GPUs or their drivers differ, which matters to work that uses them"),
    "boot_id": _Rule(_W, "each boot places memory and interrupts anew; only interleaved runs are safe"),
    "hostname_hash": _Rule(_I, "the host's name differs"),
    "seed": _Rule(_W, "other seeds draw other inputs", none_known=True),
    "schedtuna_version": _Rule(_W, "another version may measure in another way"),
    "format_version": _Rule(_I, "another format of the manifest"),
    "created_at": _Rule(_I, "taken at different moments"),
}
_SILENT = ("created_at",)  # always differs, never matters


def compare_manifests(a: Manifest, b: Manifest) -> list[ManifestDifference]:
    """List what differs, the heaviest first.

    A fact that only one of the two could read is a warning: it may or may not differ.
    """
    left, right = _flatten(a), _flatten(b)
    found = [
        difference
        for name, rule in RULES.items()
        if name not in _SILENT
        for difference in _compare(name, rule, left.get(name), right.get(name))
    ]
    order = list(Severity)
    return sorted(found, key=lambda difference: order.index(difference.severity))


def comparable(differences: list[ManifestDifference]) -> bool:
    """Whether results with these differences may be compared."""
    return all(difference.severity is not Severity.BLOCKS for difference in differences)


def _flatten(manifest: Manifest) -> dict[str, Any]:
    """Fact -> value, by the names of `RULES`."""
    value: dict[str, Any] = manifest.model_dump(mode="json")
    machine: dict[str, Any] = value.pop("machine")
    cgroups: dict[str, Any] = machine.pop("cgroups")
    machine["topology"] = manifest.machine.topology
    machine["gpus"] = [f"{gpu['name']}, driver {gpu['driver']}" for gpu in machine["gpus"]]
    return value | machine | {f"cgroups.{name}": entry for name, entry in cgroups.items()}


def _compare(name: str, rule: _Rule, a: Any, b: Any) -> list[ManifestDifference]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
        return [_difference(f"{name}.{key}", rule, a.get(key), b.get(key)) for key in keys]
    if a == b or _close(a, b, rule.tolerance):
        return []
    if isinstance(a, Topology) and isinstance(b, Topology):
        summaries = a.summary(), b.summary()
        a, b = summaries if summaries[0] != summaries[1] else (a.model_dump(), b.model_dump())
    return [_difference(name, rule, a, b)]


def _difference(name: str, rule: _Rule, a: Any, b: Any) -> ManifestDifference:
    chosen = rule if rule.none_known or (a is not None and b is not None) else _UNKNOWN
    return ManifestDifference(name, a, b, chosen.severity, chosen.why)


def _close(a: Any, b: Any, tolerance: float) -> bool:
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return numbers and tolerance > 0 and math.isclose(a, b, rel_tol=tolerance)
