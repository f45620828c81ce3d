"""Workloads that come with Schedtuna: named, seeded, short, and each with the scheduler trait it favours.

They need Debian's stress-ng, sysbench and rt-tests, or nothing but Python. Sizes follow the number
of CPUs: ``{cpus}`` in a row stands for it, ``{2cpus}`` and ``{4cpus}`` for its multiples.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schedtuna.errors import UnavailableError, UsageError, nearest
from schedtuna.resources import resource_path

if TYPE_CHECKING:  # the shells' completion takes names from here, and should be fast
    from schedtuna.workload.spec import MetricSpec, Workload

# Tool -> the Debian package that has it.
PACKAGES = {
    "stress-ng": "stress-ng",
    "sysbench": "sysbench",
    "hackbench": "rt-tests",
    "cyclictest": "rt-tests",
}
DEFAULT = "pipes"
_MIX = "mix.py"  # stands for the interpreter and workload/programs/mix.py


@dataclass(frozen=True)
class Row:
    """One workload as it is written down.

    Attributes:
        name: What users call it.
        description: What runs.
        favours: What a scheduler needs to do well.
        command: The command, split at spaces; a line for the shell where `in_shell`.
        metric: What is optimised.
        tools: The programs that it needs.
        parser: The output's parser, where the command's name does not tell.
        in_shell: Whether the shell runs the command.
    """

    name: str
    description: str
    favours: str
    command: str
    metric: str
    tools: tuple[str, ...] = ()
    parser: str = ""
    in_shell: bool = False


ROWS: tuple[Row, ...] = (
    Row(
        "short-bursts",
        "a task with short bursts of work beside a long-running task per CPU and one more",
        "short slices and quick preemption by what woke up; policy batch or a higher nice for the rest",
        "mix.py --seed {seed} --tasks 1 --rate 400 --units 3 --hogs {cpus+1} --seconds 2",
        "p99_us",
        parser="json",
    ),
    Row(
        "interactive-mix",
        "tasks that answer requests with a helper's help, beside a long-running task per CPU",
        "low wakeup latency through chains of tasks, and helpers placed near those that wake them",
        "mix.py --seed {seed} --tasks {2cpus} --rate 100 --units 4 --helper --hogs {cpus} --seconds 2",
        "p99_us",
        parser="json",
    ),
    Row(
        "cpu-bound",
        "two computing tasks per CPU",
        "long slices: every preemption costs cache and gains nothing",
        "stress-ng --cpu {2cpus} --cpu-method matrixprod --timeout 2 --metrics --seed {seed}",
        "bogo_ops_per_s",
        tools=("stress-ng",),
    ),
    Row(
        "context-switches",
        "pairs of tasks that do nothing but switch to each other",
        "a short path through the scheduler, and both of a pair on one CPU",
        "stress-ng --switch {cpus} --timeout 2 --metrics --seed {seed}",
        "bogo_ops_per_s",
        tools=("stress-ng",),
    ),
    Row(
        "pipes",
        "groups of senders and receivers that pass messages through pipes",
        "throughput of wakeups with many more tasks than CPUs; few preemptions by what woke up",
        "hackbench --pipe --groups 4 --loops 400",
        "time_s",
        tools=("hackbench",),
    ),
    Row(
        "locks",
        "threads that contend for a few locks",
        "keeping a lock's owner running, and long slices",
        "sysbench threads --threads={4cpus} --thread-locks=4 --time=2 --rand-seed={seed} run",
        "events_per_s",
        tools=("sysbench",),
    ),
    Row(
        "mixed-io",
        "tasks that read, write, sync and map files, beside computing tasks",
        "quick service for what wakes up from IO",
        "stress-ng --iomix {cpus} --iomix-bytes 16m --temp-path /tmp --cpu {cpus} "
        "--timeout 2 --metrics --seed {seed}",
        "iomix.bogo_ops_per_s",
        tools=("stress-ng",),
    ),
    Row(
        "fork-storm",
        "processes that are forked and exit at once",
        "cheap placement of new tasks, and balance over CPUs",
        "stress-ng --fork {cpus} --timeout 2 --metrics --seed {seed}",
        "bogo_ops_per_s",
        tools=("stress-ng",),
    ),
    Row(
        "latency-under-load",
        "a periodic task whose lateness is measured, beside two computing tasks per CPU",
        "quick preemption by what woke up",
        "stress-ng --cpu {2cpus} --timeout 20 --quiet --seed {seed} & "
        # Half a second of histogram, for machines that are very busy; of it only what is not zero.
        "cyclictest -q -t {cpus} -D 2 -i 1000 -h 500000 | grep -v '^[0-9]* [0[:space:]]*$'; kill $!; wait",
        "p99_us",
        tools=("cyclictest", "stress-ng"),
        parser="cyclictest",
        in_shell=True,
    ),
    Row(
        "memory",
        "threads that write to memory at random",
        "tasks that stay near their memory and caches",
        "sysbench memory --threads={2cpus} --memory-block-size=1M --memory-total-size=0 "
        "--memory-access-mode=rnd --time=2 --rand-seed={seed} run",
        "mib_per_s",
        tools=("sysbench",),
    ),
)


@dataclass(frozen=True)
class SuiteWorkload:
    """One workload of the suite, sized for this machine."""

    name: str
    description: str
    favours: str
    workload: Workload
    metric: MetricSpec
    missing: tuple[str, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages that have what is missing."""
        return tuple(sorted({PACKAGES[tool] for tool in self.missing}))

    def require_tools(self) -> None:
        """Raise UnavailableError, naming the packages, where a tool is missing."""
        if self.missing:
            raise UnavailableError(
                f"{self.name} needs {' and '.join(self.missing)}, which this machine lacks",
                hint=f"sudo apt-get install {' '.join(self.packages)}",
            )


def suite(nr_cpus: int | None = None) -> dict[str, SuiteWorkload]:
    """Return every workload of the suite by its name, sized for the CPUs that this process may use."""
    nr_cpus = nr_cpus or len(os.sched_getaffinity(0))
    return {row.name: _build(row, nr_cpus) for row in ROWS}


def own_names() -> list[str]:
    """Return the names of those that a program of ours runs, which a model can simulate, too."""
    return [row.name for row in ROWS if row.command.startswith(f"{_MIX} ")]


def suite_workload(name: str, nr_cpus: int | None = None) -> SuiteWorkload:
    """Return one workload of the suite.

    Raises:
        UsageError: There is none of that name.
    """
    workloads = suite(nr_cpus)
    if name not in workloads:
        raise UsageError(
            f"unknown workload {name!r}: {nearest(name, workloads)}",
            hint="`schedtuna suite list` shows them",
        )
    return workloads[name]


def ready_workload(name: str = DEFAULT, nr_cpus: int | None = None) -> SuiteWorkload:
    """Return one workload of the suite that can run here; without a name, the one that is the default.

    Raises:
        UsageError: There is none of that name.
        UnavailableError: A tool is missing.
    """
    chosen = suite_workload(name, nr_cpus)
    chosen.require_tools()
    return chosen


def in_guest(workload: Workload) -> Workload:
    """Return a workload for a machine with a Python of its own: a program of the suite goes along."""
    if workload.argv[: len(_interpreted())] != _interpreted():
        return workload
    program = Path(_interpreted()[-1])
    argv = ("python3", "-I", program.name, *workload.argv[3:])
    return workload.model_copy(update={"argv": argv, "folder": program.parent})


def _interpreted() -> tuple[str, ...]:
    """How our own program is called on this machine."""
    return (sys.executable, "-I", str(resource_path(f"workload/programs/{_MIX}")))


def _build(row: Row, nr_cpus: int) -> SuiteWorkload:
    from schedtuna.workload.metrics import parse_metric
    from schedtuna.workload.spec import Workload

    sizes = {"cpus": nr_cpus, "cpus+1": nr_cpus + 1, "2cpus": 2 * nr_cpus, "4cpus": 4 * nr_cpus}
    command = row.command
    for name, value in sizes.items():
        command = command.replace(f"{{{name}}}", str(value))
    argv = (command,) if row.in_shell else tuple(command.split())
    if argv[0] == _MIX:
        argv = (*_interpreted(), *argv[1:])
    workload = Workload(argv=argv, shell=row.in_shell, parser=row.parser, name=row.name, timeout_s=60)
    return SuiteWorkload(
        name=row.name,
        description=row.description,
        favours=row.favours,
        workload=workload,
        metric=parse_metric(row.metric, workload),
        missing=tuple(tool for tool in row.tools if shutil.which(tool) is None),
    )
