"""A labelled set of traces: the bundled workloads, each recorded a number of times.

A set is a folder with one trace per run, `set.json` (what was asked for) and `traces.jsonl` (what came of
it: a line per trace, made from the traces' own manifests). A trace appears under its name when it is
complete; what a killed recording left behind begins with a dot, and goes when the set is resumed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schedtuna.configfile import parse_json
from schedtuna.errors import TraceError, UntrustedError, UsageError, WorkloadError
from schedtuna.files import (
    make_folder,
    move,
    open_to_read,
    remove,
    remove_folder,
    require_own,
    write_text,
)
from schedtuna.files.versions import StoredFormat
from schedtuna.machine.manifest import machine_identity
from schedtuna.record.filters import TaskFilter
from schedtuna.record.recorder import Mode, Recorder, RecordOptions
from schedtuna.trace.folder import read_manifest
from schedtuna.workload.command import command_line, start
from schedtuna.workload.metrics import read_metrics
from schedtuna.workload.suite import SuiteWorkload, suite_workload

SET_FILE, INDEX_FILE = "set.json", "traces.jsonl"
STORED = StoredFormat(TraceError, key="schema_version")
_PARTIAL = ".partial"


class SuiteSet(BaseModel):
    """What is to be recorded.

    Attributes:
        workloads: Names of the suite's workloads.
        repeat: Runs of each; run N has the seed `seed` + N.
        seed: Of the first round.
        mode: What is recorded of the scheduler.
        everything: The whole machine, not only the workload and its descendants.
        interval_s: Time between two samples of the system.
        machine: Which machine; a set is of one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["schedtuna-trace-set"] = "schedtuna-trace-set"
    schema_version: int = STORED.newest
    workloads: tuple[str, ...] = Field(min_length=1)
    repeat: int = Field(ge=1)
    seed: int = Field(ge=0)
    mode: Mode = Mode.STREAM
    everything: bool = False
    interval_s: float = Field(default=0.25, gt=0)
    machine: dict[str, Any] = Field(default_factory=machine_identity)

    def runs(self) -> list[tuple[str, int]]:
        """Return every run, as (workload, seed): round after round, so that a slow minute hits all alike."""
        return [(name, self.seed + number) for number in range(self.repeat) for name in self.workloads]

    def folder_of(self, run: tuple[str, int]) -> str:
        """Return the name of a run's trace."""
        name, seed = run
        return f"{name}_{seed}"


def create_set(folder: Path, wanted: SuiteSet) -> None:
    """Make the folder of a new set.

    Raises:
        UsageError: It holds something already.
        UntrustedError: Somebody else owns it or can write it.
        OSError: It can't be written.
    """
    make_folder(folder)
    if any(folder.iterdir()):
        known = (folder / SET_FILE).exists()
        raise UsageError(
            f"{folder} already holds a set of traces" if known else f"{folder} is not empty",
            hint=f"finish it with --resume {folder}, or choose another folder"
            if known
            else "choose another folder",
        )
    write_text(folder / SET_FILE, wanted.model_dump_json(indent=2) + "\n")


def read_set(folder: Path) -> SuiteSet:
    """Return what a set was to hold.

    Raises:
        UsageError: It is none, or of another machine.
        TraceError: It is damaged, or a newer version wrote it.
    """
    try:
        text = (folder / SET_FILE).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder} is not a set of traces: it has no {SET_FILE}") from error
    try:
        wanted = SuiteSet.model_validate(STORED.upgrade(parse_json(text), folder / SET_FILE))
    except ValueError as error:  # pydantic's ValidationError is one
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise TraceError(f"{folder / SET_FILE} is damaged: {reason}") from error
    if wanted.machine != machine_identity():
        raise UsageError(
            f"{folder} was begun on another machine, kernel or number of CPUs; a set is of one",
            hint="begin another set in a folder of its own",
        )
    return wanted


def traces_of(named: Sequence[Path]) -> list[Path]:
    """Return the folders of traces: of a set's folder those that it holds, by name, else what is named.

    A set's own files are passed over, so that ``set/*`` names its traces.

    Raises:
        UsageError: That are none.
    """
    found: list[Path] = []
    for path in named:
        if (path / SET_FILE).is_file():
            whole = (one for one in path.iterdir() if one.is_dir() and not one.name.endswith(_PARTIAL))
            found += sorted(whole)
        elif path.name not in (SET_FILE, INDEX_FILE):
            found.append(path)
    if not found:
        told = ", ".join(map(str, named))
        raise UsageError(f"no trace is in {told}", hint="`schedtuna suite record` makes sets of traces")
    return found


@contextmanager
def writing_set(folder: Path) -> Iterator[None]:
    """Keep a set for oneself, without what a killed recording left behind, and with an index at the end.

    Raises:
        UsageError: Another process is recording into it.
        UntrustedError: Somebody else owns it or can write it.
    """
    require_own(folder)
    with os.fdopen(open_to_read(folder / SET_FILE), "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder} is being recorded right now", hint="wait, or choose another folder"
            ) from None
        for left in folder.glob(f".*{_PARTIAL}"):
            remove_folder(left)
        try:
            yield
        except BaseException:
            with suppress(OSError):
                write_index(folder)
            raise
        write_index(folder)


def missing_runs(folder: Path, wanted: SuiteSet) -> list[tuple[str, int]]:
    """Return the runs that have no trace yet."""
    return [run for run in wanted.runs() if not (folder / wanted.folder_of(run)).exists()]


def record_run(folder: Path, wanted: SuiteSet, run: tuple[str, int]) -> dict[str, Any]:
    """Run a workload, record it, and return the trace's line of the index.

    Raises:
        WorkloadError: The workload failed; there is no trace then.
        UnavailableError: Its tool is missing, or this kernel, machine or user can't record.
        TraceError: The trace could not be written.
    """
    name, seed = run
    entry = suite_workload(name)
    entry.require_tools()
    trace = folder / wanted.folder_of(run)
    partial = folder / f".{trace.name}{_PARTIAL}"
    try:
        _record(partial, wanted, entry, seed)
        move(partial, trace)
    finally:
        with suppress(OSError, UntrustedError):
            remove_folder(partial)
    return index_row(trace)


def _record(partial: Path, wanted: SuiteSet, entry: SuiteWorkload, seed: int) -> None:
    with start(entry.workload, seed) as held:
        options = RecordOptions(
            mode=wanted.mode,
            task_filter=TaskFilter(
                tree=() if wanted.everything or wanted.mode is Mode.PROCFS else (held.pid,)
            ),
            interval_s=wanted.interval_s,
            label=entry.name,
            command=tuple(command_line(entry.workload, seed)),
        )
        with Recorder(partial, options) as recorder:
            held.go()
            raw = held.wait()
            if raw.failure:
                raise WorkloadError(f"{entry.name}: {raw.failure}; its last lines of output:\n{raw.tail()}")
            metrics = read_metrics(entry.workload, [entry.metric], raw)
            recorder.annotate(
                {
                    "workload": {
                        "name": entry.name,
                        "seed": seed,
                        "metric": entry.metric.name,
                        "direction": entry.metric.direction,
                        "metrics": metrics,
                        "covariates": raw.covariates,
                    }
                }
            )


def index_row(trace: Path) -> dict[str, Any]:
    """Return the line of the index for one trace, from its manifest.

    Raises:
        TraceError: It is not a trace of a set.
    """
    manifest = read_manifest(trace)
    workload = manifest.get("workload")
    if not isinstance(workload, dict):
        raise TraceError(f"{trace} was not recorded with `suite record`")
    machine = manifest.get("origin", {}).get("machine", {})
    return {
        "trace": trace.name,
        "workload": workload.get("name"),
        "label": manifest.get("label"),
        "seed": workload.get("seed"),
        "metric": workload.get("metric"),
        "direction": workload.get("direction"),
        "value": workload.get("metrics", {}).get(workload.get("metric")),
        "metrics": workload.get("metrics"),
        "covariates": workload.get("covariates"),
        "command": manifest.get("command"),
        "mode": manifest.get("mode"),
        "filter": manifest.get("filter"),
        "state": manifest.get("state"),
        "duration_s": manifest.get("duration_s"),
        "nr_events": manifest.get("nr_events"),
        "nr_lost": manifest.get("nr_lost"),
        "machine": {name: machine.get(name) for name in ("machine_id_hash", "kernel_release", "cpu_model")},
        "bytes": sum(file.stat().st_size for file in trace.iterdir()),
    }


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Return a line for each complete trace of a set, by name."""
    traces = [path.parent for path in sorted(folder.glob("*/manifest.json")) if path.parent.name[0] != "."]
    return [index_row(trace) for trace in traces]


def write_index(folder: Path) -> None:
    """Write the index of a set anew."""
    lines = [json.dumps(row, allow_nan=False) for row in read_index(folder)]
    write_text(folder / INDEX_FILE, "".join(f"{line}\n" for line in lines))


def discard_empty(folder: Path) -> bool:
    """Remove a set that has no trace, and its folder; return whether it had none."""
    if read_index(folder):
        return False
    for name in (INDEX_FILE, SET_FILE):
        remove(folder / name, missing_ok=True)
    with suppress(OSError):  # something else is in it
        folder.rmdir()
    return True
