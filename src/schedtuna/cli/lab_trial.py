"""`schedtuna lab run --deterministic`: a command of which every run is the same bits."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from schedtuna.cli.common import termination_interrupts
from schedtuna.cli.output import print_json
from schedtuna.cli.streams import pass_on
from schedtuna.errors import MetricError, WorkloadError

if TYPE_CHECKING:
    from schedtuna.lab.deterministic.trials import Deterministic, DeterministicRun

_MAIN = {"guest_time_s": "guest time", "nr_context_switches": "context switches"}


@dataclass(frozen=True)
class TrialOptions:
    """What `lab run` was told; `seed` is that of the first of `runs` runs."""

    command: Sequence[str]
    kernel: str | None
    cpus: int | None
    topology: str | None
    memory_mib: int
    share: Path | None
    programs: tuple[Path, ...]
    timeout_s: float
    seed: int
    runs: int
    scheduler: str
    metrics: Sequence[str]
    as_json: bool


def run_trials(options: TrialOptions) -> int:
    """Run the command once per seed, and print what came of it; returns the exit code."""
    from schedtuna.backend.base import Validity
    from schedtuna.backend.deterministic import DeterministicBackend, numbers_of
    from schedtuna.backend.places.guest import Guest
    from schedtuna.scheduler.spec import SchedulerConfig
    from schedtuna.workload.metrics import parse_metric
    from schedtuna.workload.spec import RunSpec, Workload

    place = Guest.of(
        kernel=options.kernel,
        cpus=options.cpus,
        topology=options.topology,
        memory_mib=options.memory_mib,
        programs=options.programs,
        deterministic=True,
    )
    workload = Workload(argv=tuple(options.command), folder=options.share, timeout_s=options.timeout_s)
    specs = tuple(parse_metric(text, workload) for text in options.metrics)
    scheduler = place.scheduler(options.scheduler) if options.scheduler else SchedulerConfig(name="fair")
    rows: list[tuple[DeterministicRun, dict[str, float]]] = []
    shared: dict[str, Any] = {}
    with termination_interrupts(), place.open(RunSpec(workload=workload, metrics=specs)) as backend:
        assert isinstance(backend, DeterministicBackend)
        try:
            for seed in range(options.seed, options.seed + options.runs):
                trial = backend.run(workload, scheduler, seed=seed)
                run, machine = backend.last, backend.machine
                said = f"; it printed:\n{trial.output_tail}" if trial.output_tail else ""
                if run is None or machine is None:
                    raise WorkloadError(f"{trial.reason}{said}")
                if specs and trial.validity is Validity.FAILED and not run.raw.failure:
                    raise MetricError(f"seed {seed}: {trial.reason}{said}")
                if not rows and machine.saved.boot_s is not None:
                    boot_s = machine.saved.boot_s
                    _say(f"booted and saved a guest in {boot_s:.1f} s; it is kept for further runs")
                shared = shared or _shared(machine)
                asked = {each.name: trial.metrics[each.name] for each in specs if trial.metrics}
                rows.append((run, numbers_of(run) | asked))
                if options.runs > 1:
                    _say(f"seed {seed}: hash {run.hash}, {run.wall_s:.1f} s")
        except KeyboardInterrupt:
            return 130
    if options.as_json and options.runs == 1:
        print_json(shared | _fields(*rows[0]))
    elif options.as_json:
        print_json(shared | {"runs": [_fields(*row) for row in rows], "distribution": _distribution(rows)})
    elif options.runs == 1:
        _print_run(shared, *rows[0])
    else:
        _print_distribution(shared, rows)
    return next((code for code in (_exit_code(run) for run, _ in rows) if code), 0)


def _exit_code(run: DeterministicRun) -> int:
    if run.raw.timed_out or run.ejected:
        return 1
    return run.raw.exit_code if run.raw.exit_code is not None else 128 + (run.raw.signal or 0)


# ---- what is printed -----------------------------------------------------------------------------


def _shared(trials: Deterministic) -> dict[str, Any]:
    """What all runs have in common; hashes of another kernel, QEMU or machine mean nothing to them."""
    from schedtuna.lab.deterministic.trials import HASHED, LIMITS

    machine, scheduler = trials.saved.spec, trials.spec.scheduler
    return {
        "kernel": machine.kernel.version,
        "qemu": trials.qemu_version,
        "cpus": machine.cpus,
        "topology": str(machine.shape),
        "machine": trials.saved.file.stem,
        "scheduler": scheduler.name if scheduler else "fair",
        "values": scheduler.values if scheduler else {},
        "hash_covers": HASHED,
        "boot_s": trials.saved.boot_s,
        "limits": list(LIMITS),
    }


def _fields(run: DeterministicRun, metrics: Mapping[str, float]) -> dict[str, Any]:
    changed = run.perturbation
    return {
        "seed": run.seed,
        "hash": run.hash,
        "hashes": list(run.hashes),
        "nr_mismatches": run.nr_mismatches,
        "reproduced": run.reproduced,
        "exit_code": run.raw.exit_code,
        "signal": run.raw.signal,
        "timed_out": run.raw.timed_out,
        "ejected": run.ejected,
        "stdout": run.raw.stdout,
        "stderr": run.raw.stderr,
        "console": run.console,
        **metrics,
        "usage": run.raw.usage,
        "perturbation": {
            "delay_ns": changed.delay_ns,
            "nr_forks": changed.nr_forks,
            "first_cpu": changed.first_cpu,
            "entropy": changed.entropy.hex(),
        },
        "restore_s": run.restore_s,
        "restore_cpu_s": run.restore_cpu_s,
        "wall_s": run.wall_s,
    }


def _distribution(rows: Sequence[tuple[DeterministicRun, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Spread of every number over the seeds; runs that failed or were ejected do not count."""
    import numpy as np

    counted = [metrics for run, metrics in rows if not _exit_code(run)]
    found = {}
    for name in counted[0] if counted else ():
        values = np.array([metrics[name] for metrics in counted])
        mean = float(values.mean())
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        found[name] = {
            "count": len(values),
            "min": float(values.min()),
            "median": float(np.median(values)),
            "max": float(values.max()),
            "mean": mean,
            "cv": deviation / mean if mean else 0.0,
        }
    return found


def _print_run(shared: Mapping[str, Any], run: DeterministicRun, metrics: Mapping[str, float]) -> None:
    from schedtuna.cli.table import number

    pass_on(run.raw.stdout, sys.stdout)
    pass_on(run.raw.stderr, sys.stderr)
    for note in run.raw.warnings:
        _say(note)
    if run.raw.timed_out or run.raw.signal:
        _say(run.raw.failure)
    if run.ejected:
        _say(f"the scheduler was ejected, so this run does not count: {run.ejected}")
    numbers = [f"{_MAIN.get(name, name)} {number(value, name, digits=9)}" for name, value in metrics.items()]
    changed = run.perturbation
    _say(f"hash {run.hash} over {shared['hash_covers']}")
    _say(
        f"{', '.join(numbers)}; seed {run.seed}: {changed.delay_ns / 1e6:.2f} ms later, "
        f"after {changed.nr_forks} processes, on CPU {changed.first_cpu}"
    )
    _print_reproduction([run])
    _print_limits(shared)


def _print_distribution(
    shared: Mapping[str, Any], rows: Sequence[tuple[DeterministicRun, dict[str, float]]]
) -> None:
    from schedtuna.cli.table import number, table

    names = [*rows[0][1]]
    lines = [
        [
            str(run.seed),
            run.hash[:12],
            str(_exit_code(run)),
            *(number(metrics.get(name), name) for name in names),
        ]
        for run, metrics in rows
    ]
    print(table(["seed", "hash", "exit", *(_MAIN.get(name, name) for name in names)], lines))
    spread = _distribution(rows)
    if spread:
        columns = ("min", "median", "max")
        print(f"\nover {len(rows)} seeds")
        print(
            table(
                ["", *columns, "cv"],
                [
                    [_MAIN.get(n, n), *(number(spread[n][c], n) for c in columns), number(spread[n]["cv"])]
                    for n in names
                    if n in spread
                ],
            )
        )
    _print_reproduction([run for run, _ in rows])
    _print_limits(shared)


def _print_reproduction(runs: Sequence[DeterministicRun]) -> None:
    if len(runs[0].hashes) == 1:
        return
    differing = sum(run.nr_mismatches for run in runs)
    total = sum(len(run.hashes) for run in runs)
    _say(f"on several CPUs every trial runs twice: {differing} of {total} runs differed and were repeated")
    for run in runs:
        if not run.reproduced:
            _say(f"seed {run.seed}: no two of three runs agree; its hash means nothing")


def _print_limits(shared: Mapping[str, Any]) -> None:
    cpus = f"{shared['cpus']} CPU" + "s" * (shared["cpus"] > 1)
    _say(
        f"kernel {shared['kernel']}, QEMU {shared['qemu']}, {cpus}: compare hashes only between runs on these"
    )
    for limit in shared["limits"]:
        _say(f"limit: {limit}")


def _say(text: str) -> None:
    typer.echo(f"lab: {text}", err=True)
