"""What this process may do."""

from __future__ import annotations

from schedtuna.kernel.text import lines_of
from schedtuna.machine.checks.finding import Check, Finding, missing, ok
from schedtuna.machine.probe import Probe

AS_ROOT = "run as root (sudo)"
_SYS_ADMIN = 21
# Name -> bit (include/uapi/linux/capability.h), whether CAP_SYS_ADMIN stands in for it, and the cost of
# its absence.
_CAPABILITIES: dict[str, tuple[int, bool, str]] = {
    "CAP_SYS_NICE": (23, False, "nice can only be raised; no fifo, rr, nor other users' tasks"),
    "CAP_BPF": (39, True, "no recorder, no scx_* schedulers"),
    "CAP_PERFMON": (38, True, "no recorder; counters as perf_event_paranoid allows"),
    "CAP_SYS_ADMIN": (_SYS_ADMIN, False, "no sysctls, no scx_* schedulers, no mounts"),
    "CAP_SYS_RESOURCE": (24, False, "limits can't be raised; PSI triggers need 2 s windows"),
}


def has_capability(probe: Probe, name: str) -> bool:
    """Whether this process holds a capability, in the machine's own user namespace."""
    bit, implied, _ = _CAPABILITIES[name]
    held = _effective(probe)
    return not _in_user_namespace(probe) and bool(held >> bit & 1 or (implied and held >> _SYS_ADMIN & 1))


def _status(probe: Probe, field: str) -> str:
    for line in lines_of(probe.read("proc/self/status") or ""):
        name, _, value = line.partition(":")
        if name == field:
            return value.strip()
    return ""


def _effective(probe: Probe) -> int:
    try:
        return int(_status(probe, "CapEff"), 16)
    except ValueError:
        return 0


def _in_user_namespace(probe: Probe) -> bool:
    """Whether capabilities here say nothing about the machine (rootless containers)."""
    mapped = (probe.read("proc/self/uid_map") or "").split()
    return bool(mapped) and mapped != ["0", "0", "4294967295"]


def _check_capability(probe: Probe, name: str) -> Finding:
    bit, _, cost = _CAPABILITIES[name]
    if has_capability(probe, name):
        by_itself = _effective(probe) >> bit & 1
        return ok("held" if by_itself else "CAP_SYS_ADMIN stands in for it")
    if _in_user_namespace(probe) and _effective(probe) >> bit & 1:
        return missing("held in a user namespace only", cost, "run outside the rootless container")
    root = _status(probe, "Uid").split()[1:2] == ["0"]
    return missing(
        "not held",
        cost,
        "allow it in the options of the container or VM: root is without it" if root else AS_ROOT,
    )


def _row(name: str) -> Check:
    return Check(name.lower(), name, lambda probe: _check_capability(probe, name))


CHECKS = tuple(_row(name) for name in _CAPABILITIES)
