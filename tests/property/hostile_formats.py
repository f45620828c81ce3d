"""Every format that comes from files or programs of others: examples, their damage, and the reader."""

# ruff: noqa: E501  # tables of examples

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import polars as pl
import tomli_w
import yaml
from tests.old_files import LATER, OLD
from tests.property.mutations import Mutator, damaged, hostile_json, hostile_lines, hostile_toml, hostile_yaml
from tests.unit.kernel.btf_bytes import RIGHT, kernel_functions
from tests.unit.scheduler.test_probe import CLAP, GETOPT
from tests.unit.trace.formats.perf_files import PerfFile
from tests.unit.trace.formats.test_perf_data import RECORDS
from tests.unit.trace.formats.test_sched_stats import ONE_CPU
from tests.unit.trace.formats.texts import (
    DSTAT,
    FTRACE,
    PERF_SCRIPT,
    PIDSTAT,
    PIDSTAT_H,
    SIMPLEPERF,
    TRACE_CMD,
    VMSTAT_T,
)

from schedtuna.cli.main import build
from schedtuna.configfile import load_config
from schedtuna.errors import SchedtunaError
from schedtuna.experiment.runtable import read_sample
from schedtuna.experiment.triallog import TrialLog, read_trials
from schedtuna.history.replay import combinations, score, statistics
from schedtuna.history.studies import find_studies
from schedtuna.kernel.btf import parse_btf
from schedtuna.knobs import claims
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.private_file import PrivateFolder
from schedtuna.knobs.undo import undo
from schedtuna.lab.deterministic.orders import Report
from schedtuna.lab.store import read_lab
from schedtuna.machine.compare import compare_manifests
from schedtuna.machine.manifest import load_manifest, machine_identity
from schedtuna.record.suite import read_set
from schedtuna.scheduler.definition import scheduler_from_mapping
from schedtuna.scheduler.help_text import parse_help
from schedtuna.scheduler.lookup import lookup
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.probe import ProbedProgram, configured, join
from schedtuna.scheduler.stats import parse_answer
from schedtuna.space import ParameterSpace
from schedtuna.trace import formats
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import json_lines
from schedtuna.trace.labels import read_labels
from schedtuna.trace.store import open_trace
from schedtuna.tune.options import OptimizerConfig
from schedtuna.workload.parsers import PARSERS
from schedtuna.workload.sources import READERS

STUDY, TRACES = OLD / LATER / "studies/gp", OLD / LATER / "traces"
OUTPUTS = Path(__file__).parents[1] / "unit/workload/outputs"
REFUSED = {"hyperfine-ignored.txt"}  # of those: right so
JSON, LINES, TEXT = (hostile_json, damaged), (hostile_lines, damaged), (damaged,)


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        file: Its name.
        seeds: Valid ones.
        mutators: What makes hostile ones of them.
        read: Reads all that is in one.
        beside: A folder with the other files that it belongs to.
    """

    file: str
    seeds: Sequence[bytes]
    mutators: Sequence[Mutator]
    read: Callable[[Path], object]
    beside: Path | None = None


def refused(name: str, folder: Path) -> list[str]:
    """Return why valid files of a format are refused: of none, they should be."""
    kind = FORMATS[name]
    path = _prepared(kind, folder)
    problems = []
    for data in kind.seeds:
        path.write_bytes(data)
        try:
            kind.read(path)
        except SchedtunaError as error:
            problems.append(str(error))
    return problems


def find_fault(name: str, nr_files: int, folder: Path, most_s: float = 20.0) -> str:
    """Read hostile files of a format; say which is the first that gives neither a result nor an error, soon.

    Args:
        name: Of the format.
        nr_files: How many.
        folder: Where to write them.
        most_s: CPU time that one may take.
    """
    kind = FORMATS[name]
    path = _prepared(kind, folder)
    for number in range(nr_files):
        rng = random.Random(f"{name} {number}")
        data = rng.choice(kind.mutators)(rng, rng.choice(kind.seeds))
        path.write_bytes(data)
        began = time.process_time()
        try:
            kind.read(path)
        except SchedtunaError as error:
            if error.exit_code not in {1, 2, 3}:
                return f"number {number}: exit code {error.exit_code}"
        except Exception as error:
            error.add_note(f"number {number}: {data[:2000]!r}")
            raise
        if (took_s := time.process_time() - began) > most_s:
            return f"number {number} took {took_s:.0f} s: {data[:2000]!r}"
    return ""


def _prepared(kind: Format, folder: Path) -> Path:
    """Where a file of a kind goes, with all that belongs to it around it."""
    if kind.beside is not None:
        shutil.copytree(kind.beside, folder, dirs_exist_ok=True)
    path = folder / kind.file
    folder.chmod(0o700)  # as the journal's folder must be
    path.touch()
    path.chmod(0o600)
    return path


def run(*arguments: str | Path) -> None:
    """Run a command in this process; a failure of it is told as an error."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        try:
            build()(args=[*map(str, arguments)], prog_name="schedtuna")
        except SystemExit as exit_:
            if exit_.code:
                stream.flush()
                raise SchedtunaError(stream.buffer.getvalue().decode()) from None


def _trace(path: Path) -> None:
    export = (
        "trace",
        "export",
        path.parent,
        "--allow-lost",
        "--force",
        "-o",
        path.parent.with_suffix(".out"),
    )
    commands = (
        ("stats", path.parent, "--allow-lost", "--by", "task"),
        (*export, "--jsonl"),
        (*export, "--perfetto"),
        (*export, "--csv", "--table", "system"),
    )
    run(*commands[zlib.crc32(path.read_bytes()) % len(commands)])


def _samples(path: Path) -> None:
    """Read a trace that has only samples."""
    manifest = path.parent / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "mode": "procfs"}))
    run("stats", path.parent, "--allow-lost")


def _imported(path: Path, format_: str) -> None:
    trace = formats.load(path, format_)
    _ = trace.tasks, trace.sample_frames, trace.losses, trace.cgroups
    if trace.has_events:
        Analysis(trace, allow_lost=True).by("task")


def _study(path: Path) -> None:
    studies, _ = find_studies([path.parent])
    scored, _ = score(studies)
    combinations(scored, 3)
    for one in scored:
        statistics(one)
        _ = one.study.verdict, one.study.plan.identity(), one.study.plan.folder_names


def _log(path: Path) -> None:
    identity, _ = read_trials(path.parent)
    TrialLog(path.parent, identity).close()


def _journal(path: Path) -> None:
    outcomes = undo(Journal(path.parent), dry_run=True)
    json.dumps([outcome.to_dict() for outcome in outcomes])
    _ = [outcome.record.tell() for outcome in outcomes]


def _claims(path: Path) -> None:
    with PrivateFolder(path.parent, create=False) as folder:
        claims._read(folder)


def _manifest(path: Path) -> None:
    compare_manifests(load_manifest(path), load_manifest(STUDY))


def _space(path: Path) -> None:
    space = ParameterSpace.from_mapping(load_config(path))
    space.sample(np.random.default_rng(0))
    _ = space.candidates(20, np.random.default_rng(0)), space.stable_hash()


def _scheduler(path: Path) -> None:
    scheduler = scheduler_from_mapping(load_config(path), place=str(path))
    _ = scheduler.space.default(), scheduler.label()


def _options(path: Path) -> None:
    options = OptimizerConfig.read(path)
    _ = options.place(), options.what_runs()


def _settings(path: Path) -> None:
    parse_scheduler(str(path), lookup).label()


def _help(path: Path) -> None:
    flags = parse_help(path.read_bytes().decode(errors="replace"))
    probed = ProbedProgram(path, "scx_toy", "", flags)
    _ = configured(probed, None), join(probed, None)


def _report(path: Path) -> None:
    report = Report.parse(path.read_bytes())
    _ = report.numbers("order"), report.scx("scx")


def _answer(path: Path) -> None:
    json.dumps(parse_answer(path.read_bytes().decode(errors="replace")), allow_nan=False)


def _output(path: Path, parser: str) -> None:
    PARSERS[parser].read(path.read_text(errors="replace"))  # with any line ends, as of a command


def _metric(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    for kind, arguments in {
        "json": ("a", "a.b[0].c", '["x y"]', "requests"),
        "csv": ("p99", "requests", "a"),
        "regex": (r"score ([0-9.]+)", r"(\S+)$", r"p99=(\d+)"),
    }.items():
        for argument in arguments:
            with contextlib.suppress(SchedtunaError):
                READERS[kind](argument, text)


def _texts(*values: object) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


@cache
def _jsonl() -> bytes:
    stream = io.BytesIO()
    json_lines.write(open_trace(TRACES / "events"), stream)
    lines = stream.getvalue().splitlines()
    return b"\n".join(lines[:: max(1, len(lines) // 60)]) + b"\n"


def _parquet(rng: random.Random, data: bytes) -> bytes:
    """Have a column of another type, with nothing or no number in it, or none."""
    frame = pl.read_parquet(io.BytesIO(data))
    name = rng.choice(frame.columns)
    column = frame[name]
    n = frame.height
    made = rng.choice(
        [
            lambda: column.cast(pl.String, strict=False),
            lambda: column.cast(pl.Float64, strict=False),
            lambda: column.cast(pl.Int8, strict=False),
            lambda: pl.Series([float("nan")] * n, dtype=pl.Float64),
            lambda: pl.Series([float("inf")] * n, dtype=pl.Float64),
            lambda: pl.Series([None] * n, dtype=pl.Int64),
            lambda: pl.Series([None] * n, dtype=pl.Null),
            lambda: pl.Series([[1]] * n, dtype=pl.List(pl.Int64)),
            lambda: pl.Series([{"a": 1}] * n),
            lambda: pl.Series([b"\xff"] * n, dtype=pl.Binary),
            lambda: pl.Series([True] * n, dtype=pl.Boolean),
            lambda: pl.Series(["\u00b2"] * n),
            lambda: pl.Series([1 << 62] * n, dtype=pl.Int64),
            lambda: pl.Series([-1] * n, dtype=pl.Int64),
            lambda: pl.Series([(1 << 64) - 1] * n, dtype=pl.UInt64),
            lambda: pl.Series([0] * n, dtype=pl.Datetime("us")),
            lambda: pl.Series([0] * n, dtype=pl.Duration("ns")),
            lambda: pl.Series(["a"] * n, dtype=pl.Categorical),
        ]
    )
    how = rng.random()
    if how < 0.1:
        frame = frame.drop(name)
    elif how < 0.2:
        frame = frame.rename({name: rng.choice(["", "x", "timestamp_ns ", "\u00b2", "comm "])})
    elif how < 0.3:
        frame = frame.clear()
    else:
        with contextlib.suppress(pl.exceptions.PolarsError):
            frame = frame.with_columns(made().alias(name))
    return _written(frame)


def _written(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def _here(lab: bytes) -> bytes:
    """Have all that a lab consists of be here."""
    content = json.loads(lab)
    content["qemu"]["argv"], content["image"] = ["/bin/true", "-x"], "/bin/true"
    for kernel in content["kernels"].values():
        kernel |= {"image": "/bin/true", "unpacked": None}
    return json.dumps(content).encode()


def _seeds(*paths: str) -> list[bytes]:
    return [path.read_bytes() for pattern in paths for path in sorted((OLD / LATER).glob(pattern))]


SPACE = {
    "parameters": {
        "slice_us": {"type": "integer", "default": 3000, "min_value": 100, "max_value": 10000, "log": True, "unit": "us"},
        "share": {"type": "float", "default": 0.5, "min_value": 0, "max_value": 1},
        "policy": {"type": "categorical", "default": "other", "choices": ["other", "batch", "idle"]},
        "fast": {"type": "boolean", "default": False, "command_arg": "--fast={value}"},
        "steps": {"type": "list", "default": [1, 2], "min_value": 0, "max_value": 9, "min_length": 1, "max_length": 3,
                  "increasing": True, "condition": {"parameter": "fast", "values": [True]}},
    },
    "constraints": [{"kind": "ordering", "parameters": ["share", "slice_us"]}],
}  # fmt: skip
OPTIONS = {
    "scheduler_name": "fair", "algorithm": "gp", "episodes": 30, "baseline_runs": 3, "benchmark_cmd": ["true", "-x"],
    "timeout": 3.5, "optimize_metric": "p99:min*0.5=regex:p99 (\\d+)", "experiment_name": "x", "results_dir": "r",
    "seed": 1, "delta": 0.02, "requirements": ["wall_time_s<=30"], "exclude": ["nice"], "backend": "host",
    "learning_rate": 0.01, "use_gpu": False, "reward_scaling": 2.0,
}  # fmt: skip
LABELS = {
    "labels": [{"label": "a", "comm": "fire*"}, {"label": "b", "cgroup": "/x/*", "from_s": 1, "to_s": 2.5}]
}
SET = {
    "workloads": ["hackbench"],
    "repeat": 2,
    "seed": 1,
    "mode": "stream",
    "interval_s": 0.25,
    "machine": machine_identity(),
}
CLAIM = {"id": "a", "boot_id": "b", "owner": {"pid": 1, "start_ticks": 2}, "scope": "pid", "subject": "7"}
ANSWER = {"errno": 0, "args": {"resp": {"a": 1, "b": {"c": 2.5, "d": [1]}, "at_ms": 5}}}
METRICS = [
    *_texts({"a": {"b": [{"c": 1.5}]}, "x y": 2, "requests": 7}),
    b"name,requests,p99\nrow,7,1.5\nrow,8,2.5\n", b"score 12.5\np99=7\n{\"a\": 5}\n"
]  # fmt: skip
REPORT = b"order 4\n1 2 scx 23\nenabled\nbpfland\n1\n0\n256end 0\n"
SCHEDULER = {**SPACE, "name": "mine", "binary_path": "/bin/true", "description": "one"}
CHOSEN = {"scheduler": "fair", "parameters": {"slice_us": 500, "policy": "batch", "nice": 5}, "verdict": "x"}
READ_CONFIG = {
    "space": (SPACE, _space), "options": (OPTIONS, _options), "labels": (LABELS, read_labels),
    "scheduler": (SCHEDULER, _scheduler), "settings": (CHOSEN, _settings),
}  # fmt: skip
WRITTEN = {
    "json": (json.dumps, hostile_json),
    "yaml": (yaml.safe_dump, hostile_yaml),
    "toml": (tomli_w.dumps, hostile_toml),
}
IMPORTED = {
    "vmstat": [VMSTAT_T], "pidstat": [PIDSTAT, PIDSTAT_H], "dstat": [DSTAT], "perf-script": [PERF_SCRIPT],
    "ftrace": [FTRACE, TRACE_CMD], "simpleperf": [SIMPLEPERF], "perf-sched-stats": [ONE_CPU.encode()],
}  # fmt: skip

FORMATS: dict[str, Format] = {
    **{
        f"{name} in {suffix}": Format(
            f"a.{suffix}", [dump(content).encode()], (mutator, mutator, damaged), read
        )
        for name, (content, read) in READ_CONFIG.items()
        for suffix, (dump, mutator) in WRITTEN.items()
    },
    **{
        name: Format(f"a.{name}", seeds, TEXT, partial(_imported, format_=name))
        for name, seeds in IMPORTED.items()
    },
    "jsonl": Format("a.jsonl", [_jsonl()], LINES, partial(_imported, format_="jsonl")),
    "perf.data": Format(
        "perf.data",
        [PerfFile(RECORDS, features={7: bytes([8, 0, 0, 0, 4, 0, 0, 0]), 29: bytes(24)}).build()],
        TEXT,
        partial(_imported, format_="perf-data"),
    ),
    **{
        f"{file} of a trace": Format(
            file, [(TRACES / "events" / file).read_bytes()], mutators, _trace, TRACES / "events"
        )
        for file, mutators in {
            "manifest.json": JSON,
            "cgroups.jsonl": LINES,
            "events-000000.parquet": (_parquet,),
            "tasks.parquet": (_parquet,),
            "samples-system.parquet": (_parquet,),
        }.items()
    },
    **{
        f"{file} of an aggregate": Format(
            file, [(TRACES / "aggregate" / file).read_bytes()], mutators, _trace, TRACES / "aggregate"
        )
        for file, mutators in {
            "manifest.json": JSON,
            "cgroups.jsonl": LINES,
            "samples-sched.parquet": (_parquet,),
            "samples-task_stats.parquet": (_parquet,),
        }.items()
    },
    "exits of a trace": Format(
        "samples-exit.parquet",
        [
            _written(
                pl.DataFrame(
                    {"timestamp_ns": [5, 6], "comm": ["a", "b"], "tid": [1, 2], "cpu_time_ns": [3, 4]}
                )
            )
        ],
        (_parquet,),
        _samples,
        TRACES / "aggregate",
    ),
    "losses of a trace": Format(
        "losses.jsonl",
        [
            b'{"nr_lost": 3, "cpu": 1, "first_ns": 5, "last_ns": 9, "is_unread": false}\n{"nr_lost": null, "cpu": -1, "first_ns": 0}\n'
        ],
        LINES,
        _trace,
        TRACES / "events",
    ),
    "samples of a trace": Format(
        "samples.jsonl",
        [b'{"kind": "x", "timestamp_ns": 5, "a": 1.5, "b": "c"}\n{"timestamp_ns": 6, "a": null, "pid": 7}\n'],
        LINES,
        _trace,
        TRACES / "events",
    ),
    **{
        f"{file} of a study": Format(file, [(STUDY / file).read_bytes()], mutators, _study, STUDY)
        for file, mutators in {"study.json": JSON, "trials.jsonl": LINES, "result.json": JSON}.items()
    },
    "trial log": Format("trials.jsonl", _seeds("*/*/trials.jsonl"), LINES, _log),
    "best_parameters.json": Format(
        # The winner of `random` sets a slice of realtime threads, which is refused now.
        "best_parameters.json",
        _seeds("studies/[!r]*/best_parameters.json"),
        JSON,
        _settings,
    ),
    "manifest": Format("manifest.json", _seeds("*/*/manifest.json")[:3], JSON, _manifest),
    "runs.csv": Format("runs.csv", _seeds("variability/*/*.csv"), TEXT, read_sample),
    "journal": Format("journal.jsonl", _seeds("journals/*.jsonl"), LINES, _journal),
    "claims": Format("claims.jsonl", _texts(CLAIM), LINES, _claims),
    "lab.json": Format(
        "lab.json", [_here(seed) for seed in _seeds("lab.json")], JSON, lambda path: read_lab(path.parent)
    ),
    "set.json": Format("set.json", _texts(SET), JSON, lambda path: read_set(path.parent)),
    "help": Format("help", [CLAP.encode(), GETOPT.encode()], TEXT, _help),
    "BTF": Format("btf", [kernel_functions(RIGHT)], TEXT, lambda path: parse_btf(path.read_bytes())),
    "guest's report": Format("report", [REPORT], TEXT, _report),
    "scheduler's statistics": Format("answer", _texts(ANSWER), JSON, _answer),
    "metrics": Format("metrics", METRICS, TEXT, _metric),
    **{
        f"output of {name}": Format(
            "out",
            [path.read_bytes() for path in sorted(OUTPUTS.glob(f"{name}*")) if path.name not in REFUSED]
            or [b"score 1\n"],
            TEXT,
            partial(_output, parser=name),
        )
        for name in PARSERS
    },
}
