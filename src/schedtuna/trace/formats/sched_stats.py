"""What `perf sched stats report` printed, as samples of CPUs and of their scheduling domains.

Counters keep the kernel's names (kernel/sched/stats.c), behind `schedstat_`, whichever version of
/proc/schedstat they are of. All are of one moment: what happened from the recording's begin to its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BufferedIOBase

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sampled import Notes, S, Times, Value, identifier, lines, shown
from schedtuna.trace.formats.sink import Sink

_HINT = "LC_ALL=C perf sched stats report > FILE"
_ELAPSED = re.compile(r"Time elapsed \(in jiffies\)\s*:\s*(\d{1,20})(,)?.*")
# perf 7: `CPU: 0 | DOMAIN: MC | DOMAIN_CPUS: 0-3`; before it was merged: `CPU 0, DOMAIN MC CPUS <0, 3>`.
_HEAD = re.compile(
    r"CPU:? +(?P<cpu>\d{1,5}|<ALL CPUS SUMMARY>)"
    r"(?:,? *\|? *DOMAIN:? +(?P<domain>[^\s|,]{1,40})(?: *\|? *(?:DOMAIN_)?CPUS:? +(?P<cpus>\S.*))?)?\s*"
)
_RULE = re.compile(r"-{3}[-\s]*(?:<.*> *-{3,})?\s*")
_COLUMNS = re.compile(r"DESC\s+COUNT(?:\s+(?:PCT_CHANGE|AVG_JIFFIES))?\s*")
_ROW = re.compile(
    r"(?P<name>\*?[^\s*:][^:]{0,90}?)\s*:\s*(?P<value>\d{1,20}(?:\.\d{1,20})?)"
    r"(?:\s+\(\s*\d+\.\d+%\s*\)|\s+\$\s*\d+\.\d+\s*\$)?\s*"
)
_ALL = "<ALL CPUS SUMMARY>"

_OF_CPUS = {
    "sched_yield() count": "yld_count",
    "Legacy counter can be ignored": "array_exp",
    "schedule() called": "sched_count",
    "schedule() left the processor idle": "sched_goidle",
    "try_to_wake_up() was called": "ttwu_count",
    "try_to_wake_up() was called to wake up the local cpu": "ttwu_local",
    "total runtime by tasks on this processor (in jiffies)": "rq_cpu_time",
    "total waittime by tasks on this processor (in jiffies)": "run_delay",
    "total timeslices run on this cpu": "pcount",
    "active_load_balance() count": "alb_count",
    "active_load_balance() move task failed": "alb_failed",
    "active_load_balance() successfully moved a task": "alb_pushed",
    "try_to_wake_up() awoke a task that last ran on a diff cpu": "ttwu_wake_remote",
    "try_to_wake_up() moved task because cache-cold on own cpu": "ttwu_move_affine",
    "try_to_wake_up() started passive balancing": "ttwu_move_balance",
}
_OF_BALANCING = {
    "load_balance() count on cpu {}": "count",
    "load_balance() found balanced on cpu {}": "balanced",
    "load_balance() move task failed on cpu {}": "failed",
    "imbalance in load on cpu {}": "imbalance_load",
    "imbalance in utilization on cpu {}": "imbalance_util",
    "imbalance in number of tasks on cpu {}": "imbalance_task",
    "imbalance in misfit tasks on cpu {}": "imbalance_misfit",
    "pull_task() count on cpu {}": "gained",
    "pull_task() when target task was cache-hot on cpu {}": "hot_gained",
    "load_balance() failed to find busier queue on cpu {}": "nobusyq",
    "load_balance() failed to find busier group on cpu {}": "nobusyg",
    "load_balance() success count on cpu {}": "success_count",
    "avg task pulled per successful lb attempt (cpu {})": "avg_pulled",
}
_KINDS = {"busy": "busy", "idle": "idle", "newly idle": "newidle"}
# What `-v` prints instead of the kernel's names.
_NAMES = (
    _OF_CPUS
    | {
        text.format(kind): f"{word}_lb_{name}"
        for text, name in _OF_BALANCING.items()
        for kind, word in _KINDS.items()
    }
    | {
        f"{name} is not used": name
        for kind in ("sbe", "sbf")
        for name in (f"{kind}_count", f"{kind}_balanced", f"{kind}_pushed")
    }
)
_COMPUTED = ("_success_count", "_avg_pulled")  # by perf, from the counters beside them
_IN_NS = frozenset({"rq_cpu_time", "run_delay"})  # whatever `-v` says: since Linux 2.6.23


@dataclass
class _Table:
    """The counters of a CPU, or of a domain of it.

    Attributes:
        line: Where it begins.
        cpu: Its number; None: the mean over all.
        domain: The domain's name, and its CPUs; empty: of the CPU.
        values: By our names.
    """

    line: int
    cpu: int | None
    domain: str = ""
    cpus: str = ""
    values: dict[str, Value] = field(default_factory=dict)


@dataclass
class _Report:
    """One report: how long it is of, and its tables."""

    line: int
    nr_jiffies: int
    tables: list[_Table] = field(default_factory=list)


def parse_sched_stats(stream: BufferedIOBase, sink: Sink) -> None:
    """Read the text of `perf sched stats report`, with `-v` or without, or of `perf sched stats` itself.

    Samples are of kind `cpu`, `sched_domain` (one per CPU and domain) and `system` (sums over the CPUs).

    Raises:
        TraceError: It is something else, the difference of two recordings, or cut.
    """
    reports = _reports(stream)
    if not reports:
        raise TraceError("no report of perf sched stats", hint=_HINT)
    notes = Notes()
    for index, report in enumerate(reports):
        _write(report, index * S, sink)
        notes.add(
            f"counters are of {report.nr_jiffies:,} jiffies, whose length the text does not say (CONFIG_HZ)"
        )
    notes.add("the summary of all CPUs is perf's mean over them; samples of the system are sums")
    notes.write(sink, Times.MADE_UP)


def _reports(stream: BufferedIOBase) -> list[_Report]:
    reports: list[_Report] = []
    table: _Table | None = None
    for number, line in lines(stream):
        if elapsed := _ELAPSED.fullmatch(line):
            if elapsed[2]:
                raise TraceError(
                    f"line {number}: this is the difference of two recordings (perf sched stats diff)",
                    hint=f"import the report of each: {_HINT}",
                )
            reports.append(_Report(number, int(elapsed[1])))
            table = None
        elif not reports or not line.strip() or _RULE.fullmatch(line):
            continue  # before a report may be anything, such as what the recorded command printed
        elif head := _HEAD.fullmatch(line):
            cpu = None if head["cpu"] == _ALL else int(head["cpu"])
            table = _Table(number, cpu, head["domain"] or "", (head["cpus"] or "").strip())
            reports[-1].tables.append(table)
        elif not _COLUMNS.fullmatch(line) and (table is None or not _take(table, line)):
            if line.startswith("Description") or "->" in line:
                table = None  # the legend of a report that follows
                continue
            raise TraceError(f"line {number}: expected a counter of a CPU, got {shown(line)}", hint=_HINT)
    return reports


def _take(table: _Table, line: str) -> bool:
    """Take a counter's row; whether it is one that the table does not have yet."""
    row = _ROW.fullmatch(line)
    if row is None:
        return False
    text = row["name"].removeprefix("*").strip()
    name = _NAMES.get(text) or identifier(text)
    name = f"schedstat_{name}_ns" if name in _IN_NS else f"schedstat_{name}"
    if name in table.values:
        return False
    table.values[name] = float(row["value"])
    return True


def _write(report: _Report, time_ns: int, sink: Sink) -> None:
    """Write the samples of a report.

    Raises:
        TraceError: Tables of it are missing, or rows of them.
    """
    cpus = [table for table in report.tables if table.cpu is not None and not table.domain]
    if not cpus:
        raise TraceError(f"line {report.line}: the report has no table of a CPU", hint=_HINT)
    whole: dict[bool, _Table] = {}
    for table in report.tables:
        first = whole.setdefault(not table.domain, table)
        if table.values.keys() != first.values.keys() or not table.values:
            raise TraceError(
                f"line {table.line}: a table of {len(table.values)} counters, where that of line {first.line}"
                f" has {len(first.values)}: a part of the text is missing",
                hint=_HINT,
            )
    sums = _sums(cpus)
    for table in report.tables:
        if table.cpu is None:
            alike = [one for one in report.tables if one.cpu is not None and one.domain == table.domain]
            _check_mean(table, alike, len(cpus))
    sink.write_samples(time_ns, {"elapsed_jiffies": float(report.nr_jiffies), **sums})
    for table in report.tables:
        if table.cpu is not None:
            of_domain = (
                {"sched_domain": table.domain, "sched_domain_cpus": table.cpus} if table.domain else {}
            )
            kind = "sched_domain" if table.domain else "cpu"
            sink.write_samples(time_ns, {"cpu": float(table.cpu), **of_domain, **table.values}, kind=kind)


def _sums(tables: list[_Table]) -> dict[str, float]:
    return {name: sum(float(table.values[name] or 0) for table in tables) for name in tables[0].values}


def _check_mean(summary: _Table, tables: list[_Table], nr_cpus: int) -> None:
    """The summary is the mean over the CPUs, cut: else CPUs are missing, or domains of them."""
    sums = _sums(tables) if tables else dict.fromkeys(summary.values, 0.0)
    wrong = ""
    for nr in {nr_cpus, len(tables) or nr_cpus}:  # a CPU may have no such domain
        wrong = next((name for name in sums if not _is_mean(summary, name, sums[name], nr)), "")
        if not wrong:
            return
    raise TraceError(
        f"line {summary.line}: {wrong.removeprefix('schedstat_')} is {summary.values[wrong]:,.0f} on average,"
        f" but {sums[wrong] / nr_cpus:,.0f} of the {nr_cpus} CPUs below: a part of the text is missing",
        hint=_HINT,
    )


def _is_mean(summary: _Table, name: str, total: float, nr: int) -> bool:
    if name.endswith(_COMPUTED):
        return True
    mean = float(summary.values[name] or 0)
    return -1e-9 * total <= total / nr - mean < 1 + 1e-9 * total
