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


# Programs that set something else, or nothing, without one of these options.
_ONLY_WITH = {"numactl": ("-N", "--cpunodebind", "-C", "--physcpubind")}


def _sets(one: Started, knob: str) -> bool:
    options = _ONLY_WITH.get(one.name)
    return knob in SETTERS.get(one.name, ()) and (
        options is None or any(word.startswith(options) for word in one.own)
    )


def setter(knob: str, argv: Sequence[str], *, shell: bool = False) -> Started | None:
    """Return the innermost program of a command line that sets what a knob sets; None where none does."""
    found = [one for one in started(argv, shell=shell) if _sets(one, knob)]
    return found[-1] if found else None
