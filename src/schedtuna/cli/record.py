"""`schedtuna record`: what the scheduler does, while a command runs or for some time."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedtuna.cli.bundles import bundled
from schedtuna.cli.common import parse_positive_duration, require_process, termination_interrupts
from schedtuna.cli.options import AggregateOption, JsonOption, ProcfsOption
from schedtuna.cli.output import print_json, print_remark
from schedtuna.cli.table import spelled_size
from schedtuna.errors import SchedtunaError, UnavailableError, UsageError, naming
from schedtuna.priority import as_usual

if TYPE_CHECKING:
    from schedtuna.cli.progress import Step
    from schedtuna.record.command import CommandEnd
    from schedtuna.record.filters import TaskFilter
    from schedtuna.record.picks import PickTally
    from schedtuna.record.recorder import Recorder, RecordOptions, RecordResult

app = typer.Typer(add_completion=False)

_MB = 1 << 20
TOP_GROUPS = 12
_MOST_NAMES = 8


@dataclass(frozen=True)
class TaskOptions:
    """Which tasks are recorded."""

    pid: Annotated[
        int | None, typer.Option("--pid", min=1, help="Only this process.", show_default=False)
    ] = None
    tree: Annotated[
        int | None,
        typer.Option("--tree", metavar="PID", min=1, help="Only this process and its descendants."),
    ] = None
    only_command: Annotated[
        bool, typer.Option("--only-command", help="Only COMMAND and its descendants.")
    ] = False
    cgroup: Annotated[
        str | None,
        typer.Option(
            "--cgroup", metavar="PATH", help="Only this cgroup and those below.", show_default=False
        ),
    ] = None
    comm: Annotated[
        str | None,
        typer.Option("--comm", metavar="NAME", help="Only tasks of this name.", show_default=False),
    ] = None
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="Only one in N tasks, chosen by tid.")
    ] = 1

    def filter(self) -> TaskFilter:
        """Return the filter that they say.

        Raises:
            UsageError: There is no such process, or what is asked contradicts itself.
        """
        from schedtuna.record.filters import TaskFilter

        for process in (self.pid, self.tree):
            require_process(process)
        # The command is this process's child; the recorder itself is never recorded.
        roots = (*((self.tree,) if self.tree else ()), *((os.getpid(),) if self.only_command else ()))
        return TaskFilter(
            tgid=self.pid, tree=roots, cgroup=self.cgroup, comm=self.comm, sample_1_in=self.sample
        )


@dataclass(frozen=True)
class DetailOptions:
    """How, and how much of it, is recorded."""

    aggregate: AggregateOption = False
    procfs: ProcfsOption = False
    interval: Annotated[
        str, typer.Option("--interval", metavar="1s", help="Time between two samples of the system.")
    ] = "1s"
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="What the trace is an example of, for learning.",
            show_default=False,
        ),
    ] = None
    waking: Annotated[
        bool, typer.Option("--waking", help="Record sched_waking, too: who woke a task on another CPU.")
    ] = False
    picks: Annotated[
        bool,
        typer.Option(
            "--picks", help="Record what EEVDF chose from at each switch, too: every candidate's state."
        ),
    ] = False
    pick_levels: Annotated[
        int,
        typer.Option(
            "--pick-levels",
            metavar="N",
            min=1,
            max=3,
            help="With --picks: 2 or 3: of the queues that a task's group and the group above are on, too.",
        ),
    ] = 1
    ring_mb: Annotated[
        int | None,
        typer.Option(
            "--ring-mb",
            metavar="MB",
            min=1,
            help="Memory for events. Default: 16 per CPU, 32 with --waking; "
            "at most 512, and a 64th of what is available. Picks take as much again (default: 32 per CPU).",
            show_default=False,
        ),
    ] = None
    processes: Annotated[bool, typer.Option(help="Sample every process, too.")] = True
    random_migrations: Annotated[
        float | None,
        typer.Option(
            "--random-migrations",
            metavar="N",
            min=0.01,
            max=100,
            help="N times a second, on average, toss a coin whether one of COMMAND's threads that run or "
            "wait goes to another CPU, for `dataset build --task migrate`.",
            show_default=False,
        ),
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of what --random-migrations draws.")
    ] = 1

    def options(self, tasks: TaskFilter, interval_s: float, command: list[str]) -> RecordOptions:
        """Return what the recorder takes."""
        from schedtuna.record.recorder import Mode, RecordOptions

        return RecordOptions(
            mode=Mode("aggregate" if self.aggregate else "procfs" if self.procfs else "stream"),
            task_filter=tasks,
            interval_s=interval_s,
            processes=self.processes,
            ring_bytes=None if self.ring_mb is None else self.ring_mb * _MB,
            waking=self.waking,
            pick_levels=self.pick_levels if self.picks else 0,
            label=self.label,
            command=tuple(command),
        )


@app.command()
@bundled
def record(
    *,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND...]", help="Record while this runs; after `--`.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where the trace goes. Default: trace_<time>."),
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="10s", help="How long to record.", show_default=False)
    ] = None,
    detail: DetailOptions,
    tasks: TaskOptions,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing trace.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print samples as JSON lines instead of writing a trace.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Record what the scheduler does: every event, or statistics (--aggregate), or samples (--procfs)."""
    if tasks.only_command and not command:
        raise UsageError("--only-command needs a command", hint="put it after `--`")
    if detail.aggregate and detail.procfs:
        raise UsageError("--aggregate and --procfs are mutually exclusive")
    if json_lines and as_json:
        raise UsageError("--json-lines and --json are mutually exclusive")
    if (detail.waking or detail.ring_mb or detail.picks) and (
        detail.aggregate or detail.procfs or json_lines
    ):
        raise UsageError(
            "--waking, --picks and --ring-mb are about recorded events, which --aggregate, --procfs, "
            "--json-lines lack"
        )
    if detail.pick_levels > 1 and not detail.picks:
        raise UsageError("--pick-levels says how much --picks records", hint="add --picks")
    if detail.random_migrations and (detail.aggregate or detail.procfs or not command):
        raise UsageError(
            "--random-migrations moves threads of a command whose events are recorded",
            hint="put a command after `--`, and leave out --aggregate and --procfs",
        )
    interval_s = parse_positive_duration(detail.interval, option="--interval")
    seconds = None if duration is None else parse_positive_duration(duration, option="--for")
    wanted = tasks.filter()
    if json_lines:
        if command or output or detail.label or detail.aggregate or not wanted.everything:
            raise UsageError(
                "--json-lines samples all of /proc: it takes no command, folder, label, filter, --aggregate",
                hint="record a trace, then: schedtuna trace export --jsonl DIR -o FILE",
            )
        with as_usual():
            _print_lines(interval_s, seconds, processes=detail.processes)
        return
    options = detail.options(wanted, interval_s, command or [])
    if command and not shutil.which(command[0]):
        raise UsageError(f"there is no command {command[0]!r}")
    folder = output or Path(time.strftime("trace_%Y%m%d-%H%M%S"))
    _record(folder, options, seconds, detail, force=force, as_json=as_json)


def _record(
    folder: Path,
    options: RecordOptions,
    seconds: float | None,
    detail: DetailOptions,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from schedtuna.cli.progress import LateProgress
    from schedtuna.record.recorder import Recorder

    ended = None
    interrupted = False
    with termination_interrupts(), naming(folder):
        recorder = Recorder(folder, options, force=force)
        shown = _Shown(recorder)
        try:
            with LateProgress(shown.step, every_s=1.0), recorder:
                try:
                    with _random_migrations(recorder, detail):
                        ended = _wait(recorder, options, seconds, shown)
                finally:
                    shown.end()
            # Ctrl-C went to the command, too
            interrupted = ended is not None and ended.code == 128 + signal.SIGINT
        except KeyboardInterrupt:
            if not recorder.has_begun:
                raise
            interrupted = bool(options.command) or seconds is not None
    result = recorder.result
    if result is None:  # interrupted a second time
        raise SchedtunaError(f"the recording into {folder} was cut short", hint=f"schedtuna stats {folder}")
    _report(folder, options, result, ended, as_json=as_json)
    if interrupted:
        raise KeyboardInterrupt
    if ended and ended.code:
        print(f"the command exited with code {ended.code}; the trace is complete", file=sys.stderr)
        raise typer.Exit(1)


@contextmanager
def _random_migrations(recorder: Recorder, detail: DetailOptions) -> Iterator[None]:
    """Move threads at random meanwhile, if that was asked for, and say how it went."""
    if detail.random_migrations is None:
        yield
        return
    from schedtuna.record.random_migrations import KIND, ODDS, RandomMigrations

    per_s, seed = detail.random_migrations, detail.seed
    migrations = RandomMigrations(
        per_s,
        seed,
        lambda at_ns, values: recorder.note_sample(at_ns, values, KIND),
        others=lambda: recorder.helper_pids,
    )
    with migrations:
        yield
    nr_draws, nr_moves, nr_without = migrations.nr_draws, migrations.nr_moves, migrations.nr_without
    told = {"nr_draws": nr_draws, "nr_moves": nr_moves, "nr_without": nr_without}
    recorder.annotate({"random_migrations": {"per_s": per_s, "seed": seed, "odds": ODDS, **told}})
    without = f"; {nr_without} times nobody ran or waited who could be moved" if nr_without else ""
    print(f"{nr_moves} of {nr_draws} draws moved a thread{without}", file=sys.stderr)


class _Shown:
    """What there is to show of a recording: the time left, and how much of it is still to be written."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._until_s = self._seconds = 0.0
        self._nr_segments: int | None = None

    def begin(self, seconds: float, left_s: float) -> None:
        """It takes so long, of which that much is left."""
        self._seconds, self._until_s = seconds, time.monotonic() + left_s

    def end(self) -> None:
        """It is over, and is being written."""
        self._nr_segments = self._recorder.nr_raw_segments

    def step(self) -> Step | None:
        """Return what to show; nothing while a command has the terminal."""
        from schedtuna.cli.progress import PATIENCE_S, Step

        if self._nr_segments is not None:
            done = self._nr_segments - self._recorder.nr_raw_segments
            return Step("writing the trace", done, self._nr_segments or None)
        if not self._seconds:
            return None
        left_s = max(0.0, self._until_s - time.monotonic())
        is_slow = self._seconds > PATIENCE_S
        return Step("recording", self._seconds - left_s, self._seconds, f"{left_s:.0f} s left", is_slow)


def _wait(
    recorder: Recorder, options: RecordOptions, seconds: float | None, shown: _Shown
) -> CommandEnd | None:
    """Wait for the command, the time, Ctrl-C or a failure; return what came of the command."""
    from schedtuna.record.command import run_foreground

    if options.command:
        return run_foreground(
            options.command, recorder.wait, timeout_s=seconds, ours=lambda: recorder.helper_pids
        )
    if seconds is None:
        print("recording; Ctrl-C ends it", file=sys.stderr)
        recorder.wait()
    else:
        left_s = recorder.plan_end(seconds)
        shown.begin(seconds, left_s)
        recorder.wait(left_s)
    return None


def _report(
    folder: Path, options: RecordOptions, result: RecordResult, ended: CommandEnd | None, *, as_json: bool
) -> None:
    from dataclasses import asdict

    size = sum(path.stat().st_size for path in folder.iterdir())
    own_percent = 100 * result.own_cpu_s / result.duration_s if result.duration_s else 0.0
    if as_json:
        print_json(
            {
                "trace": str(folder),
                "mode": options.mode.value,
                **asdict(result),
                "bytes": size,
                "own_cpu_percent": own_percent,
                "command_exit_code": ended.code if ended else None,
                "still_running": ended.left if ended else {},
            }
        )
    else:
        what = _what(result, options.mode.value)
        print(f"{what} in {result.duration_s:.1f} s -> {folder} ({spelled_size(size)})")
        if result.picks:
            print(_picks_told(result.picks))
        print(f"the recorder itself used {own_percent:.1f}% of one CPU", file=sys.stderr)
        if options.mode.value == "aggregate":
            _print_statistics(folder)
        elif options.mode.value == "procfs":
            print(f"not seen this way: {'; '.join(result.blind_to)}")
        if options.mode.value != "aggregate":
            print(f"next: schedtuna stats {folder}", file=sys.stderr)
    if ended and ended.left:
        names = [f"{name} ({pid})" for pid, name in ended.left.items()]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        told = ", ".join(names[:_MOST_NAMES]) + more
        print_remark("note", f"of the command, this still runs, unrecorded: {told}", file=sys.stderr)
    if result.nr_lost:
        _warn_of_losses(result, options.mode.value)


def _what(result: RecordResult, mode: str) -> str:
    if mode == "stream":
        return f"{result.nr_events:,} events, {result.nr_lost:,} lost,"
    if mode == "aggregate":
        return f"{result.nr_tasks:,} tasks counted"
    return f"/proc sampled, {result.nr_tasks:,} exits accounted for,"


def _picks_told(picks: PickTally) -> str:
    told = f"{picks.nr_picks:,} picks, {picks.nr_lost:,} lost"
    if not picks.nr_picks:
        return f"{told}: no task of the fair class had another one beside it"
    share = 100 * picks.nr_consistent / picks.nr_picks
    truncated = (
        f", {picks.nr_truncated:,} with more candidates than are written" if picks.nr_truncated else ""
    )
    return f"{told}; {share:.4g}% give the kernel's own sums{truncated}"


def _warn_of_losses(result: RecordResult, mode: str) -> None:
    print(f"warning: {result.nr_lost:,} records found no room and are missing", file=sys.stderr)
    if mode == "stream":
        now_mb = max(1, result.ring_bytes // _MB)
        print(
            f"hint: --ring-mb {4 * now_mb} (it was {now_mb}), a filter such as --comm or --sample, "
            "or --aggregate, which counts every decision",
            file=sys.stderr,
        )
    else:
        print(
            "hint: tasks were forked or exited faster than their statistics could be kept; "
            "a filter such as --comm or --cgroup helps",
            file=sys.stderr,
        )


def _print_statistics(folder: Path) -> None:
    """Show the names that waited longest."""
    import numpy as np

    from schedtuna.cli.table import number, table
    from schedtuna.trace.counted import Counted
    from schedtuna.trace.store import open_trace

    found = Counted(open_trace(folder), allow_lost=True).by("comm")
    headings = ["name", "tasks", "CPU ms", "wakeups", "wakeup p50 us", "p99 us", "preempt p99 us", "moves"]
    waited = found.columns.get("run_delay_ns", np.empty(0))
    rows = []
    for k in np.argsort(-waited, kind="stable")[:TOP_GROUPS].tolist():
        row = {name: column[k] for name, column in found.columns.items()}
        rows.append(
            [
                found.names[k],
                str(int(row["nr_tasks"])),
                number(row["cpu_time_ns"] / 1e6),
                str(int(row["nr_wakeups"])),
                number(row["wakeup_latency_p50_ns"] / 1e3),
                number(row["wakeup_latency_p99_ns"] / 1e3),
                number(row["preempt_delay_p99_ns"] / 1e3),
                str(int(row["nr_migrations"])),
            ]
        )
    print(table(headings, rows))


def _print_lines(interval_s: float, seconds: float | None, *, processes: bool) -> None:
    """Print samples of the system, its processes and exits until the time is up or Ctrl-C."""
    from schedtuna.record.exits import KIND, ExitSampler
    from schedtuna.record.processes import ProcessSampler
    from schedtuna.record.procfs import SystemSampler

    system, each = SystemSampler(), ProcessSampler() if processes else None
    exits: ExitSampler | None = None
    try:
        exits = ExitSampler()
    except UnavailableError as error:
        print_remark("note", f"{error}: {error.hint}", file=sys.stderr)
    next_s = time.monotonic()
    end_s = next_s + (float("inf") if seconds is None else seconds)
    while next_s + interval_s <= end_s + 1e-6:
        next_s += interval_s
        time.sleep(max(0.0, next_s - time.monotonic()))
        timestamp_ns, metrics = system.sample()
        print_json({"timestamp_ns": timestamp_ns, "kind": "system", **metrics})
        for row in exits.rows() if exits else ():
            print_json({"timestamp_ns": timestamp_ns, "kind": KIND, **row})
        if each:
            timestamp_ns, rows = each.sample()
            for row in rows:
                print_json({"timestamp_ns": timestamp_ns, "kind": "process", **row})
