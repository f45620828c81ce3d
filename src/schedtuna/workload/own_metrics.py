"""Which metrics are there whatever a command prints? One row each: the docs and the checks follow."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence
from dataclasses import dataclass

from schedtuna.errors import UsageError, nearest
from schedtuna.trace.aggregates.metrics import NEEDS, SCHED_METRICS, SCHED_PREFIX
from schedtuna.workload.covariates import COVARIATES
from schedtuna.workload.parsers.base import MAX, MIN, Field, find_field
from schedtuna.workload.spec import Direction


@dataclass(frozen=True)
class OwnField(Field):
    """A metric that schedtuna itself makes.

    Attributes:
        needs: What the machine must have or allow; empty: nothing.
    """

    needs: str = ""


_HARDWARE, _RAPL = "hardware counters", "root, RAPL"
_SOFTWARE = "root, or perf_event_paranoid of 1 or less"

# What every run has.
RUN_FIELDS: tuple[OwnField, ...] = (
    OwnField("wall_time_s", "s", MIN, "from the command's start to its exit"),
    OwnField("runs_per_s", "1/s", MAX, "one over the wall time"),
    OwnField("cpu_time_s", "s", MIN, "CPU time of the command and its children"),
    OwnField("user_time_s", "s", MIN, "the part of it in user space"),
    OwnField("system_time_s", "s", MIN, "the part of it in the kernel"),
    OwnField("max_rss_kib", "KiB", MIN, "peak memory of the largest process"),
    OwnField("nr_voluntary_switches", "", MIN, "context switches because a task waited"),
    OwnField("nr_involuntary_switches", "", MIN, "context switches because a task was preempted"),
)
# What is counted only where a metric asks for it: by perf (see `counters`) and by eBPF.
COUNTER_FIELDS: tuple[OwnField, ...] = (
    OwnField("cycles", "", MIN, "CPU cycles", _HARDWARE),
    OwnField("instructions", "", MIN, "instructions", _HARDWARE),
    OwnField("ipc", "", MAX, "instructions per cycle", _HARDWARE),
    OwnField("cache_misses", "", MIN, "misses of the last-level cache", _HARDWARE),
    OwnField("energy_j", "J", MIN, "energy that the CPU packages used, other programs included", _RAPL),
    OwnField("nr_migrations", "", MIN, "moves of a task to another CPU", _SOFTWARE),
    OwnField("nr_page_faults", "", MIN, "page faults", _SOFTWARE),
)
SCHED_FIELDS: tuple[OwnField, ...] = tuple(
    OwnField(row.name, row.unit, Direction(row.direction), row.description, NEEDS)
    for row in SCHED_METRICS.values()
)
OWN_FIELDS = (*RUN_FIELDS, *COUNTER_FIELDS, *SCHED_FIELDS)
_OWN_NAMES = frozenset(row.name for row in OWN_FIELDS)
_LIST = "`schedtuna metrics` lists them"
_SOURCE = "a number that is printed otherwise is named with its place, such as NAME:min=regex:PATTERN"
_LOOKS_ALIKE = 0.8  # as difflib measures it: one letter wrong in five


def refuse_misspelt(
    name: str, *, fields: Sequence[Field] | None = None, tool: str = "", known: Container[str] = ()
) -> None:
    """Refuse a name that nothing can give a value.

    Args:
        name: Of a metric that is read from no named source.
        fields: All that the command's output can report; None: nobody knows that.
        tool: Whose output it is; empty: the command has no parser.
        known: More names that have values.

    Raises:
        UsageError: It begins as the scheduler's metrics do; or it is a covariate, or the tool does not
            report it; or there is no parser, and it looks like one of ours.
    """
    if name in _OWN_NAMES or name in known:
        return
    if name.startswith(SCHED_PREFIX):
        raise UsageError(f"there is no metric {name}: {nearest(name, SCHED_METRICS)}", hint=_LIST)
    if fields is None or find_field(fields, name):
        return
    if name in COVARIATES:
        raise UsageError(
            f"{name} is a covariate, not a metric", hint="it is written down with every run as it is"
        )
    if tool:
        its = {row.name for row in fields}
        near = nearest(name, its | _OWN_NAMES)
        told = near if near.startswith("did you mean") else nearest(name, its)  # ours would fill the screen
        raise UsageError(f"{tool} reports no {name}: {told}", hint=f"{_LIST}; {_SOURCE}")
    if difflib.get_close_matches(name, _OWN_NAMES, n=1, cutoff=_LOOKS_ALIKE):
        raise UsageError(f"there is no metric {name}: {nearest(name, _OWN_NAMES)}", hint=_LIST)
