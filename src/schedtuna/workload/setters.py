"""Which program of a command line sets a scheduling attribute itself, and so undoes a setting? Pure."""

from __future__ import annotations

from collections.abc import Sequence

from schedtuna.workload.wrappers import Started, started

# Program -> the knobs whose attribute it sets.
SETTERS: dict[str, frozenset[str]] = {
    "cgexec": frozenset({"cpu_weight", "cpu_quota", "cpuset"}),
    "chrt": frozenset({"policy", "realtime", "nice", "slice_us"}),
    "nice": frozenset({"nice"}),
    "numactl": frozenset({"affinity"}),
    "renice": frozenset({"nice"}),
    "schedtool": frozenset({"policy", "realtime", "nice", "affinity"}),
    "setsid": frozenset({"autogroup_nice"}),
    "systemd-run": frozenset({"cpu_weight", "cpu_quota", "cpuset", "nice"}),
    "taskset": frozenset({"affinity"}),
}


def setter(knob: str, argv: Sequence[str], *, shell: bool = False) -> Started | None:
    """Return the innermost program of a command line that sets what a knob sets; None where none does."""
    found = [one for one in started(argv, shell=shell) if knob in SETTERS.get(one.name, ())]
    return found[-1] if found else None
