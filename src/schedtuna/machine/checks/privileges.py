"""What this process may do."""

from __future__ import annotations

from schedtuna.capabilities import Capability, effective_capabilities, status_field
from schedtuna.machine.checks.finding import Check, Finding, missing, ok
from schedtuna.machine.probe import Probe

AS_ROOT = "run as root (sudo)"
# Capability -> whether CAP_SYS_ADMIN stands in for it, and the cost of its absence.
_CAPABILITIES: dict[Capability, tuple[bool, str]] = {
    Capability.SYS_NICE: (False, "nice can only be raised; no fifo, rr, nor other users' tasks"),
    Capability.BPF: (True, "no recorder, no scx_* schedulers"),
    Capability.PERFMON: (True, "no recorder; counters as perf_event_paranoid allows"),
    Capability.SYS_ADMIN: (False, "no sysctls, no scx_* schedulers, no mounts"),
    Capability.SYS_RESOURCE: (False, "limits can't be raised; PSI triggers need 2 s windows"),
}


def has_capability(probe: Probe, capability: Capability) -> bool:
    """Whether this process holds a capability, in the machine's own user namespace."""
    implied, _ = _CAPABILITIES[capability]
    held = effective_capabilities(_status(probe))
    enough = capability.within(held) or (implied and Capability.SYS_ADMIN.within(held))
    return enough and not _in_user_namespace(probe)


def _status(probe: Probe) -> str:
    return probe.read("proc/self/status") or ""


def _in_user_namespace(probe: Probe) -> bool:
    """Whether capabilities here say nothing about the machine (rootless containers)."""
    mapped = (probe.read("proc/self/uid_map") or "").split()
    return bool(mapped) and mapped != ["0", "0", "4294967295"]


def _check_capability(probe: Probe, capability: Capability) -> Finding:
    _, cost = _CAPABILITIES[capability]
    by_itself = capability.within(effective_capabilities(_status(probe)))
    if has_capability(probe, capability):
        return ok("held" if by_itself else "CAP_SYS_ADMIN stands in for it")
    if _in_user_namespace(probe) and by_itself:
        return missing("held in a user namespace only", cost, "run outside the rootless container")
    root = status_field(_status(probe), "Uid").split()[1:2] == ["0"]
    return missing(
        "not held",
        cost,
        "allow it in the options of the container or VM: root is without it" if root else AS_ROOT,
    )


def _row(capability: Capability) -> Check:
    title = f"CAP_{capability.name}"
    return Check(title.lower(), title, lambda probe: _check_capability(probe, capability))


CHECKS = tuple(_row(capability) for capability in _CAPABILITIES)
